"""Opening of a vault: what dead processes left in packs is put anew, and a lost or damaged index is made from them."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import structlog

from todoku.vault.errors import VaultUnavailable
from todoku.vault.index import Index, PackRow, is_damaged, remove_index
from todoku.vault.packs import close_name, gate, packs_folder, read_at, sync_folder
from todoku.vault.reader import PackReader
from todoku.vault.records import Content, Place, digest_of, places
from todoku.vault.shelf import DISTRUSTED, Shelf

log = structlog.get_logger(__name__)

INDEX = "index.sqlite3"
_USED = "used"  # locked, shared, by all who have the vault open: an index that others use is never replaced
_AT_ONCE_OCTETS = 8 * 1024 * 1024
_AT_ONCE_ROWS = 10_000


def open_shelf(vault: Path, reader: PackReader) -> tuple[Shelf, int]:
    """Return the shelf, after recovery, and a descriptor that is to be open as long as it is used.

    Waits while another process opens the vault, so that nobody reads before recovery is done.
    Raises OSError, sqlite3.Error, VaultUnavailable.
    """
    _make_folders(vault)
    with gate(vault), ExitStack() as undo:
        used = os.open(vault / _USED, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        undo.callback(os.close, used)
        index = _open_index(vault, alone=_lock_alone(used))
        shelf = Shelf(vault, index, reader)
        undo.callback(shelf.close)
        fcntl.flock(used, fcntl.LOCK_SH)
        shelf.has_gate = True
        _recover(vault, shelf, reader)
        shelf.has_gate = False
        undo.pop_all()
    return shelf, used


def _make_folders(vault: Path) -> None:
    made = [part for part in (vault, *vault.parents) if not part.exists()]
    packs_folder(vault).mkdir(mode=0o700, parents=True, exist_ok=True)
    for part in (vault, *(part.parent for part in made)):
        sync_folder(part)


def _lock_alone(used: int) -> bool:
    try:
        fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open_index(vault: Path, *, alone: bool) -> Index:
    path, marker = vault / INDEX, vault / DISTRUSTED
    if not alone and not path.exists():
        raise VaultUnavailable(
            f"{path} is gone, and other processes still use it",
            kept="all contents, in the packs",
            todo="stop all of Todoku and start it: the index is made anew",
        )
    if alone and marker.exists():
        remove_index(path)
        marker.unlink()
    try:
        return Index(path)
    except sqlite3.Error as error:
        if not is_damaged(error):
            raise
        if not alone:
            raise VaultUnavailable(
                f"{path} is damaged, and other processes still use it: {error}",
                kept="all contents, in the packs",
                todo="stop all of Todoku and start it: the index is made anew",
            ) from error
        log.error("vault.index_damaged", error=str(error))
    remove_index(path)
    return Index(path)


def _recover(vault: Path, shelf: Shelf, reader: PackReader) -> None:
    """Put what the index does not have; in order of names, so that it goes on where it ended."""
    put = noted = 0
    for path in sorted(packs_folder(vault).glob("*.open")):
        put += _recover_open(path, shelf)
    with os.scandir(packs_folder(vault)) as entries:
        names = [entry.name for entry in entries if entry.name.endswith(".pack")]
    for name in names:
        row = shelf.index.pack(name.removesuffix(".pack"))
        if row is None or not row.closed:
            noted += _note_closed(packs_folder(vault) / name, shelf.index, reader)
    if put:
        log.info("vault.recovered", contents=put)
    if noted:
        log.warning("vault.index_made", contents=noted, why="the index did not have their packs")


def _recover_open(path: Path, shelf: Shelf) -> int:
    """Put anew what lies behind the end that the index has, and close the pack; returns how many records.

    Anew, not in place: after a failed fsync the kernel reads back what it never wrote (fsyncgate).
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("r+b"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, FileNotFoundError):
            return 0  # its process lives, or has just closed it
        row = shelf.index.pack(path.stem) or PackRow(0, 0, closed=False)
        whole = [one for one in places(file.fileno(), row.end) if _is_whole(file.fileno(), one)]
        os.ftruncate(file.fileno(), max([row.end, *(one.offset + one.length for one in whole)]))  # gives room back
        for group in _groups(whole):
            shelf.keep([_content(file.fileno(), one) for one in group])
        if row.end == 0:
            path.unlink(missing_ok=True)
            if row.number:
                shelf.index.forget_pack(row.number)
            return len(whole)
        try:
            os.ftruncate(file.fileno(), row.end)
            shelf.index.close_pack(row.number)
            close_name(path)
        except (OSError, sqlite3.Error) as error:
            log.warning("vault.pack_not_closed", pack=path.name, error=str(error), kept="all of it, for the next time")
        return len(whole)


def _is_whole(descriptor: int, place: Place) -> bool:
    return digest_of(read_at(descriptor, place.offset, place.length)) == place.digest


def _content(descriptor: int, place: Place) -> Content:
    return Content(place.project_id, place.digest, read_at(descriptor, place.offset, place.length))


def _groups(whole: Sequence[Place]) -> Iterator[list[Place]]:
    group: list[Place] = []
    octets = 0
    for place in whole:
        if group and octets + place.length > _AT_ONCE_OCTETS:
            yield group
            group, octets = [], 0
        group.append(place)
        octets += place.length
    if group:
        yield group


def _note_closed(path: Path, index: Index, reader: PackReader) -> int:
    """Note what a closed pack holds; its contents are not read, but for those that are somewhere else too."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        number, count = index.add_pack(path.stem), 0
        group: dict[tuple[str, bytes], Place] = {}
        for place in places(descriptor):
            if place[:2] in group or len(group) >= _AT_ONCE_ROWS:
                index.add(number, 0, list(group.values()))
                group.clear()
            row = index.find(*place[:2])
            if row is None:
                group[place[:2]] = place
            elif _is_whole(descriptor, place) and not reader.holds(row, place.digest):
                index.add(number, 0, (), [place])  # it rotted there, and was put again
            count += 1
        index.add(number, os.fstat(descriptor).st_size, list(group.values()))
        index.close_pack(number)
        index.checkpoint()
        return count
    finally:
        os.close(descriptor)
