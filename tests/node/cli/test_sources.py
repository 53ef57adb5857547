"""Where a verb finds its peers: the options, and what is wrong with them in a sentence."""

import argparse
import asyncio
from pathlib import Path

import pytest

from chordial_node.cli.asking import Known, Papers, find
from chordial_node.cli.fleet import FleetError
from chordial_node.cli.options import UsageError
from chordial_node.cli.sources import AddressedPeers, add_source_options, open_peers


def options(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", default="")
    parser.add_argument("--state", type=Path)
    add_source_options(parser)
    return parser.parse_args(given)


def folder(path: Path) -> Path:
    for name in ("ca.pem", "admin.pem", "admin.key"):
        (path / name).write_text(name)
    return path


async def asked(args: argparse.Namespace) -> tuple[Papers, list[Known]]:
    async with open_peers(args) as peers:
        return peers.papers(), list(peers.known())


def test_an_identity_folder_and_an_address_are_enough(tmp_path: Path) -> None:
    given = options("--identity", str(folder(tmp_path)), "--peer", "voice-peers:6084")
    papers, known = asyncio.run(asked(given))
    assert papers == Papers(b"ca.pem", b"admin.pem", b"admin.key")
    assert known == [Known("voice-peers:6084", None)]
    assert "admin" not in repr(papers)


def test_an_identity_without_an_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs --peer HOST:PORT"):
        asyncio.run(asked(options("--identity", str(tmp_path))))


def test_a_missing_file_of_an_identity_is_named(tmp_path: Path) -> None:
    (folder(tmp_path) / "admin.key").unlink()
    with pytest.raises(FleetError, match=r"admin\.key cannot be read"):
        asyncio.run(asked(options("--identity", str(tmp_path), "--peer", "a:1")))


def test_without_a_fleet_the_state_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match="chordial up"):
        asyncio.run(asked(options("--state", str(tmp_path / "none"))))


def test_a_peer_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    peers = AddressedPeers(folder(tmp_path), "host:1")
    with pytest.raises(FleetError, match="it has host:1"):
        find(peers, "peer-9")
