"""A disk that fails, and a power cut: what a kernel forgets of files that it could not write.

After a failed fsync Linux takes the pages for clean: they are read back, and never written (fsyncgate, 2018).
A failure to write in the background is told to each who held the file system open, and once to later ones.
"""

from __future__ import annotations

import ctypes
import errno
import os
import random
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest


class BadDisk:
    """Stands between a vault and the kernel and knows what would be there after a power cut. failing: 0 to 1."""

    def __init__(self, folder: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failing = 0.0
        self._folder = folder
        self._random = random.Random(seed)
        self._lock = threading.RLock()
        self._images: dict[int, bytearray] = defaultdict(bytearray)  # of logs, by inode
        self._unwritten: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
        self._dirty: set[int] = set()  # inodes of contents
        self._durable: set[int] = set()
        self._errors, self._seen = 0, True
        self._told: dict[int, int] = {}  # descriptor of a folder: errors it has been told of
        self._real = {name: getattr(os, name) for name in ("open", "write", "pwrite", "fsync", "fdatasync")}
        for name in self._real:
            monkeypatch.setattr(os, name, getattr(self, f"_{name}"))
        monkeypatch.setattr("todoku.vault.log._SYNCFS", self._syncfs)

    def cut_power(self) -> None:
        """Leave of logs and contents what the disk has; nobody may have the vault open."""
        for path in (self._folder / "log").glob("*.log"):
            path.write_bytes(bytes(self._images[path.stat().st_ino]))
        for path in self._folder.glob("p/*/*"):
            if path.stat().st_ino not in self._durable:
                path.unlink()
        self._unwritten.clear()
        self._dirty.clear()
        self._seen = True

    def _fails(self) -> bool:
        return self._random.random() < self.failing

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        with self._lock:
            descriptor: int = self._real["open"](path, flags, mode, dir_fd=dir_fd)
            if flags & os.O_DIRECTORY:
                self._told[descriptor] = self._errors if self._seen else self._errors - 1
            return descriptor

    def _write(self, descriptor: int, octets: bytes) -> int:
        with self._lock:
            inode = os.fstat(descriptor).st_ino
            self._durable.discard(inode)
            self._dirty.add(inode)
            written: int = self._real["write"](descriptor, octets)
            return written

    def _pwrite(self, descriptor: int, octets: bytes, at: int) -> int:
        with self._lock:
            if self._fails():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._unwritten[os.fstat(descriptor).st_ino].append((at, bytes(octets)))
            written: int = self._real["pwrite"](descriptor, octets, at)
            return written

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

    def _syncfs(self, descriptor: int) -> int:
        with self._lock:
            if self._fails():  # perhaps long ago, by the kernel itself, and another process asked first
                self._errors += 1
                self._seen = self._random.random() < 0.5
            else:
                self._durable |= self._dirty
            self._dirty.clear()
            if self._told[descriptor] < self._errors:
                self._told[descriptor], self._seen = self._errors, True
                ctypes.set_errno(errno.EIO)
                return -1
            return 0

    def write_back(self) -> None:
        """Let the kernel write by itself, and fail as the disk does; another process may be told of it."""
        with self._lock:
            if self._fails():
                self._errors += 1
                self._seen = self._random.random() < 0.5
            else:
                self._durable |= self._dirty
            self._dirty.clear()
