"""What knows both overlay and SIP; one service a file (RFC 7904, and the open service)."""
