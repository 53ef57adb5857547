"""How peers get their certificates: the authority of each overlay, and the door to it."""
