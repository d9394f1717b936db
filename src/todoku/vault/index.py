"""The index of the packs: which content lies where, in SQLite. It can be made anew from the packs at any time.

Writes go to SQLite's log (WAL) without an fsync: after a power cut the last commits may be gone. The end that the index
has of a pack is then older too, and what lies behind it is put anew. Its log is brought into the index by `checkpoint`,
not by SQLite itself, which would keep a failed fsync to itself.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from todoku.vault.records import Place

BUSY_SECONDS = 20.0  # another process's group, with its checkpoint
CHECKPOINT_ROWS = 4_000
_PAGE_OCTETS = 2_048  # rows come by their hashes, nearly each in another page: small ones write less
_CACHE_KIBIBYTES = 16 * 1024
_TABLES = """
CREATE TABLE IF NOT EXISTS packs (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
    "end" INTEGER NOT NULL DEFAULT 0, closed INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS contents (project TEXT NOT NULL, sha256 BLOB NOT NULL, pack INTEGER NOT NULL,
    "offset" INTEGER NOT NULL, length INTEGER NOT NULL, PRIMARY KEY (project, sha256)) WITHOUT ROWID;
"""
_FIND = 'SELECT pack, "offset", length FROM contents WHERE project = ? AND sha256 = ?'
_ADD = 'INSERT OR IGNORE INTO contents (project, sha256, "offset", length, pack) VALUES (?, ?, ?, ?, ?)'
_REPLACE = _ADD.replace("IGNORE", "REPLACE")


class Row(NamedTuple):
    """Where a content lies; pack: its number in this index."""

    pack: int
    offset: int
    length: int


class PackRow(NamedTuple):
    """What the index has of a pack. end: up to where its records are in the index, in octets."""

    number: int
    end: int
    closed: bool


class Index:
    """One connection; not for two threads at once. Every method raises sqlite3.Error, and changes nothing then."""

    def __init__(self, path: Path, *, reading: bool = False) -> None:
        """Open the index, or make it unless reading."""
        self.path = path
        self._unchecked_rows = 0
        name = f"{path.resolve().as_uri()}?mode={'rw' if reading else 'rwc'}"
        self._connection = sqlite3.connect(
            name, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=True
        )
        try:
            if not reading:
                self._prepare()
            self._connection.execute("SELECT * FROM packs, contents LIMIT 1").fetchone()
            self._inode = path.stat().st_ino
        except BaseException:
            self._connection.close()
            raise

    def require_there(self) -> None:
        """Raise OSError when the file is another one than that which was opened."""
        with contextlib.suppress(FileNotFoundError):
            if os.stat(self.path).st_ino == self._inode:  # noqa: PTH116  # a Path costs more than the call
                return
        raise OSError(errno.ESTALE, f"{self.path.name} was removed while the vault was open")

    def find(self, project_id: str, digest: bytes) -> Row | None:
        """Return where the content lies."""
        found = self._connection.execute(_FIND, (project_id, digest)).fetchone()
        return None if found is None else Row._make(found)

    def add_pack(self, name: str) -> int:
        """Return the number of the pack; one that is there keeps it."""
        self._connection.execute("INSERT OR IGNORE INTO packs (name) VALUES (?)", (name,))
        (number,) = self._connection.execute("SELECT id FROM packs WHERE name = ?", (name,)).fetchone()
        return int(number)

    def pack(self, name: str) -> PackRow | None:
        """Return what the index has of the pack."""
        found = self._connection.execute('SELECT id, "end", closed FROM packs WHERE name = ?', (name,)).fetchone()
        return None if found is None else PackRow(found[0], found[1], bool(found[2]))

    def name_of(self, pack: int) -> str | None:
        """Return the name of the pack."""
        found = self._connection.execute("SELECT name FROM packs WHERE id = ?", (pack,)).fetchone()
        return None if found is None else str(found[0])

    def add(self, pack: int, end: int, fresh: Sequence[Place], repaired: Sequence[Place] = ()) -> int:
        """Note contents that are durable in a pack, and its new end, together; return how many of fresh were new.

        repaired: contents whose place is spoilt; they get the new one.
        """
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            added = self._connection.executemany(_ADD, [(*place, pack) for place in fresh]).rowcount if fresh else 0
            if repaired:
                self._connection.executemany(_REPLACE, [(*place, pack) for place in repaired])
            self._connection.execute('UPDATE packs SET "end" = max("end", ?) WHERE id = ?', (end, pack))
        self._unchecked_rows += len(fresh) + len(repaired)
        return added

    def close_pack(self, pack: int) -> None:
        """Note that nothing more will come, durable with all that was noted before."""
        self._connection.execute("PRAGMA synchronous = FULL")
        try:
            self._connection.execute("UPDATE packs SET closed = 1 WHERE id = ?", (pack,))
        finally:
            self._connection.execute("PRAGMA synchronous = NORMAL")

    def forget_pack(self, pack: int) -> None:
        """Remove a pack of which nothing is kept."""
        self._connection.execute("DELETE FROM packs WHERE id = ?", (pack,))

    def checkpoint(self, *, now: bool = False) -> None:
        """Bring the log into the index when it has become long, or now."""
        if now or self._unchecked_rows >= CHECKPOINT_ROWS:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            self._unchecked_rows = 0

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _prepare(self) -> None:
        self._connection.execute(f"PRAGMA page_size = {_PAGE_OCTETS}")
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA wal_autocheckpoint = 0")
        self._connection.execute(f"PRAGMA cache_size = -{_CACHE_KIBIBYTES}")
        self._connection.executescript(_TABLES)
        self.path.chmod(0o600)  # SQLite gives its other files the same


def is_damaged(error: sqlite3.Error) -> bool:
    """Return whether the index itself is not to be believed, rather than busy or without room."""
    return _code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def may_be_done(error: sqlite3.Error) -> bool:
    """Return whether a commit that failed may have reached the file, or the disk may hold other pages than we see."""
    return is_damaged(error) or _code(error) == sqlite3.SQLITE_IOERR


def lacks_room(error: sqlite3.Error) -> bool:
    """Return whether the disk is full."""
    shared_memory = {sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMOPEN}
    return _code(error) == sqlite3.SQLITE_FULL or getattr(error, "sqlite_errorcode", 0) in shared_memory


def remove_index(path: Path) -> None:
    """Remove the index and SQLite's files beside it; nobody may have it open."""
    for ending in ("", "-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def _code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
