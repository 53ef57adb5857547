"""The SIP listeners of one node: started in order, their certificates followed, tried by itself.

A TLS listener whose certificate is a file of its own, as a Secret is mounted, waits for that file
and takes up each new one without a restart; the other listeners serve meanwhile. What a datagram
or a byte means is never looked at here.
"""

import os
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from chordial_node.adapters.json_logs import NodeLog
from chordial_node.adapters.self_probe import udp_answers
from chordial_node.adapters.sip_streams import SipStreams, StreamListener
from chordial_node.adapters.sip_udp import SipUdp
from chordial_node.adapters.tls_contexts import SIP_ALPN, peer_client, peer_server, phone_server
from chordial_node.boundary.events import Event
from chordial_node.config import (
    ConfigError,
    Endpoint,
    IdentityConfig,
    ListenerConfig,
    Transport,
)
from chordial_node.ids import NodeId
from chordial_node.security.certificates import Trust

Listening = Callable[[str, Endpoint, Awaitable[int]], Awaitable[None]]
"""Waits for a start and tells which field is wrong when it cannot be."""
Stamp = tuple[int, ...]


class _Followed(msgspec.Struct):
    """A TLS listener with a certificate file of its own."""

    listener: ListenerConfig
    stamp: Stamp | None = None
    """Of the files that were looked at last; None: they were not there."""
    is_served: bool = False


class SipEdge:
    """All SIP listeners of one node."""

    def __init__(
        self,
        listeners: Sequence[ListenerConfig],
        identity: IdentityConfig,
        trust: Trust,
        log: NodeLog,
        tell: Callable[[Event], None],
        refused: Callable[[str, str, str], None],
        unsent: Callable[[], None],
    ) -> None:
        """Take the listeners, what peers show and believe, and whom to tell of what happens."""
        self.udp = SipUdp(tell, unsent)
        self.streams = SipStreams(trust, tell, refused)
        self._listeners = listeners
        self._identity = identity
        self._trust = trust
        self._log = log
        self._followed: dict[int, _Followed] = {}

    async def start(self, listening: Listening) -> None:
        """Start every listener that can be served at present."""
        for number, listener in enumerate(self._listeners):
            field = f"sip.listeners[{number}].bind ({listener.transport.value})"
            if listener.transport is Transport.UDP:
                starting = self.udp.listen(number, listener.bind)
            elif listener.certificate:
                self._followed[number] = _Followed(listener)
                continue
            else:
                starting = self.streams.listen(number, self._stream_listener(listener))
            await listening(field, listener.bind, starting)
        await self.look_at_certificates()
        for followed in self._followed.values():
            if not followed.is_served and followed.stamp is None:
                self._tell_waiting(followed.listener)

    async def look_at_certificates(self) -> None:
        """Take up certificate files that are new or have changed."""
        for number, followed in self._followed.items():
            stamp = _stamp_of(followed.listener)
            if stamp is not None and stamp != followed.stamp:
                followed.stamp = stamp
                await self._serve_with_new_certificate(number, followed)

    def renew(self, rekeyed: tuple[NodeId, ...]) -> None:
        """Show peers the certificate that lies in the same files now; end who is believed no more.

        `rekeyed` are peers of which another key counts from now on.
        """
        for number, listener in enumerate(self._listeners):
            if listener.transport is Transport.PEER:
                self.streams.renew(number, self._stream_listener(listener))
        self.streams.end_peers(lambda node: self._trust.is_revoked(node) or node in rekeyed)

    async def silent_listener(self) -> str:
        """Return which listener does not answer a phone, or nothing."""
        for listener in self._listeners:
            if listener.transport is Transport.UDP and not await udp_answers(listener.bind):
                return f"the UDP listener at {listener.bind} does not answer"
        return ""

    async def stop(self) -> None:
        """Close everything."""
        self.udp.close()
        await self.streams.stop()

    async def _serve_with_new_certificate(self, number: int, followed: _Followed) -> None:
        listener = followed.listener
        told = {"listener": str(listener.bind), "certificate": listener.certificate}
        try:
            made = self._stream_listener(listener)
            if followed.is_served:
                self.streams.renew(number, made)
            else:
                await self.streams.listen(number, made)
                followed.is_served = True
        except (ConfigError, OSError) as error:
            self._log.line("error", "TLS listener cannot be served", told=str(error), **told)
        else:
            self._log.line("info", "TLS listener has its certificate", **told)

    def _tell_waiting(self, listener: ListenerConfig) -> None:
        self._log.line(
            "warning",
            "TLS listener waits for its certificate",
            listener=str(listener.bind),
            certificate=listener.certificate,
        )

    def _stream_listener(self, listener: ListenerConfig) -> StreamListener:
        identity = self._identity
        if listener.transport is Transport.PEER:
            return StreamListener(
                listener.transport,
                listener.bind,
                peer_server(identity, SIP_ALPN),
                peer_client(identity, SIP_ALPN),
            )
        server = None
        if listener.transport is Transport.TLS:
            certificate = listener.certificate or identity.sip_certificate
            server = phone_server(certificate, listener.key)
        return StreamListener(listener.transport, listener.bind, server)


def _stamp_of(listener: ListenerConfig) -> Stamp | None:
    """Return what changes when one of the two files is replaced; None when one is missing."""
    stamp: list[int] = []
    for path in (listener.certificate, listener.key):
        try:
            found = os.stat(path)
        except OSError:
            return None
        stamp += (found.st_ino, found.st_mtime_ns, found.st_size)
    return tuple(stamp)
