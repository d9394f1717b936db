"""A disk that fails, and a power cut: what a kernel forgets of files that it could not write.

After a failed fsync Linux takes the pages for clean: they are read back, and never written (fsyncgate, 2018).
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import sqlite3
import threading
from collections import defaultdict
from pathlib import Path

import pytest

from todoku.vault.index import Index, remove_index
from todoku.vault.opening import INDEX


class BadDisk:
    """Stands between a vault and the kernel and knows what would be there after a power cut. failing: 0 to 1."""

    def __init__(self, folder: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failing = 0.0
        self._folder = folder
        self._random = random.Random(seed)
        self._lock = threading.RLock()
        self._snapping = threading.Lock()
        self._images: dict[int, bytearray] = defaultdict(bytearray)  # of packs, by inode; cut off by nothing
        self._unwritten: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
        self._durable_index = folder.with_name(f"{folder.name}.index")
        self._real_pwrite, real_close = os.pwrite, Index.close_pack
        for name in ("pwrite", "fsync", "fdatasync"):
            monkeypatch.setattr(os, name, getattr(self, f"_{name}"))

        def close_pack(index: Index, pack: int) -> None:
            real_close(index, pack)
            self.index_reaches_disk()

        monkeypatch.setattr(Index, "close_pack", close_pack)

    def index_reaches_disk(self) -> None:
        """Let a power cut leave no older index than this one."""
        with self._snapping, contextlib.closing(sqlite3.connect(self._folder / INDEX, timeout=20)) as connection:
            self._durable_index.unlink(missing_ok=True)
            connection.execute("VACUUM INTO ?", (str(self._durable_index),))

    def cut_power(self) -> None:
        """Leave of packs what the disk has, and of the index one that is older; nobody may have the vault open."""
        for path in (self._folder / "packs").glob("*.*"):
            path.write_bytes(bytes(self._images[path.stat().st_ino]))
        self._unwritten.clear()
        remove_index(self._folder / INDEX)
        if self._durable_index.exists():
            (self._folder / INDEX).write_bytes(self._durable_index.read_bytes())

    def _fails(self) -> bool:
        return self._random.random() < self.failing

    def _pwrite(self, descriptor: int, octets: bytes, at: int) -> int:
        with self._lock:
            if self._fails():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._unwritten[os.fstat(descriptor).st_ino].append((at, bytes(octets)))
            return self._real_pwrite(descriptor, octets, at)

    def _fsync(self, descriptor: int) -> None:
        if self._fails():
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def _fdatasync(self, descriptor: int) -> None:
        with self._lock:
            inode = os.fstat(descriptor).st_ino
            unwritten, failed = self._unwritten.pop(inode, []), self._fails()
            image = self._images[inode]
            for at, octets in unwritten[: self._random.randrange(len(unwritten) + 1) if failed else None]:
                image.extend(bytes(max(0, at + len(octets) - len(image))))
                image[at : at + len(octets)] = octets
            if failed:
                number = self._random.choice((errno.EIO, errno.ENOSPC))
                raise OSError(number, os.strerror(number))
