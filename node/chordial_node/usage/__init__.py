"""The services of a peer: what knows both the overlay and SIP, one service a file."""
