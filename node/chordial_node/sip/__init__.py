"""SIP of RFC 3261: messages, flows and transactions.

Knows nothing of the overlay; what needs both is a usage.
"""
