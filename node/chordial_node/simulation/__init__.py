"""The product's own core in virtual time, with a seeded network, seeded disks and seeded faults."""
