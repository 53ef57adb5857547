"""Stored values: rules, order, copies, disk, repair and handover (RFC 6940 §7)."""
