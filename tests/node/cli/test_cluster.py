"""Peers in a cluster, reached by kubectl: here a program that says what kubectl would."""

import asyncio
import sys
from pathlib import Path

import pytest

from chordial_node.boundary.control import AskStatus, StatusAnswer
from chordial_node.cli.asking import PeerSilentError, ask_any, statuses_of
from chordial_node.cli.cluster import ClusterPeers
from chordial_node.cli.fleet import FleetError

KUBECTL = """\
#!{python}
import json, sys
said = " ".join(sys.argv[1:])
if "port-forward" in said:
    sys.exit("error: error dialing backend: connection refused")
if "overlays.chordial.dev" in said:
    overlay = {{"metadata": {{"name": "voice"}}, "spec": {{"domains": ["voice.test"]}}}}
    print(json.dumps({{"items": [overlay] * {overlays}}}))
elif "secret" in said:
    print(json.dumps({{"data": {{"ca.pem": "YQ==", "admin.pem": "Yg==", "admin.key": "Yw=="}}}}))
else:
    pod = {{"metadata": {{"name": "seed-0-0", "labels": {{"chordial.dev/peer": "seed-0"}}}}}}
    print(json.dumps({{"items": [pod]}}))
"""


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, overlays: int = 1) -> None:
    program = folder / "kubectl"
    program.write_text(KUBECTL.format(python=sys.executable, overlays=overlays))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_a_pod_that_cannot_be_reached_is_a_peer_that_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch)

    async def asked() -> None:
        async with ClusterPeers("", "voice", "") as peers:
            assert [peer.name for peer in peers.known()] == ["seed-0"]
            assert await statuses_of(peers) == [None]
            with pytest.raises(PeerSilentError, match="no peer of overlay voice answers"):
                await ask_any(peers, AskStatus(), StatusAnswer)
            with pytest.raises(PeerSilentError, match=r"no way to pod seed-0-0: .*refused"):
                await ask_any(peers, AskStatus(), StatusAnswer, "seed-0")

    asyncio.run(asked())


@pytest.mark.parametrize(("overlays", "told"), [(0, "no overlay"), (2, "with --overlay")])
def test_without_a_name_the_only_overlay_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overlays: int, told: str
) -> None:
    stand_in(tmp_path, monkeypatch, overlays)

    async def asked() -> None:
        async with ClusterPeers("", "voice", ""):
            raise AssertionError("an overlay was chosen")

    with pytest.raises(FleetError, match=told):
        asyncio.run(asked())
