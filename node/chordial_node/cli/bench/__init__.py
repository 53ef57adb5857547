"""`chordial bench`: measures a fleet on this machine, beside others in the same run."""
