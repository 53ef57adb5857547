"""An authority goes into a Secret and comes out the same; what is wrong in one is all named."""

import base64
from collections.abc import Mapping

import msgspec
import pytest

from chordial_node.security.authority import Authority, Term, make_private_key, public_key_of
from chordial_node.security.certificates import Role
from chordial_operator.enrollment.authority import AuthorityError, AuthorityRecord, PeerKey
from chordial_operator.enrollment.authority_secret import (
    authority_secret,
    encode_data,
    read_authority,
    read_own_ca,
    secret_name,
)
from tests.operator.enrollment.records import DAY, NOW, OVERLAY, made

OTHER = made(2)


def files_of(record: AuthorityRecord) -> dict[str, bytes]:
    data = authority_secret(record, "system", "phones", "voice")["data"]
    assert isinstance(data, dict)
    return {key: base64.b64decode(value) for key, value in data.items()}


def read(files: Mapping[str, bytes]) -> AuthorityRecord:
    return read_authority({"data": encode_data(files)}, OVERLAY)


@pytest.mark.parametrize(
    "record",
    [
        made(),
        msgspec.structs.replace(made(), next=OTHER.current, rotation="2027", wants_key=True),
        msgspec.structs.replace(
            made(), old=OTHER.current.certificate, keys=(OTHER.keys[0], made().keys[0])[:1]
        ),
        msgspec.structs.replace(
            made(), founded_at=NOW, sequence=7, revoked=OTHER.founders[:1],
            peer_keys=(PeerKey(OTHER.founders[1], "0a" * 32, int(NOW)),),
        ),
    ],
)  # fmt: skip
def test_what_was_written_is_read(record: AuthorityRecord) -> None:
    assert read(files_of(record)) == record


def test_it_is_labelled_and_has_no_owner() -> None:
    metadata = authority_secret(made(), "system", "phones", "voice")["metadata"]
    assert isinstance(metadata, dict)
    assert (metadata["namespace"], metadata["name"]) == ("system", "ca-phones-voice")
    assert metadata["labels"]["chordial.dev/overlay"] == "voice"
    assert "ownerReferences" not in metadata


def test_a_name_too_long_is_cut_and_stays_one_of_its_kind() -> None:
    one, other = secret_name("phones", "v" * 252), secret_name("phones", "v" * 253)
    assert one != other
    assert len(one) == len(other) == 253


SEED = made()
TABLE = [
    ({"overlay.json": None}, "overlay.json is missing"),
    ({"overlay.json": b"{"}, "overlay.json: "),
    ({"overlay.json": b'{"format":1}'}, "overlay.json: .*overlayName"),
    ({"overlay-keys.json": None}, "overlay-keys.json is missing"),
    ({"overlay-keys.json": b'{"current":9,"keys":{}}'}, "lacks its present key"),
    ({"overlay-keys.json": b'{"current":1,"keys":{"1":"00"}}'}, "64 HEX DIGITS"),
    ({"signer.seed": b"short"}, "signer.seed has 5 bytes instead of 32"),
    ({"signer.seed": None}, "signer.seed has 0 bytes instead of 32"),
    ({"ca.crt": None, "ca.key": None}, "ca.crt and ca.key are missing"),
    ({"ca.key": OTHER.current.private_key}, "ca.crt and ca.key: .*not the key of its certificate"),
    ({"ca.crt": b"no PEM"}, "ca.crt and ca.key: the certificate cannot be used"),
    ({"old.crt": b"no PEM"}, "old.crt is not the certificate of an authority"),
    (
        {
            "next.crt": OTHER.current.certificate,
            "next.key": OTHER.current.private_key,
            "old.crt": OTHER.current.certificate,
        },
        "both next.crt and old.crt",
    ),
]


@pytest.mark.parametrize(("change", "problem"), TABLE)
def test_every_problem_is_named(change: dict[str, bytes | None], problem: str) -> None:
    files: dict[str, bytes | None] = {**files_of(SEED), **change}
    with pytest.raises(AuthorityError, match=problem) as refused:
        read({key: value for key, value in files.items() if value is not None})
    assert "restore the Secret from its backup" in str(refused.value)
    assert "PRIVATE" not in str(refused.value)


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(AuthorityError, match=r"overlay\.json.*overlay-keys.*ca\.crt.*signer"):
        read({})


def test_the_secret_of_another_overlay_is_refused() -> None:
    with pytest.raises(AuthorityError, match=r"of overlay 'phones\.voice', expected was 'a\.b'"):
        read_authority({"data": encode_data(files_of(made()))}, "a.b")


def test_a_secret_of_a_newer_operator_is_refused() -> None:
    files = files_of(made())
    files["overlay.json"] = files["overlay.json"].replace(b'"format":1', b'"format":2')
    with pytest.raises(AuthorityError, match="a newer operator wrote it"):
        read(files)


def test_what_is_no_base64_is_refused() -> None:
    with pytest.raises(AuthorityError, match="not base64"):
        read_authority({"data": {"ca.key": "%%"}}, OVERLAY)


def own(certificate: bytes, key: bytes) -> dict[str, object]:
    return {"data": encode_data({"tls.crt": certificate, "tls.key": key})}


def test_an_own_authority_is_taken_as_it_is() -> None:
    pair = OTHER.current
    assert read_own_ca(own(pair.certificate, pair.private_key), OVERLAY, NOW) == pair


def test_an_own_authority_that_cannot_serve_is_refused() -> None:
    key = make_private_key()
    root = Authority.make(OVERLAY, Term(NOW, DAY, 1 << 70))
    leaf = root.issue_user(public_key_of(key), Role.ADMIN, "admin", Term(NOW, DAY, 1 << 71))
    with pytest.raises(AuthorityError, match=r"CA:TRUE.*signed by another authority.*keyCertSign"):
        read_own_ca(own(leaf, key), OVERLAY, NOW)
    with pytest.raises(AuthorityError, match=r"tls\.crt ended at"):
        read_own_ca(own(root.certificate, root.private_key), OVERLAY, NOW + 2 * DAY)
    with pytest.raises(AuthorityError, match=r"tls\.crt begins at"):
        read_own_ca(own(root.certificate, root.private_key), OVERLAY, NOW - DAY)
    with pytest.raises(AuthorityError, match="not the key of its certificate"):
        read_own_ca(own(root.certificate, key), OVERLAY, NOW)
    with pytest.raises(AuthorityError, match=r"tls\.crt is missing.*tls\.key is missing"):
        read_own_ca({"data": {}}, OVERLAY, NOW)
