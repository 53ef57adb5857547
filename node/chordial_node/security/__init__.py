"""Computing with keys: certificates, seals, signatures and what is derived from shared keys.

Functions of bytes and of a time that the caller gives; key files and TLS contexts belong to
adapters.
"""
