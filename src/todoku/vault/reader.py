"""Reading of contents from packs: the index says where, one pread fetches, the hash is compared."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from todoku.vault.index import Index, Row
from todoku.vault.packs import open_to_read, read_at
from todoku.vault.records import digest_of

OPEN_PACKS = 64


class PackReader:
    """Contents by project and hash; any thread may call it. Raises OSError and sqlite3.Error."""

    def __init__(self, vault: Path, index: Path) -> None:
        self._vault = vault
        self._index_path = index
        self._index: Index | None = None
        self._lock = threading.Lock()
        self._open: OrderedDict[int, _Descriptor] = OrderedDict()

    def read_many(self, wanted: Sequence[tuple[str, bytes]]) -> list[bytes | OSError | None]:
        """Return for each, in order, the bytes, None for what is not there, or why it can't be read.

        The bytes are those at the place; the caller compares the hash.
        """
        with self._lock:
            found = [self._find(project_id, digest) for project_id, digest in wanted]
        return [self._read(one) for one in found]

    def holds(self, row: Row, digest: bytes) -> bool:
        """Return whether the bytes at a place can be read, and are those that were put."""
        try:
            with self._lock:
                found = self._located(self._opened_index(), row)
        except OSError:
            return False
        octets = self._read(found)
        return isinstance(octets, bytes) and digest_of(octets) == digest

    def close(self) -> None:
        """Close index and packs; idempotent."""
        with self._lock:
            self._open.clear()
            if self._index is not None:
                self._index.close()
                self._index = None

    def _find(self, project_id: str, digest: bytes) -> tuple[_Descriptor, Row] | OSError | None:
        index = self._opened_index()
        row = index.find(project_id, digest)
        if row is None:
            index.require_there()
            return None
        try:
            return self._located(index, row)
        except OSError as error:
            return error

    def _opened_index(self) -> Index:
        if self._index is None:
            self._index = Index(self._index_path, reading=True)
        return self._index

    def _located(self, index: Index, row: Row) -> tuple[_Descriptor, Row] | None:
        descriptor = self._open.get(row.pack)
        if descriptor is None:
            name = index.name_of(row.pack)
            if name is None:
                return None
            try:
                descriptor = _Descriptor(open_to_read(self._vault, name))
            except FileNotFoundError:
                return None
            self._open[row.pack] = descriptor
            if len(self._open) > OPEN_PACKS:
                self._open.popitem(last=False)
        else:
            self._open.move_to_end(row.pack)
        return descriptor, row

    def _read(self, found: tuple[_Descriptor, Row] | OSError | None) -> bytes | OSError | None:
        if found is None or isinstance(found, OSError):
            return found
        descriptor, row = found
        try:
            return read_at(descriptor.number, row.offset, row.length)
        except OSError as error:
            with self._lock:
                self._open.pop(row.pack, None)  # a disk that came back wants to be opened again
            return error


class _Descriptor:
    """An open pack; closed when the last thread that reads from it has let it go."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)
