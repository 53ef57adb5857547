"""put, get and remove."""

import pytest

from chordial_node.boundary.control import Answer, Done, Get, Put, Refused, Remove, ValueAnswer
from chordial_node.config import MOST_VALUE_BYTES
from chordial_node.overlay.kinds import KindId
from chordial_node.usage.open_service import OpenService, resource_of_key
from tests.node.usage.solo import Solo

HOUR = 3600.0


def service(solo: Solo, most_bytes: int = MOST_VALUE_BYTES) -> OpenService:
    return OpenService(solo.kernel, solo.peer, solo.own, most_bytes)


def value_of(solo: Solo, key: bytes) -> bytes | None:
    answer = solo.result(service(solo).get(Get(key)), 0.5)
    assert isinstance(answer, ValueAnswer)
    return answer.value if answer.found else None


@pytest.mark.parametrize("size", [0, 5, 16 * 1024, 16 * 1024 + 1, 64 * 1024])
def test_what_is_put_comes_back(size: int) -> None:
    solo = Solo()
    value = bytes(index % 251 for index in range(size))
    answer = solo.result(service(solo).put(Put(b"key", value, HOUR)), 0.5)
    assert isinstance(answer, ValueAnswer)
    assert answer.resource_id == resource_of_key(b"key")
    assert answer.expires_at == pytest.approx(solo.kernel.wall + HOUR, abs=1.0)
    assert value_of(solo, b"key") == value


def test_the_head_of_a_cut_value_is_stored_last() -> None:
    solo = Solo()
    stored: list[bytes] = []
    store = solo.shared.store

    def noting(resource, kinds, wall_ms, owner):  # type: ignore[no-untyped-def]
        stored.append(resource)
        return store(resource, kinds, wall_ms, owner)

    solo.shared.store = noting  # type: ignore[method-assign]
    solo.result(service(solo).put(Put(b"key", bytes(40_000), HOUR)), 0.5)
    assert stored[-1] == resource_of_key(b"key")
    assert resource_of_key(b"key") not in stored[:-1]


def test_a_value_ends_with_its_lifetime() -> None:
    solo = Solo()
    solo.result(service(solo).put(Put(b"key", b"value", 10.0)), 0.1)
    solo.run(10.0)
    assert value_of(solo, b"key") is None


def test_of_two_first_puts_with_different_secrets_one_is_refused() -> None:
    solo = Solo()
    answers: list[Answer] = []

    async def put(secret: bytes) -> None:
        answers.append(await service(solo).put(Put(b"key", b"value", HOUR, secret)))

    solo.kernel.start(put(b"one"))
    solo.kernel.start(put(b"other"))
    solo.run(0.5)
    assert sorted(type(each).__name__ for each in answers) == ["Refused", "ValueAnswer"]


def test_who_knows_the_secret_may_overwrite_and_remove() -> None:
    solo = Solo()
    solo.result(service(solo).put(Put(b"key", b"one", HOUR, b"secret")), 0.1)
    solo.result(service(solo).put(Put(b"key", b"two", HOUR, b"secret")), 0.1)
    assert value_of(solo, b"key") == b"two"
    assert isinstance(solo.result(service(solo).remove(Remove(b"key", b"secret")), 0.1), Done)
    assert value_of(solo, b"key") is None


@pytest.mark.parametrize("secret", [b"", b"other"])
def test_who_does_not_know_it_is_refused(secret: bytes) -> None:
    solo = Solo()
    solo.result(service(solo).put(Put(b"key", b"one", HOUR, b"secret")), 0.1)
    put = solo.result(service(solo).put(Put(b"key", b"two", HOUR, secret)), 0.1)
    removed = solo.result(service(solo).remove(Remove(b"key", secret)), 0.1)
    assert isinstance(put, Refused)
    assert isinstance(removed, Refused)
    assert put.code == removed.code == "forbidden"
    assert value_of(solo, b"key") == b"one"


def test_a_value_without_a_secret_stays_but_may_be_put_again() -> None:
    solo = Solo()
    solo.result(service(solo).put(Put(b"key", b"one", 10.0)), 0.1)
    assert isinstance(solo.result(service(solo).put(Put(b"key", b"two", HOUR)), 0.1), Refused)
    assert isinstance(solo.result(service(solo).remove(Remove(b"key", b"")), 0.1), Refused)
    again = solo.result(service(solo).put(Put(b"key", b"one", HOUR)), 0.1)
    assert isinstance(again, ValueAnswer)
    solo.run(11.0)
    assert value_of(solo, b"key") == b"one"


def test_removing_what_is_not_there_says_so() -> None:
    solo = Solo()
    answer = solo.result(service(solo).remove(Remove(b"key", b"secret")), 0.1)
    assert isinstance(answer, Refused)
    assert answer.code == "not_found"


@pytest.mark.parametrize(
    "put",
    [
        Put(b"", b"value", HOUR),
        Put(b"k" * 1025, b"value", HOUR),
        Put(b"key", bytes(64 * 1024 + 1), HOUR),
        Put(b"key", b"value", 0.0),
        Put(b"key", b"value", 8 * 24 * HOUR),
    ],
)
def test_what_is_too_large_or_too_long_is_refused_with_the_limit(put: Put) -> None:
    solo = Solo()
    answer = solo.result(service(solo).put(put), 0.1)
    assert isinstance(answer, Refused)
    assert answer.code == "invalid_message"
    assert solo.shared.stores == 0


def test_the_configured_limit_holds_and_is_named() -> None:
    solo = Solo()
    small = service(solo, 4096)
    assert isinstance(solo.result(small.put(Put(b"key", bytes(4096), HOUR)), 0.5), ValueAnswer)
    answer = solo.result(small.put(Put(b"key", bytes(4097), HOUR)), 0.1)
    assert answer == Refused(
        "invalid_message", "a value has at most 4096 bytes in this overlay, not 4097"
    )


def test_the_same_value_under_two_keys_shares_no_chunk() -> None:
    solo = Solo()
    for key in (b"one", b"two"):
        solo.result(service(solo).put(Put(key, bytes(20_000), HOUR)), 0.1)
    kept = [kind for _, kind in solo.shared.shelves if kind == KindId.OPEN_VALUE]
    assert len(kept) == 2 + 4
