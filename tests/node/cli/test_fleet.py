"""The state folder: made once, read again, and told apart from what it is not."""

import os
from pathlib import Path

import pytest

from chordial_node import config
from chordial_node.cli.fleet import Fleet, FleetError
from chordial_node.cli.ports import PeerPorts
from chordial_node.config import Transport

PORTS = [PeerPorts(6084 + 10 * n, 5060 + 10 * n, 5061 + 10 * n, 5066 + 10 * n, 8080 + 10 * n, True)
         for n in range(3)]  # fmt: skip


def make(state: Path) -> Fleet:
    return Fleet.make(state, "chordial.test", "127.0.0.1", "", PORTS)


def test_a_fleet_is_read_as_it_was_made(tmp_path: Path) -> None:
    made = make(tmp_path / "state")
    read = Fleet.load(tmp_path / "state")
    assert read.file == made.file
    assert [peer.name for peer in read.file.peers] == ["peer-1", "peer-2", "peer-3"]


def test_every_peer_gets_a_configuration_that_parses_and_names_all_founders(tmp_path: Path) -> None:
    fleet = make(tmp_path / "state")
    for peer in fleet.file.peers:
        text = (fleet.folder(peer) / "config.json").read_bytes()
        parsed = config.parse(text)
        assert parsed == fleet.node_config(peer)
        assert len(parsed.overlay.founders) == 3
        assert len(parsed.overlay.seeds) == 2
        assert {each.transport for each in parsed.sip.listeners} == set(Transport)


def test_secrets_are_for_their_owner_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    make(state)
    assert state.stat().st_mode & 0o077 == 0
    for path in state.rglob("*"):
        if path.is_file():
            assert path.stat().st_mode & 0o077 == 0, path


def test_no_fleet_a_broken_one_and_one_of_another_version_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match="chordial up"):
        Fleet.load(tmp_path)
    (tmp_path / "fleet.json").write_text("{")
    with pytest.raises(FleetError, match="cannot be read"):
        Fleet.load(tmp_path)
    fleet = make(tmp_path / "state")
    path = fleet.state / "fleet.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 9'))
    with pytest.raises(FleetError, match="another version"):
        Fleet.load(fleet.state)


def test_a_peer_is_found_by_name_number_or_the_beginning_of_its_node_id(tmp_path: Path) -> None:
    fleet = make(tmp_path / "state")
    second = fleet.file.peers[1]
    assert fleet.peer("peer-2") is second
    assert fleet.peer("2") is second
    assert fleet.peer(second.node_id[:6]) is second
    with pytest.raises(FleetError, match="peer-1, peer-2, peer-3"):
        fleet.peer("peer-9")


def test_new_ports_keep_identities(tmp_path: Path) -> None:
    fleet = make(tmp_path / "state")
    moved = fleet.with_ports(
        [PeerPorts(7000 + n, 7100 + n, 7200 + n, 7300 + n, 7400 + n, False) for n in range(3)]
    )
    assert [peer.node_id for peer in moved.file.peers] == [p.node_id for p in fleet.file.peers]
    assert Fleet.load(fleet.state).file.peers[0].ports.overlay == 7000


def test_nothing_of_a_half_written_file_is_left(tmp_path: Path) -> None:
    fleet = make(tmp_path / "state")
    assert not [name for name in os.listdir(fleet.state) if name.endswith(".new")]
