"""The disk: one SQLite file in WAL mode, written by one thread in group commits.

Everything that queued while a commit ran goes into the next one, and one report tells how far the
disk has come. What a record means is the core's affair. A file that cannot be used is set aside
under another name, never deleted.
"""

import asyncio
import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from chordial_node.boundary.effects import Persist
from chordial_node.boundary.events import Event, Persisted, PersistFailed
from chordial_node.ids import NodeId

FORMAT = 1
APPLICATION_ID = 0x43484F52
"""`CHOR`, in the header of each of our files."""
MOST_WRITES_OF_A_COMMIT = 4_096
_SYNCHRONOUS = {"machine": "FULL", "process": "NORMAL"}
_SCHEMA = (
    "CREATE TABLE about (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE records (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
)


class DiskError(Exception):
    """The disk cannot be used; the message says what is wrong and what to do."""


class _UnusableFileError(Exception):
    """This file is not, or no longer, what this peer wrote."""


class SqliteDisk:
    """Holds this peer's records from `open` to `close`."""

    def __init__(
        self, path: Path, own: NodeId, durability: str, tell: Callable[[Event], None]
    ) -> None:
        """Take the file, whose it is, and whether a commit survives a power loss (`machine`)."""
        self._path = path
        self._own = own
        self._synchronous = _SYNCHRONOUS[durability]
        self._tell = tell
        self._queue: SimpleQueue[Persist | None] = SimpleQueue()
        self._database: sqlite3.Connection | None = None
        self._thread: threading.Thread | None = None
        self._lock = -1
        self.set_aside = ""
        """What was wrong with the file that was found, and its new name; empty: nothing."""

    def open(self) -> tuple[tuple[bytes, bytes], ...]:
        """Take the file for this process alone and return all records; DiskError says why not."""
        self._lock_file()
        try:
            try:
                database = self._connect()
            except _UnusableFileError as error:
                self.set_aside = f"{error}: it was set aside as {self._put_away()}"
                database = self._connect()
            rows = tuple(database.execute("SELECT key, value FROM records ORDER BY key"))
        except (sqlite3.Error, OSError, _UnusableFileError) as error:
            self._unlock()
            raise DiskError(f"storage.path {self._path} cannot be used: {error}") from error
        self._database = database
        return rows

    def start(self) -> None:
        """Begin to take writes; reports come on the running event loop."""
        assert self._database is not None
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(
            target=self._run, args=(loop, self._database), name="disk", daemon=True
        )
        self._thread.start()

    def persist(self, effect: Persist) -> None:
        """Perform `Persist`."""
        self._queue.put(effect)

    async def close(self) -> None:
        """Write what waits, then let go of the file."""
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        if self._database is not None:
            self._database.close()
            self._database = None
        self._unlock()

    # the file

    def _lock_file(self) -> None:
        lock = self._path.with_name(self._path.name + ".lock")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.truncate(self._lock, 0)
            os.write(self._lock, b"%d\n" % os.getpid())
        except BlockingIOError as error:
            holder = os.read(self._lock, 32).decode("ascii", "replace").strip() or "unknown"
            self._unlock()
            raise DiskError(
                f"storage.path {self._path} is in use by process {holder}:"
                " end that one, or give this peer a path of its own"
            ) from error
        except OSError as error:
            self._unlock()
            raise DiskError(f"storage.path {self._path} cannot be used: {error}") from error

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(database)
        except sqlite3.OperationalError:
            database.close()
            raise  # no space, no permission: the file may be well
        except (sqlite3.DatabaseError, _UnusableFileError) as error:
            database.close()
            raise _UnusableFileError(f"{self._path} is {_wrong(error)}") from error
        return database

    def _prepare(self, database: sqlite3.Connection) -> None:
        database.execute("PRAGMA locking_mode=EXCLUSIVE")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if version == 0 and tables == 0:
            self._create(database)
        elif version != FORMAT:
            raise _UnusableFileError(f"of format {version}, this version writes {FORMAT}")
        (found,) = database.execute("SELECT value FROM about WHERE name='node-id'").fetchone()
        if found != self._own:
            raise _UnusableFileError(f"of Node-ID {found.hex()}, this is {self._own.hex()}")
        (health,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if health != "ok":
            raise _UnusableFileError(f"damaged: {health}")
        database.execute("PRAGMA journal_mode=WAL")
        database.execute(f"PRAGMA synchronous={self._synchronous}")

    def _create(self, database: sqlite3.Connection) -> None:
        database.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA:
            database.execute(statement)
        database.execute("INSERT INTO about VALUES ('node-id', ?)", (self._own,))
        database.execute(f"PRAGMA application_id={APPLICATION_ID}")
        database.execute(f"PRAGMA user_version={FORMAT}")
        database.execute("COMMIT")

    def _put_away(self) -> Path:
        number = 1
        while (kept := self._path.with_name(f"{self._path.name}.set-aside-{number}")).exists():
            number += 1
        for suffix in ("-wal", "-shm"):
            beside = self._path.with_name(self._path.name + suffix)
            if beside.exists():
                beside.rename(kept.with_name(kept.name + suffix))
        self._path.rename(kept)
        return kept

    # the thread

    def _run(self, loop: asyncio.AbstractEventLoop, database: sqlite3.Connection) -> None:
        while (first := self._queue.get()) is not None:
            group = [first]
            is_last = False
            while len(group) < MOST_WRITES_OF_A_COMMIT:
                try:
                    more = self._queue.get_nowait()
                except Empty:
                    break
                if more is None:
                    is_last = True
                    break
                group.append(more)
            report = _commit(database, group)
            try:
                loop.call_soon_threadsafe(self._tell, report)
            except RuntimeError:
                return  # the loop is closed: nobody waits for a report
            if is_last:
                return


def _commit(database: sqlite3.Connection, group: list[Persist]) -> Event:
    """Write a group in one transaction; of a key's several values the last counts."""
    sequence = max(write.sequence for write in group)
    values = {key: value for write in group for key, value in write.records}
    try:
        database.execute("BEGIN IMMEDIATE")
        database.executemany(
            "INSERT OR REPLACE INTO records VALUES (?, ?)",
            [item for item in values.items() if item[1] is not None],
        )
        database.executemany(
            "DELETE FROM records WHERE key=?", [(k,) for k, v in values.items() if v is None]
        )
        database.execute("COMMIT")
    except sqlite3.Error as error:
        if database.in_transaction:
            with suppress(sqlite3.Error):  # the next BEGIN tells if it did not work either
                database.execute("ROLLBACK")
        return PersistFailed(sequence, f"{error}")
    return Persisted(sequence)


def _wrong(error: Exception) -> str:
    if isinstance(error, _UnusableFileError):
        return str(error)
    if isinstance(error, TypeError):
        return "no file of a peer"
    return f"damaged: {error}"
