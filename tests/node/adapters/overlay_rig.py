"""Peers of one overlay on loopback for the tests of this folder: certificates, files, waiting."""

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path

import msgspec
import uvloop

from chordial_node.boundary.events import Event
from chordial_node.config import IdentityConfig
from chordial_node.ids import NodeId, spread_node_ids
from chordial_node.security.authority import Authority, Term, make_private_key, public_key_of
from chordial_node.security.certificates import Role, TlsCredentials, Trust

OVERLAY = "test"
NODES = spread_node_ids(4)
WAIT_SECONDS = 5.0
TEST_SECONDS = 20.0


def on_a_loop(
    test: Callable[..., Coroutine[object, object, None]],
) -> Callable[..., None]:
    """Run an asynchronous test on a loop of its own, for so long at the most."""
    return _on_loops(test, asyncio.new_event_loop)


def on_both_loops(
    test: Callable[..., Coroutine[object, object, None]],
) -> Callable[..., None]:
    """Run an asynchronous test on asyncio's own loop, then on uvloop."""
    return _on_loops(test, asyncio.new_event_loop, uvloop.new_event_loop)


def _on_loops(
    test: Callable[..., Coroutine[object, object, None]],
    *factories: Callable[[], asyncio.AbstractEventLoop],
) -> Callable[..., None]:
    @wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        unhandled: list[dict[str, object]] = []

        async def bounded() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: unhandled.append(context))
            async with asyncio.timeout(TEST_SECONDS):
                await test(*args, **kwargs)

        for factory in factories:
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(bounded())
            gc.collect()  # a task that failed unseen is told when it is thrown away
            assert unhandled == []

    return run


class Paper(msgspec.Struct, frozen=True):
    """What one end shows and believes, as bytes and as files."""

    credentials: TlsCredentials
    identity: IdentityConfig
    trust: Trust


class Issuer:
    """One authority, and a folder where what it issues is written."""

    def __init__(self, folder: Path, name: str = "ca", overlay: str = OVERLAY) -> None:
        self._folder = folder
        self._name = name
        self._serial = 1
        self.authority = Authority.make(overlay, self._term())

    def peer(self, node: NodeId, *, expired: bool = False, believes: bytes = b"") -> Paper:
        """A peer's paper; it believes this authority unless another bundle is given."""
        key = make_private_key()
        term = self._term(-3_600.0, 60.0) if expired else self._term()
        certificate = self.authority.issue_peer(public_key_of(key), node, "p", term)
        return self._paper(certificate, key, believes)

    def user(self, role: Role) -> Paper:
        """The paper of an admin, an operator or a client."""
        key = make_private_key()
        certificate = self.authority.issue_user(public_key_of(key), role, "u", self._term())
        return self._paper(certificate, key, b"")

    def listener(self) -> str:
        """A PEM file with key and certificate of a TLS listener for phones."""
        key = make_private_key()
        certificate = self.authority.issue_listener(
            public_key_of(key), ["chordial.test"], ["127.0.0.1"], self._term()
        )
        return self._write("phones.pem", key + certificate)

    def _term(self, offset: float = 0.0, lifetime: float = 3_600.0) -> Term:
        self._serial += 1
        return Term(time.time() + offset, lifetime, self._serial)

    def _paper(self, certificate: bytes, key: bytes, believes: bytes) -> Paper:
        bundle = believes or self.authority.certificate
        identity = IdentityConfig(
            certificate=self._write(f"{self._serial}.pem", certificate),
            key=self._write(f"{self._serial}-key.pem", key),
            trusted=self._write(f"{self._serial}-trusted.pem", bundle),
            overlay_keys="",
        )
        return Paper(TlsCredentials(certificate, key, bundle), identity, Trust(OVERLAY, bundle))

    def _write(self, name: str, data: bytes) -> str:
        path = self._folder / f"{self._name}-{name}"
        path.write_bytes(data)
        return str(path)


class Told:
    """Everything that an adapter told, and a way to wait for more."""

    def __init__(self, then: Callable[[Event], None] = lambda _: None) -> None:
        self.events: list[Event] = []
        self.then = then
        self._changed = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self._changed.set()
        self.then(event)

    async def until(self, wanted: Callable[[Event], bool]) -> Event:
        """The first event that is wanted, told already or within a few seconds."""
        async with asyncio.timeout(WAIT_SECONDS):
            seen = 0
            while True:
                for event in self.events[seen:]:
                    if wanted(event):
                        return event
                seen = len(self.events)
                self._changed.clear()
                await self._changed.wait()
