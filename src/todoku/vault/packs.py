"""Packs: files to which one process appends contents, one after another, durable with one fdatasync for many.

Purpose     a file for each mail costs the kernel 160 to 230 µs of a core (ext4), a record in a pack 5.
Reads       nothing: `reader.py` does.
Writes      `<vault>/packs/<pid>.<random>.open`, named `.pack` when it is closed.
Guarantees  - on return of `append` the contents survive a power cut.
            - a pack whose fdatasync failed is never appended to again: its pages count as written (fsyncgate).
            - an open pack is locked (flock) as long as its process lives.
            - what is named `.pack` is never written again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from todoku.vault.records import Content, head_of

PACK_OCTETS = 64 * 1024 * 1024  # some 12,000 mails; removing one after an erasure copies no more than that
RESERVED_OCTETS = 8 * 1024 * 1024  # at a time, so that few fdatasyncs have a new length to write
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_JOINED_OCTETS = 1024 * 1024
_FOLDER = "packs"
_GATE = "gate"  # locked while packs are made, and while a vault is opened


class Pack:
    """A pack of this process. Raises OSError; after that its last append counts as not done."""

    def __init__(self, vault: Path, *, has_gate: bool = False) -> None:
        """Make a pack and lock it, in a vault that was opened. has_gate: the caller holds the gate."""
        self._folder = packs_folder(vault)
        self.name = f"{os.getpid()}.{secrets.token_hex(8)}"
        self.end = 0
        self.is_spoilt = False  # never to be appended to again
        self.has_rest = False  # what counts as not done could not be cut off
        self._reserved = 0
        self._reserving = True
        with contextlib.nullcontext() if has_gate else gate(vault):
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            os.fsync(self._descriptor)
            sync_folder(self._folder)
        except OSError:
            self.remove()
            raise

    @property
    def is_full(self) -> bool:
        """Return whether another pack should follow."""
        return self.end >= PACK_OCTETS

    def append(self, contents: Sequence[Content]) -> list[int]:
        """Make the contents durable, all or none; return their offsets, in octets."""
        if os.fstat(self._descriptor).st_nlink == 0:
            self.is_spoilt = True
            raise OSError(errno.ESTALE, f"the pack {self.name} was removed while it was open")
        begin, end, parts, offsets = self.end, self.end, [], []
        for content in contents:
            head = head_of(content)
            offsets.append(end + len(head))
            end += len(head) + len(content.content)
            parts += [head, content.content]
        try:
            self._reserve(end)
            for octets in [b"".join(parts)] if end - begin <= _JOINED_OCTETS else parts:
                begin = _write(self._descriptor, octets, begin)
            self._sync()
        except OSError as error:
            if error.errno in FULL:
                self._reserving = False
            self.give_back(self.end)
            raise
        self.end = end
        return offsets

    def give_back(self, end: int) -> None:
        """Forget what lies behind the end, and give back the room that was reserved."""
        self.end = end
        try:
            os.ftruncate(self._descriptor, end)
            self._reserved, self.has_rest = end, False
        except OSError:
            self.is_spoilt = self.has_rest = True

    def stop_reserving(self) -> None:
        """Leave the room of a disk that is nearly full to others."""
        self._reserving = False
        self.give_back(self.end)

    def finish(self) -> None:
        """Name it closed. The index must have it, durable, before."""
        os.ftruncate(self._descriptor, self.end)
        close_name(self._path)
        self.leave()

    def remove(self) -> None:
        """Remove a pack of which nothing is in the index."""
        self._path.unlink(missing_ok=True)
        self.leave()

    def leave(self) -> None:
        """Leave it as it is to whoever opens the vault next."""
        os.close(self._descriptor)

    @property
    def _path(self) -> Path:
        return self._folder / f"{self.name}.open"

    def _sync(self) -> None:
        try:
            os.fdatasync(self._descriptor)
        except OSError:
            self.is_spoilt = True
            raise

    def _reserve(self, end: int) -> None:
        if not self._reserving or end <= self._reserved:
            return
        try:
            os.posix_fallocate(self._descriptor, self.end, end - self.end + RESERVED_OCTETS)
        except OSError:
            self.stop_reserving()  # a small disk goes without
        else:
            self._reserved = end + RESERVED_OCTETS


def packs_folder(vault: Path) -> Path:
    """Return where the packs are."""
    return vault / _FOLDER


def open_to_read(vault: Path, name: str) -> int:
    """Return a descriptor; its owner may close the pack just then. Raises OSError."""
    for ending in ("pack", "open"):
        with contextlib.suppress(FileNotFoundError):
            return os.open(packs_folder(vault) / f"{name}.{ending}", os.O_RDONLY | os.O_CLOEXEC)
    return os.open(packs_folder(vault) / f"{name}.pack", os.O_RDONLY | os.O_CLOEXEC)


def read_at(descriptor: int, offset: int, length: int) -> bytes:
    """Return so many octets, fewer when the file ends before."""
    octets = os.pread(descriptor, length, offset)
    if len(octets) == length:
        return octets
    parts = [octets]
    while octets:  # the kernel gives at most 2 GB at once
        offset, length = offset + len(octets), length - len(octets)
        octets = os.pread(descriptor, length, offset) if length else b""
        parts.append(octets)
    return b"".join(parts)


def close_name(path: Path) -> None:
    """Give a pack the name of one that is closed, for good."""
    with contextlib.suppress(FileNotFoundError):  # renamed before, and the folder's fsync failed
        path.rename(path.with_suffix(".pack"))
    sync_folder(path.parent)


@contextlib.contextmanager
def gate(vault: Path) -> Iterator[None]:
    """Hold the lock that all processes of the vault share."""
    descriptor = os.open(packs_folder(vault) / _GATE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(descriptor: int, octets: bytes, at: int) -> int:
    view = memoryview(octets)
    while view:
        written = os.pwrite(descriptor, view, at)
        view, at = view[written:], at + written
    return at
