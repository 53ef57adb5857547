"""An overlay's authority is made once, whoever makes it, and changed one step at a time."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from chordial_operator.cluster.errors import ConflictError
from chordial_operator.cluster.kinds import Ref
from chordial_operator.enrollment.authority import AuthorityError, AuthorityRecord
from chordial_operator.enrollment.authority_secret import authority_secret, encode_data
from chordial_operator.enrollment.rotation import PeerBundle, founded, revoked
from chordial_operator.enrollment.store import KEPT_SECONDS, MOST_TRIES, AuthorityStore
from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.overlay import Overlay, parse_overlay
from tests.node.adapters.overlay_rig import on_a_loop
from tests.operator.enrollment.api_in_memory import ApiInMemory
from tests.operator.enrollment.objects_made import overlay
from tests.operator.enrollment.records import NOW, made

SECRET = Ref("Secret", "system", "ca-phones-voice")


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def voice(**certificates: object) -> Overlay:
    body = overlay()
    body["spec"] = {"domains": ["voice.example.org"], "certificates": certificates}
    return parse_overlay(body)


def store_in(api: ApiInMemory, clock: Callable[[], float] = lambda: NOW) -> AuthorityStore:
    return AuthorityStore(api, "system", clock=clock)


def own_secret(record: AuthorityRecord) -> Manifest:
    pair = record.current
    return {
        "kind": "Secret",
        "metadata": {"name": "own-ca", "namespace": "phones"},
        "data": encode_data({"tls.crt": pair.certificate, "tls.key": pair.private_key}),
    }


@on_a_loop
async def test_an_authority_is_made_once_and_read_ever_after() -> None:
    api = ApiInMemory()
    identity, _ = await store_in(api).open(voice())
    again, _ = await store_in(api).open(voice())
    assert again == identity
    assert identity.overlay_name == "phones.voice"
    assert len(identity.founders) == 4
    assert [asked for asked in api.asked if asked.startswith("create")] == [f"create {SECRET}"]


@on_a_loop
async def test_two_that_make_one_at_once_get_the_same() -> None:
    api = ApiInMemory()
    opened = await asyncio.gather(*(store_in(api).open(voice()) for _ in range(5)))
    assert len({identity.instance_id for identity, _ in opened}) == 1


@on_a_loop
async def test_who_comes_second_reads_the_winners() -> None:
    api = ApiInMemory()
    winner = made()
    api.before_create = lambda: _put(api, authority_secret(winner, "system", "phones", "voice"))
    identity, _ = await store_in(api).open(voice())
    assert identity.instance_id == winner.instance_id


def _put(api: ApiInMemory, manifest: Manifest) -> None:
    api.put("Secret", manifest)


@on_a_loop
async def test_what_was_read_is_believed_for_a_moment() -> None:
    api, clock = ApiInMemory(), Clock()
    store = store_in(api, clock)
    await store.open(voice())
    asked = len(api.asked)
    await store.open(voice())
    assert len(api.asked) == asked
    clock.now += KEPT_SECONDS
    await store.open(voice())
    assert len(api.asked) == asked + 1


@on_a_loop
async def test_a_change_is_written_and_read_by_others() -> None:
    api = ApiInMemory()
    store = store_in(api)
    await store.open(voice())
    identity, _ = await store.change(voice(), lambda record: founded(record, NOW))
    assert identity.founded_at == NOW
    assert (await store_in(api).open(voice()))[0].founded_at == NOW


@on_a_loop
async def test_a_step_that_changes_nothing_writes_nothing() -> None:
    api = ApiInMemory()
    store = store_in(api)
    await store.change(voice(), lambda record: record)
    assert not [asked for asked in api.asked if asked.startswith("replace")]


@on_a_loop
async def test_two_changes_at_once_are_both_kept() -> None:
    api = ApiInMemory()
    first, second = store_in(api), store_in(api)
    nodes = (await first.record(voice())).founders
    await second.open(voice())
    await asyncio.gather(
        first.change(voice(), lambda record: revoked(record, nodes[0])),
        second.change(voice(), lambda record: revoked(record, nodes[1])),
    )
    kept = await store_in(api).record(voice())
    assert sorted(kept.revoked) == sorted(nodes[:2])
    assert kept.sequence == 3


@on_a_loop
async def test_a_change_that_always_comes_too_late_gives_up() -> None:
    api = ApiInMemory()
    store = store_in(api)
    await store.open(voice())
    writes = 0

    def interfere() -> None:
        nonlocal writes
        writes += 1
        api.put("Secret", api.objects[SECRET])

    api.before_write = interfere
    with pytest.raises(ConflictError, match=r"phones/voice changes faster"):
        await store.change(voice(), lambda record: founded(record, NOW))
    assert writes == MOST_TRIES


@on_a_loop
async def test_an_own_authority_is_taken_and_its_successor_asks_for_a_rotation() -> None:
    api = ApiInMemory()
    first, second = made(1), made(2)
    api.put("Secret", own_secret(first))
    mine = voice(caSecretRef={"name": "own-ca"})
    store = store_in(api)
    assert (await store.record(mine)).current == first.current
    api.put("Secret", own_secret(second))
    wishes = await store.wishes(mine, is_resealed=True)
    assert (wishes.own, wishes.brings_own) == (second.current, True)


@on_a_loop
async def test_an_own_authority_that_is_missing_or_broken_is_named() -> None:
    api = ApiInMemory()
    mine = voice(caSecretRef={"name": "own-ca"})
    with pytest.raises(AuthorityError, match=r"Secret phones/own-ca does not exist"):
        await store_in(api).open(mine)
    api.put("Secret", {**own_secret(made()), "data": {}})
    with pytest.raises(AuthorityError, match=r"caSecretRef: Secret phones/own-ca: tls\.crt"):
        await store_in(api).open(mine)


@on_a_loop
async def test_a_broken_secret_is_named_and_never_overwritten() -> None:
    api = ApiInMemory()
    broken = authority_secret(made(), "system", "phones", "voice")
    del broken["data"]["ca.key"]
    api.put("Secret", broken)
    with pytest.raises(AuthorityError, match=r"Secret system/ca-phones-voice: ca\.crt and ca\.key"):
        await store_in(api).open(voice())
    assert not [asked for asked in api.asked if not asked.startswith("get")]


@on_a_loop
async def test_an_authority_is_deleted_only_when_told() -> None:
    api = ApiInMemory()
    store = store_in(api)
    await store.open(voice())
    await store.delete("phones", "voice")
    await store.delete("phones", "voice")
    assert SECRET not in api.objects


def lost_overlay(instance: str, **annotations: str) -> Manifest:
    body: Manifest = dict(overlay())
    body["status"] = {"instanceID": instance}
    body["metadata"] = {**body["metadata"], "annotations": annotations}
    return body


@on_a_loop
async def test_a_lost_authority_is_not_replaced_silently() -> None:
    api = ApiInMemory()
    api.put("Overlay", lost_overlay("ab12"))
    with pytest.raises(AuthorityError, match=r"Restore the Secret.*chordial\.dev/start-anew=ab12"):
        await store_in(api).open(voice())
    assert SECRET not in api.objects


@on_a_loop
async def test_a_restored_authority_goes_on() -> None:
    api = ApiInMemory()
    kept = authority_secret(made(), "system", "phones", "voice")
    api.put("Overlay", lost_overlay(made().instance_id))
    with pytest.raises(AuthorityError):
        await store_in(api).open(voice())
    api.put("Secret", kept)
    assert (await store_in(api).open(voice()))[0].instance_id == made().instance_id


@pytest.mark.parametrize(("said", "is_made"), [("ab12", True), ("cd34", False), ("true", False)])
@on_a_loop
async def test_an_overlay_begins_anew_only_for_the_instance_that_was_lost(
    said: str, is_made: bool
) -> None:
    api = ApiInMemory()
    api.put("Overlay", lost_overlay("ab12", **{"chordial.dev/start-anew": said}))
    if is_made:
        assert (await store_in(api).open(voice()))[0].instance_id != "ab12"
    else:
        with pytest.raises(AuthorityError):
            await store_in(api).open(voice())


@on_a_loop
async def test_the_annotation_asks_for_a_rotation() -> None:
    asks = msgspec.structs.replace(
        voice(),
        meta=msgspec.structs.replace(voice().meta, annotations={"chordial.dev/rotate-ca": "1"}),
    )
    wishes = await store_in(ApiInMemory()).wishes(asks, is_resealed=False)
    assert (wishes.annotation, wishes.is_resealed, wishes.own) == ("1", False, None)


@on_a_loop
async def test_a_rotation_goes_one_step_in_every_turn_and_any_replica_goes_on() -> None:
    api = ApiInMemory()
    asks = msgspec.structs.replace(
        voice(),
        meta=msgspec.structs.replace(voice().meta, annotations={"chordial.dev/rotate-ca": "1"}),
    )
    first, _ = await store_in(api).open(voice())
    seen = [first.bundle_hash]
    phases = []
    for _ in range(4):
        peers = [PeerBundle("edge-0", seen[-1])]
        identity, _ = await store_in(api).advance(asks, peers, is_resealed=True)
        phases.append(str(identity.phase))
        seen.append(identity.bundle_hash)
    assert phases == ["Announced", "Switched", "Steady", "Steady"]
    assert first.roots not in identity.roots
    writes = [asked for asked in api.asked if asked.startswith("replace")]
    assert len(writes) == 3
