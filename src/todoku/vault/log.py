"""The log of one local vault: what was put, durable with one fdatasync for many, until its files are on disk too.

Purpose     a file, its folder and two fsyncs for each mail cost 0.4 ms of a core and a millisecond of the disk; one
            record in a log and one fdatasync for a group cost a fifth of that.
Reads       `<vault>/log/*.log` of processes that died, once, when a vault is opened.
Writes      `<vault>/log/<pid>.<random>.log`, one at a time for each process, LOG_OCTETS long.
Guarantees  - on return of `append` the contents survive a power cut.
            - a log is removed only after syncfs(2) has brought the files it stands for to the disk. The folder is held
              open from before the first of them: a write that failed meanwhile is told to each who held it, and only
              once to those who come later, perhaps another process.
            - a log whose fdatasync failed is never appended to again.
            - who opens a vault writes what the logs of the dead hold before anything is read: records that were torn
              were never answered, and are passed over. Logs of the living are locked (flock) and left alone.
Known limits  syncfs is Linux's, and tells of failed writes since Linux 5.8. A network file system must support flock
              between its machines.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
import secrets
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

LOG_OCTETS = 8 * 1024 * 1024  # about 2,500 mails: syncfs brings their files to the disk in some 20 ms
_FOLDER = "log"
_GATE = "gate"  # locked while logs are made or looked through
_HEAD = struct.Struct(">4sIB3xQ32s")  # magic, CRC-32 of what follows and the project, lengths, SHA-256
_MAGIC = b"TDK1"
_UNCHECKED = 8  # octets of the head: magic and CRC
_SYNCFS = ctypes.CDLL(None, use_errno=True).syncfs


class Record(NamedTuple):
    """One content of a project. sha256: hex, of the content."""

    project_id: str
    sha256: str
    content: bytes


class VaultLog:
    """An open log. Raises OSError; after that its last append counts as not done."""

    def __init__(self, vault: Path) -> None:
        """Make a log and lock it; room is reserved when there is enough."""
        folder = _folder(vault)
        self.path = folder / f"{os.getpid()}.{secrets.token_hex(4)}.log"
        self.is_spoilt = False  # an fdatasync failed: what the kernel says of this file later is not true (fsyncgate)
        self._end = 0
        self._vault = _open_folder(vault)
        try:
            with _gate(folder):
                self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        except OSError:
            os.close(self._vault)
            raise
        try:
            self._reserve()
            os.fsync(self._descriptor)
            _sync_folder(folder)
        except OSError:
            self.remove()
            raise

    @property
    def octets(self) -> int:
        """Return how many octets are in use."""
        return self._end

    @property
    def is_full(self) -> bool:
        """Return whether another log should follow."""
        return self._end >= LOG_OCTETS

    def append(self, records: Sequence[Record]) -> None:
        """Make the contents durable, all or none."""
        end = self._end
        try:
            for record in records:
                end = _write(self._descriptor, _encode(record), end)
            self._sync()
        except OSError:
            with contextlib.suppress(OSError):  # gives room back; if not even that works, the records do no harm
                os.ftruncate(self._descriptor, self._end)
            raise
        self._end = end

    def records(self) -> Iterator[Record]:
        """Yield what was appended."""
        return _records(self._descriptor)

    def sync_files(self) -> None:
        """Bring every file of the vault's file system to the disk.

        Raises OSError when any could not be written since the log was made: then those of the log must be written anew
        before this is called again, for the kernel takes them for written now.
        """
        _sync_all(self._vault)

    def remove(self) -> None:
        """Forget the log; only after `sync_files`."""
        self.path.unlink(missing_ok=True)
        self.leave()

    def leave(self) -> None:
        """Leave the log to whoever opens the vault next."""
        os.close(self._descriptor)
        os.close(self._vault)

    def _sync(self) -> None:
        try:
            os.fdatasync(self._descriptor)
        except OSError:
            self.is_spoilt = True
            raise

    def _reserve(self) -> None:
        """Let appends change no length, which makes each fdatasync cheaper; a small disk goes without."""
        try:
            os.posix_fallocate(self._descriptor, 0, LOG_OCTETS)
        except OSError:
            os.ftruncate(self._descriptor, 0)


def recover(vault: Path, write: Callable[[Record], object]) -> int:
    """Write the records of dead processes' logs and remove the logs; returns how many records. Raises OSError.

    write must write, also what looks whole: a page that could not be written counts as clean for the kernel. Room that
    a log reserved is given back first, for the disk may be full. Waits while another process does the same, so that
    nobody reads before it is done.
    """
    folder = _folder(vault)
    count = 0
    with _gate(folder):
        for path in sorted(folder.glob("*.log")):
            count += _recover_one(vault, path, write)
    return count


def _recover_one(vault: Path, path: Path, write: Callable[[Record], object]) -> int:
    count = 0
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("r+b"))  # NFS locks only what may be written
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, FileNotFoundError):
            return 0  # its process lives, or has just removed it
        held = _open_folder(vault)
        stack.callback(os.close, held)
        os.ftruncate(file.fileno(), _end_of_whole(file.fileno()))
        for record in _records(file.fileno()):
            write(record)
            count += 1
        _sync_all(held)
        path.unlink(missing_ok=True)
    return count


def _sync_all(descriptor: int) -> None:
    if _SYNCFS(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _end_of_whole(descriptor: int) -> int:
    return sum(_HEAD.size + len(record.project_id) + len(record.content) for record in _records(descriptor))


def _records(descriptor: int) -> Iterator[Record]:
    """Yield the whole records; the first torn one ends the log."""
    at = 0
    while len(head := os.pread(descriptor, _HEAD.size, at)) == _HEAD.size:
        magic, check, project_octets, content_octets, digest = _HEAD.unpack(head)
        project = os.pread(descriptor, project_octets, at + _HEAD.size)
        if magic != _MAGIC or check != _check(head, project):
            return
        begin = at + _HEAD.size + project_octets
        content = os.pread(descriptor, content_octets, begin)
        if hashlib.sha256(content).digest() != digest:
            return
        yield Record(project.decode("ascii"), digest.hex(), content)
        at = begin + content_octets


def _encode(record: Record) -> bytes:
    project = record.project_id.encode("ascii")
    head = _HEAD.pack(_MAGIC, 0, len(project), len(record.content), bytes.fromhex(record.sha256))
    check = _check(head, project).to_bytes(4, "big")
    return b"".join((_MAGIC, check, head[_UNCHECKED:], project, record.content))


def _check(head: bytes, project: bytes) -> int:
    return zlib.crc32(project, zlib.crc32(head[_UNCHECKED:]))


def _folder(vault: Path) -> Path:
    folder = vault / _FOLDER
    if not folder.is_dir():
        folder.mkdir(mode=0o700, exist_ok=True)
        _sync_folder(vault)
    return folder


@contextlib.contextmanager
def _gate(folder: Path) -> Iterator[None]:
    """Hold the lock that all processes of the vault share."""
    descriptor = os.open(folder / _GATE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(descriptor: int, octets: bytes, at: int) -> int:
    view = memoryview(octets)
    while view:
        written = os.pwrite(descriptor, view, at)
        view, at = view[written:], at + written
    return at


def _open_folder(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _sync_folder(folder: Path) -> None:
    descriptor = _open_folder(folder)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
