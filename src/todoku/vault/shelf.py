"""The shelf of one process: its open pack, the index, and how contents come into both."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import structlog

from todoku.vault.index import Index, lacks_room, may_be_done
from todoku.vault.packs import Pack
from todoku.vault.reader import PackReader
from todoku.vault.records import Content, Place

log = structlog.get_logger(__name__)

DISTRUSTED = "index.distrusted"
_Named = dict[tuple[str, bytes], Content]


class Shelf:
    """Keep contents; for one thread. Raises OSError and sqlite3.Error, and then none of the contents is kept."""

    def __init__(self, vault: Path, index: Index, reader: PackReader) -> None:
        self.index = index
        self.has_gate = False  # while the vault is opened
        self._vault = vault
        self._reader = reader
        self._pack: Pack | None = None
        self._number = 0  # of the pack in the index
        self._ended: list[tuple[Pack, int]] = []

    def keep(self, contents: Sequence[Content]) -> list[bool]:
        """Make the contents durable and findable, all or none; return for each whether it was new.

        A content whose bytes rotted counts as new.
        """
        self.index.require_there()
        fresh, repaired = self._to_append(contents)
        if not fresh and not repaired:
            return [False] * len(contents)
        pack, number = self._opened_pack()
        appended = [*fresh.values(), *repaired.values()]
        begin = pack.end
        offsets = self._append(pack, appended)
        placed = [
            Place(one.project_id, one.digest, offset, len(one.content))
            for one, offset in zip(appended, offsets, strict=True)
        ]
        added = self._note(pack, number, begin, placed[: len(fresh)], placed[len(fresh) :])
        mine = {place[:2] for place in placed}
        if added < len(fresh):  # another process was faster with some of them
            mine = {place[:2] for place in placed if self._is_at(place, number)}
        created = []
        for content in contents:
            created.append(content[:2] in mine)
            mine.discard(content[:2])  # the same bytes twice in a group are new once
        return created

    def tidy(self) -> None:
        """Close packs that are full or spoilt, and bring the index to the disk now and then; never raises."""
        if self._pack is not None and (self._pack.is_full or self._pack.is_spoilt):
            self._end_pack()
        try:
            self._close_ended()
            self.index.checkpoint()
        except (OSError, sqlite3.Error) as error:
            self._failed(error)

    def close(self) -> None:
        """Close the pack and the index; never raises: what can't be closed now is closed when the vault is opened."""
        self._end_pack()
        try:
            self._close_ended()
            self.index.checkpoint(now=True)
        except (OSError, sqlite3.Error) as error:
            self._failed(error)
        for pack, _ in self._ended:
            pack.leave()
        self._ended.clear()
        self.index.close()

    def _to_append(self, contents: Sequence[Content]) -> tuple[_Named, _Named]:
        """Return what is not there, and what is there but rotted."""
        fresh: _Named = {}
        repaired: _Named = {}
        for content in contents:
            name = content[:2]
            if name in fresh or name in repaired:
                continue
            row = self.index.find(*name)
            if row is None:
                fresh[name] = content
            elif not self._reader.holds(row, content.digest):
                repaired[name] = content
        return fresh, repaired

    def _is_at(self, place: Place, number: int) -> bool:
        row = self.index.find(*place[:2])
        return row is not None and (row.pack, row.offset) == (number, place.offset)

    def _opened_pack(self) -> tuple[Pack, int]:
        if self._pack is not None and self._pack.is_spoilt:
            self._end_pack()
        if self._pack is None:
            pack = Pack(self._vault, has_gate=self.has_gate)
            try:
                self._number = self.index.add_pack(pack.name)
            except sqlite3.Error as error:
                pack.remove()
                self._suspect(error)
                raise
            self._pack = pack
        return self._pack, self._number

    def _append(self, pack: Pack, contents: Sequence[Content]) -> list[int]:
        try:
            return pack.append(contents)
        except OSError:
            if pack.is_spoilt:
                self._end_pack()
            raise

    def _note(self, pack: Pack, number: int, begin: int, fresh: Sequence[Place], repaired: Sequence[Place]) -> int:
        try:
            return self.index.add(number, pack.end, fresh, repaired)
        except sqlite3.Error as error:
            if not may_be_done(error):
                pack.give_back(begin)
            if lacks_room(error):
                pack.stop_reserving()
            self._suspect(error)
            raise

    def _end_pack(self) -> None:
        if self._pack is not None:
            self._ended.append((self._pack, self._number))
            self._pack = None

    def _close_ended(self) -> None:
        while self._ended:
            pack, number = self._ended[0]
            if pack.end == 0:
                pack.remove()
                self.index.forget_pack(number)
            elif pack.has_rest:
                pack.leave()
            else:
                self.index.close_pack(number)
                pack.finish()
            self._ended.pop(0)

    def _failed(self, error: OSError | sqlite3.Error) -> None:
        log.error("vault.not_tidied", error=str(error), kept="all contents; tried again with the next group")
        self._suspect(error)

    def _suspect(self, error: OSError | sqlite3.Error) -> None:
        """Have the index made anew at the next opening when the disk may hold another one than we see."""
        if isinstance(error, sqlite3.Error) and may_be_done(error) and not lacks_room(error):
            distrust(self._vault, error)


def distrust(vault: Path, error: sqlite3.Error) -> None:
    """Have the index made anew by the next one who opens the vault alone."""
    log.error("vault.index_distrusted", error=str(error), todo="restart Todoku: the index is made anew from the packs")
    try:
        (vault / DISTRUSTED).touch()
    except OSError as failure:
        log.error("vault.index_not_marked", error=str(failure), todo=f"make a file {DISTRUSTED} in the vault")
