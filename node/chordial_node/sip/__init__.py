"""SIP as bytes and numbers: messages, transactions, digest, tokens (RFC 3261, 3263, 5626, 6026).

Everything here computes: it is given bytes and the time, and gives bytes and values back. It knows
nothing of the overlay, of users or of sockets; the usage package joins it with the rest.
"""
