"""One peer of a P2PSIP overlay: a member of the ring and a SIP edge for phones.

A pure core (``core.py`` and what it joins: overlay, SIP and their usages) takes events and returns
effects; adapters give it sockets, a disk and a clock; the simulator gives it none of them. What is
imported here is imported by everybody, so nothing but the version belongs in this file.
"""

__version__ = "0.1.0"
