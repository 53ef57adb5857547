"""A peer's identity on its volume: kept whole, taken up again, and never mixed with another's."""

import time
from pathlib import Path

import msgspec
import pytest

from chordial_node.adapters.identity_volume import (
    AnswerError,
    Expected,
    IdentityVolume,
    NotEnrolledError,
    VolumeError,
)
from chordial_node.boundary.enrollment import Enrolled
from chordial_node.ids import NodeId
from chordial_node.security.authority import (
    Authority,
    Term,
    certificate_request,
    requested_public_key,
)
from chordial_node.security.configuration import Configuration, sign_configuration
from chordial_node.security.signatures import Ed25519Signatures
from tests.node.adapters.overlay_rig import NODES, OVERLAY

SIGNER = Ed25519Signatures(b"\x01" * 32)
CONFIGURATION = Configuration(
    OVERLAY, "one", 3, (NODES[0].hex(),), SIGNER.public_key.hex(), revoked=(NODES[3].hex(),)
)
EXPECTED = Expected(OVERLAY, NODES[1], "one")


class Operator:
    """Answers what a peer's authority would."""

    def __init__(self) -> None:
        self.serial = 1 << 70
        self.authority = Authority.make(OVERLAY, self.term(86_400.0))

    def term(self, lifetime: float) -> Term:
        self.serial += 1
        return Term(time.time(), lifetime, self.serial)

    def answer(
        self,
        volume: IdentityVolume,
        node: NodeId = NODES[1],
        configuration: Configuration = CONFIGURATION,
        signer: Ed25519Signatures = SIGNER,
        lifetime: float = 3_600.0,
    ) -> Enrolled:
        key = requested_public_key(certificate_request(volume.private_key()))
        return Enrolled(
            certificate=self.authority.issue_peer(key, node, "p", self.term(lifetime)),
            trusted=self.authority.certificate,
            overlay_keys=b"{}",
            failure_domain="zone-a",
            configuration=sign_configuration(signer, configuration),
        )


@pytest.fixture
def operator() -> Operator:
    return Operator()


def volume_at(folder: Path, expected: Expected = EXPECTED) -> IdentityVolume:
    return IdentityVolume(folder / "identity", expected)


def kept(folder: Path, operator: Operator) -> IdentityVolume:
    volume = volume_at(folder)
    volume.keep(operator.answer(volume), "worker-1", "mark", time.time())
    return volume


def content(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in (folder / "identity").iterdir()}


def test_the_names_that_were_asked_for_are_remembered(tmp_path: Path, operator: Operator) -> None:
    volume = kept(tmp_path, operator)
    assert volume.listener_names == ()
    names = ("voice.test", "other.test")
    volume.keep(operator.answer(volume), "worker-1", "mark", time.time(), names)
    assert volume_at(tmp_path).listener_names == names


def test_an_empty_volume_has_a_key_and_no_certificate(tmp_path: Path) -> None:
    volume = volume_at(tmp_path)
    with pytest.raises(NotEnrolledError, match="the volume holds none"):
        volume.load(time.time())
    assert volume.private_key() == volume_at(tmp_path).private_key()
    assert volume.listener_key() != volume.private_key()
    assert (tmp_path / "identity" / "private.key").stat().st_mode & 0o777 == 0o600


def test_what_was_kept_is_taken_up_again(tmp_path: Path, operator: Operator) -> None:
    kept(tmp_path, operator)
    volume = volume_at(tmp_path)
    held = volume.load(time.time())
    assert held.identity.node_id == NODES[1]
    assert (held.failure_domain, held.node_name, volume.bundle) == ("zone-a", "worker-1", "mark")
    assert held.configuration.founders == (NODES[0].hex(),)
    assert not [name for name in content(tmp_path) if name.endswith(".part")]


def test_a_certificate_that_has_ended_is_to_be_asked_for_again(
    tmp_path: Path, operator: Operator
) -> None:
    volume = kept(tmp_path, operator)
    with pytest.raises(NotEnrolledError, match="the certificate ended at"):
        volume.load(time.time() + 7_200.0)


@pytest.mark.parametrize(
    ("expected", "told"),
    [
        (Expected(OVERLAY, NODES[2], "one"), f"Node-ID {NODES[1].hex()}, this peer is"),
        (Expected("other", NODES[1], "one"), "overlay 'test', not 'other'"),
        (Expected(OVERLAY, NODES[1], "two"), "founding one of the overlay, which is now two"),
    ],
)
def test_the_identity_of_somebody_else_is_refused_and_left_alone(
    tmp_path: Path, operator: Operator, expected: Expected, told: str
) -> None:
    kept(tmp_path, operator)
    before = content(tmp_path)
    with pytest.raises(VolumeError, match=told):
        volume_at(tmp_path, expected).load(time.time())
    assert content(tmp_path) == before


def test_a_key_that_is_not_the_certificates_is_refused(tmp_path: Path, operator: Operator) -> None:
    volume = kept(tmp_path, operator)
    (tmp_path / "identity" / "private.key").write_bytes(volume.listener_key())
    with pytest.raises(VolumeError, match="not the key of its certificate"):
        volume.load(time.time())


def test_an_answer_for_another_peer_is_not_kept(tmp_path: Path, operator: Operator) -> None:
    volume = volume_at(tmp_path)
    with pytest.raises(AnswerError, match=f"for Node-ID {NODES[2].hex()}"):
        volume.keep(operator.answer(volume, NODES[2]), "", "", time.time())
    other = volume_at(tmp_path / "other")
    with pytest.raises(AnswerError, match="for another key"):
        volume.keep(operator.answer(other), "", "", time.time())
    assert list(content(tmp_path)) == ["private.key"]


def test_a_configuration_follows_only_by_its_signer_and_never_back(
    tmp_path: Path, operator: Operator
) -> None:
    volume = kept(tmp_path, operator)
    older = msgspec.structs.replace(CONFIGURATION, sequence=2)
    with pytest.raises(AnswerError, match=r"older \(2\) than the one held \(3\)"):
        volume.keep(operator.answer(volume, configuration=older), "", "", time.time())
    stranger = Ed25519Signatures(b"\x02" * 32)
    forged = msgspec.structs.replace(CONFIGURATION, sequence=9, signer=stranger.public_key.hex())
    with pytest.raises(AnswerError, match="signed by somebody else"):
        volume.keep(
            operator.answer(volume, configuration=forged, signer=stranger), "", "", time.time()
        )
    assert volume.load(time.time()).configuration.sequence == 3


def test_a_superseded_identity_counts_no_more_and_its_key_is_kept_until_there_is_another(
    tmp_path: Path, operator: Operator
) -> None:
    volume = volume_at(tmp_path)
    first = volume.private_key()
    assert volume.sequence == 0
    volume.keep(operator.answer(volume), "host", "", time.time())
    volume.supersede()
    again = volume_at(tmp_path)
    assert again.sequence == CONFIGURATION.sequence
    assert again.is_superseded
    assert again.private_key() not in (first, b"")
    assert (tmp_path / "identity" / "private.key").read_bytes() == first
    with pytest.raises(NotEnrolledError, match="a later life took"):
        again.load(time.time())

    second = again.private_key()
    kept = again.keep(operator.answer(again), "host", "", time.time())
    assert not again.is_superseded
    assert volume_at(tmp_path).private_key() == second
    assert volume_at(tmp_path).load(time.time()).identity == kept.identity


def test_a_volume_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "identity").write_text("a file where the folder should be")
    with pytest.raises(VolumeError, match=r"identity/\S+\.key cannot be"):
        volume_at(tmp_path).private_key()
