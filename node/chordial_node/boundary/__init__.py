"""What crosses the edge of the core: bytes, numbers and identifiers, never a parsed message."""
