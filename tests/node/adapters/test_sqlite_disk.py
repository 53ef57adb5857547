"""The disk against real files: what was reported is there after a restart."""

import asyncio
import resource
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from chordial_node.adapters.sqlite_disk import DiskError, SqliteDisk
from chordial_node.boundary.effects import Persist
from chordial_node.boundary.events import Event, Persisted, PersistFailed
from tests.node.adapters.overlay_rig import NODES, Told, on_a_loop

OWN, OTHER = NODES[:2]


@asynccontextmanager
async def open_disk(
    path: Path, tell: Callable[[Event], None], durability: str = "machine"
) -> AsyncIterator[SqliteDisk]:
    disk = SqliteDisk(path, OWN, durability, tell)
    disk.open()
    disk.start()
    try:
        yield disk
    finally:
        await disk.close()


def read(path: Path) -> tuple[tuple[bytes, bytes], ...]:
    async def once() -> tuple[tuple[bytes, bytes], ...]:
        disk = SqliteDisk(path, OWN, "machine", lambda _: None)
        rows = disk.open()
        await disk.close()
        return rows

    return asyncio.run(once())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "peer.sqlite"


@pytest.mark.parametrize("durability", ["machine", "process"])
def test_what_was_reported_is_there_after_a_restart(path: Path, durability: str) -> None:
    @on_a_loop
    async def write() -> None:
        told = Told()
        async with open_disk(path, told, durability) as disk:
            disk.persist(Persist(1, ((b"b", b"1"), (b"a", b"1"), (b"c", b"1"))))
            await told.until(lambda event: event == Persisted(1))
            disk.persist(Persist(2, ((b"a", b"2"), (b"b", None))))
            await told.until(lambda event: event == Persisted(2))

    write()
    assert read(path) == ((b"a", b"2"), (b"c", b"1"))


def test_writes_that_queued_share_a_commit_and_one_report(path: Path) -> None:
    told = Told()

    @on_a_loop
    async def write() -> None:
        disk = SqliteDisk(path, OWN, "machine", told)
        disk.open()
        for number in range(1, 101):
            disk.persist(Persist(number, ((b"same", b"%d" % number), (b"%d" % number, b""))))
        disk.start()
        await told.until(lambda event: event == Persisted(100))
        await disk.close()

    write()
    assert told.events == [Persisted(100)]
    assert len(read(path)) == 101
    assert dict(read(path))[b"same"] == b"100"


def test_a_value_within_one_group_that_is_deleted_and_written_again_stays(path: Path) -> None:
    @on_a_loop
    async def write() -> None:
        told = Told()
        async with open_disk(path, told) as disk:
            disk.persist(Persist(1, ((b"k", b"1"), (b"k", None), (b"k", b"2"))))
            await told.until(lambda event: event == Persisted(1))

    write()
    assert read(path) == ((b"k", b"2"),)


@on_a_loop
async def test_what_waits_at_the_end_is_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "peer.sqlite"
    async with open_disk(path, lambda _: None) as disk:
        disk.persist(Persist(1, ((b"k", b"v"),)))
    again = SqliteDisk(path, OWN, "machine", lambda _: None)
    assert again.open() == ((b"k", b"v"),)
    await again.close()


@on_a_loop
async def test_a_second_holder_is_told_who_has_the_file(tmp_path: Path) -> None:
    path = tmp_path / "peer.sqlite"
    async with open_disk(path, lambda _: None):
        with pytest.raises(DiskError, match=r"is in use by process \d+: end that one"):
            SqliteDisk(path, OWN, "machine", lambda _: None).open()


@pytest.mark.parametrize("what", ["another", "garbage", "cut", "later"])
@on_a_loop
async def test_a_file_that_cannot_be_used_is_set_aside_and_kept(tmp_path: Path, what: str) -> None:
    path = tmp_path / "peer.sqlite"
    disk = SqliteDisk(path, OTHER if what == "another" else OWN, "machine", lambda _: None)
    disk.open()
    await disk.close()
    if what == "garbage":
        path.write_bytes(b"this is no database" * 100)
    elif what == "cut":
        path.write_bytes(path.read_bytes()[:5_000])
    elif what == "later":
        with sqlite3.connect(path) as database:
            database.execute("PRAGMA user_version=9")
        database.close()
    kept = path.read_bytes()
    disk = SqliteDisk(path, OWN, "machine", lambda _: None)
    assert disk.open() == ()
    await disk.close()
    aside = tmp_path / "peer.sqlite.set-aside-1"
    assert disk.set_aside.endswith(f"it was set aside as {aside}")
    assert aside.read_bytes() == kept


@on_a_loop
async def test_a_commit_that_fails_is_told_and_the_next_may_work(tmp_path: Path) -> None:
    path = tmp_path / "peer.sqlite"
    told = Told()
    async with open_disk(path, told) as disk:
        with largest_file(1 << 20):
            disk.persist(Persist(1, ((b"k", b"x" * (4 << 20)),)))
            failed = await told.until(lambda event: isinstance(event, PersistFailed))
        assert isinstance(failed, PersistFailed)
        assert failed.sequence == 1
        disk.persist(Persist(2, ((b"k", b"v"),)))
        await told.until(lambda event: event == Persisted(2))


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """As on a full disk: no file of this process grows beyond a size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_path_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    disk = SqliteDisk(tmp_path / "file" / "peer.sqlite", OWN, "machine", lambda _: None)
    with pytest.raises(DiskError, match=r"storage\.path .* cannot be used"):
        disk.open()


def test_a_lock_that_cannot_be_written_is_told(path: Path) -> None:
    with largest_file(0), pytest.raises(DiskError, match=r"storage\.path .* cannot be used"):
        SqliteDisk(path, OWN, "machine", lambda _: None).open()
