"""The overlay of RFC 6940: ring, routing, storage; bytes in, bytes out."""
