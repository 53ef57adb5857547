"""The overlay of RFC 6940: links, routing, ring, storage and the peer that joins them.

Knows nothing of SIP; what needs both is a usage.
"""
