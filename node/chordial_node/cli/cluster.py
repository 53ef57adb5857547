"""The peers of an overlay on Kubernetes, reached as the user's kubectl reaches its pods.

kubectl brings the context, its credentials and its way through proxies; whoever may read the
Secret `OVERLAY-admin` is an admin of the overlay, and nobody else.
"""

import asyncio
import base64
import contextlib
import re
import shutil
from typing import TypeVar

import msgspec

from chordial_node.boundary.events import Address
from chordial_node.cli.asking import Known, Papers, PeerSilentError
from chordial_node.cli.fleet import FleetError
from chordial_node.client import PeerUnreachableError
from chordial_node.ids import node_id
from chordial_node.pod_config import OVERLAY_PORT

FORWARD_SECONDS = 15.0
LONGEST_LINE = 300
T = TypeVar("T")
_FORWARDING = re.compile(rb"Forwarding from (?:127\.0\.0\.1|\[::1\]):(\d+) ->")


class ClusterPeers:
    """The pods of one overlay, through `kubectl port-forward`; use it as a context."""

    def __init__(self, context: str, namespace: str, overlay: str) -> None:
        """Name the overlay; an empty one is found if it is the only one of the namespace."""
        program = shutil.which("kubectl")
        if program is None:
            raise FleetError("kubectl is not installed: peers in a cluster are reached through it")
        self._kubectl = [program]
        if context:
            self._kubectl += ["--context", context]
        if namespace:
            self._kubectl += ["--namespace", namespace]
        self.overlay = overlay
        self.domain = ""
        self._papers = Papers(b"", b"", b"")
        self.pods: dict[str, str] = {}
        """The pod of each known peer."""
        self._known: list[Known] = []
        self._forwards: dict[str, tuple[asyncio.subprocess.Process, Address]] = {}

    async def __aenter__(self) -> "ClusterPeers":
        found = await self._found_overlay()
        self.overlay = found.metadata.name
        self.domain = found.spec.domains[0]
        secret = await self._get(
            _Secret, "secret", f"{self.overlay}-admin",
            instead="the operator makes it when the overlay has its authority",
        )  # fmt: skip
        papers = [
            base64.b64decode(secret.data.get(name, ""))
            for name in ("ca.pem", "admin.pem", "admin.key")
        ]
        self._papers = Papers(*papers)
        pods = await self._get(_Pods, "pods", "--selector", f"chordial.dev/overlay={self.overlay}")
        for pod in sorted(pods.items, key=lambda each: each.metadata.name):
            name = pod.metadata.labels.get("chordial.dev/peer", pod.metadata.name)
            shown = pod.metadata.annotations.get("chordial.dev/node-id", "")
            self.pods[name] = pod.metadata.name
            self._known.append(Known(name, node_id(shown) if shown else None))
        return self

    async def __aexit__(self, *_: object) -> None:
        for process, _address in self._forwards.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()

    @property
    def where(self) -> str:
        """The overlay, and what shows its pods."""
        return (
            f"of overlay {self.overlay} answers: see `kubectl get pods"
            f" --selector chordial.dev/overlay={self.overlay}`"
        )

    def papers(self) -> Papers:
        """Return the admin's certificate."""
        return self._papers

    def known(self) -> list[Known]:
        """Return the peers that have a pod."""
        return self._known

    async def address(self, peer: Known) -> Address:
        """Forward a local port to a peer's pod, once, and return it; PeerSilentError if not."""
        held = self._forwards.get(peer.name)
        if held is not None and held[0].returncode is None:
            return held[1]
        pod = self.pods[peer.name]
        process = await asyncio.create_subprocess_exec(
            *self._kubectl, "port-forward", f"pod/{pod}", f":{OVERLAY_PORT}",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), FORWARD_SECONDS)
        except TimeoutError:
            line = b""
        found = _FORWARDING.match(line)
        if found is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            told = (await process.stderr.read(LONGEST_LINE)).decode(errors="replace").strip()
            await process.wait()
            why = f"no way to pod {pod}: {told or 'kubectl port-forward says nothing'}"
            raise PeerSilentError(why) from PeerUnreachableError(why)
        address = ("127.0.0.1", int(found[1]))
        self._forwards[peer.name] = (process, address)
        return address

    async def _found_overlay(self) -> "_Overlay":
        if self.overlay:
            return await self._get(_Overlay, "overlays.chordial.dev", self.overlay)
        found = (await self._get(_Overlays, "overlays.chordial.dev")).items
        if len(found) == 1:
            return found[0]
        names = ", ".join(each.metadata.name for each in found)
        raise FleetError(
            f"name the overlay with --overlay: there are {names}"
            if found
            else "there is no overlay in this namespace: name another one with -n"
        )

    async def _get(self, kind: type[T], *what: str, instead: str = "") -> T:
        text = await self.read("get", *what, "--output", "json", instead=instead)
        return msgspec.json.decode(text, type=kind)

    async def read(self, *what: str, instead: str = "") -> bytes:
        """Run kubectl and return what it wrote; FleetError with its complaint."""
        process = await asyncio.create_subprocess_exec(
            *self._kubectl, *what,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, told = await process.communicate()
        if process.returncode:
            text = told.decode(errors="replace").strip()[:LONGEST_LINE]
            raise FleetError(f"kubectl: {text}" + (f" ({instead})" if instead else ""))
        return out


class _Meta(msgspec.Struct):
    name: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class _Pod(msgspec.Struct):
    metadata: _Meta


class _Pods(msgspec.Struct):
    items: list[_Pod]


class _OverlaySpec(msgspec.Struct):
    domains: list[str]


class _Overlay(msgspec.Struct):
    metadata: _Meta
    spec: _OverlaySpec


class _Overlays(msgspec.Struct):
    items: list[_Overlay]


class _Secret(msgspec.Struct):
    data: dict[str, str] = {}
