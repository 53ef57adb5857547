"""Links: one stream to each neighbor, its queue, its round trip, its budget (protocol.md §3)."""

from chordial_node.overlay.links.link import RoundTrip
from chordial_node.overlay.links.links import Links, LinkUser

__all__ = ["LinkUser", "Links", "RoundTrip"]
