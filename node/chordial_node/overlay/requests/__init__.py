"""Requests and their answers: asked, sent again, served once (RFC 6940 §6.2, protocol.md §4)."""

from chordial_node.overlay.requests.asking import Answered, Requests
from chordial_node.overlay.requests.serving import RequestContext, Serving

__all__ = ["Answered", "RequestContext", "Requests", "Serving"]
