"""What a sender notes on its own machine while a window is on the wire, so that its death costs little knowledge.

Purpose     tell a successor which messages a dead process had begun to complete and which answers it had.
Reads       files of dead senders of the same folder.
Writes      `<folder>/<sender id>/<run>.<seal>.<batch>`, through a shared memory map: a note costs no system call and
            survives SIGKILL of the process, because it is in the kernel's page cache at once; `<sender id>/alive` is
            locked with flock as long as the process lives and holds the boot id of the machine.
Guarantees  a record is COMPLETE only when its process is dead and the machine did not restart since; a half-written
            last note is ignored. Space is allocated before it is mapped (posix_fallocate), so a full disk is an
            OSError before the message is completed, never a SIGBUS. Files vanish when their batch is in the journal,
            or when their run is closed; a few stay, emptied, as `spare.<n>`, because a rename costs a tenth of a new
            file.
Known limits  no msync: after a power loss notes may be missing, which is why the boot id is compared. On file systems
            that copy on write (btrfs, ZFS) allocated space is no promise: use another one for a disk that may fill up.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection
from pathlib import Path
from typing import Protocol

import structlog

from todoku.delivery.engine.journal import ABSENT_RECORD, LocalRecord, RecordState
from todoku.delivery.engine.note_file import NoteFile, notes_of
from todoku.delivery.types import Answer
from todoku.kernel.errors import ConfigurationError
from todoku.kernel.ids import require_subject_token

log = structlog.get_logger(__name__)

_LOCK_NAME = "alive"
_SPARE = "spare"
_MOST_SPARES = 16
_MOST_CLOSED = 320  # made when runs are armed: 1.3 ms a file that hundreds due in one second need not pay then
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class BatchNotes(Protocol):
    """Where one visit to a batch notes what happens; `OSError` when it can't."""

    def mark(self, window: int, index: int) -> None:
        """Note that the message is about to be completed."""
        ...

    def answer(self, window: int, index: int, answer: Answer) -> None:
        """Note an answer."""
        ...

    def close(self) -> None:
        """End the visit; the notes stay."""
        ...


class AnswerStore(Protocol):
    """Notes of all senders that a sender can see; a simulator brings its own."""

    def begin(self, run_id: str, seal: int, batch: int) -> BatchNotes:
        """Open the notes of one batch."""
        ...

    def read(self, sender_id: str, run_id: str, seal: int, batch: int, window: int) -> LocalRecord:
        """Return what that sender noted about one window."""
        ...

    def forget(self, sender_id: str, run_id: str, seal: int, batch: int) -> None:
        """Remove notes whose outcomes are in the journal."""
        ...

    def sweep(self, active_runs: Collection[str]) -> None:
        """Remove the notes of dead senders about runs that are closed."""
        ...

    def close(self) -> None:
        """End the work of this sender; notes that a successor may need stay."""
        ...


class LocalAnswers:
    """The notes of this process, and the view on those of others, in one folder of one machine."""

    def __init__(self, folder: Path, sender_id: str) -> None:
        """Make the folder and take its lock; raises ConfigurationError when another process has this sender id."""
        self._folder = folder
        self._sender_id = require_subject_token(sender_id)
        self._mine = folder / sender_id
        self._mine.mkdir(parents=True, exist_ok=True)
        self._boot_id = _BOOT_ID.read_bytes().strip()
        self._lock = os.open(self._mine / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise ConfigurationError(f"another process uses the sender id {sender_id!r} in {folder}") from error
        os.pwrite(self._lock, self._boot_id, 0)
        for left_over in self._mine.glob(f"{_SPARE}.*"):
            left_over.unlink()
        self._open: dict[Path, NoteFile] = {}
        self._closed: dict[Path, NoteFile] = {}  # still mapped: most are forgotten a moment later
        self._spare: list[NoteFile] = []
        self._spares_made = 0

    def begin(self, run_id: str, seal: int, batch: int) -> BatchNotes:
        """Open the notes of one batch; raises OSError (disk full, no permission)."""
        path = self._path(self._sender_id, run_id, seal, batch)
        notes = self._closed.pop(path, None)
        if notes is None and self._spare and not path.exists():
            notes = self._spare.pop()
            notes.take_name(path)
        if notes is None:
            notes = NoteFile(path, self._visit_ended)
        self._open[path] = notes
        return notes

    def read(self, sender_id: str, run_id: str, seal: int, batch: int, window: int) -> LocalRecord:
        """Return what that sender noted about one window; ABSENT when this machine knows nothing of it."""
        path = self._path(sender_id, run_id, seal, batch)
        state = self._state_of(sender_id, path)  # before reading: what dies in between only adds notes
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return ABSENT_RECORD
        marks, answers = notes_of(data, window)
        return LocalRecord(state, marks, answers)

    def forget(self, sender_id: str, run_id: str, seal: int, batch: int) -> None:
        """Remove notes whose outcomes are in the journal, and the folder of a dead sender that is empty now."""
        path = self._path(sender_id, run_id, seal, batch)
        notes = self._closed.pop(path, None)
        if notes is not None and self._made_spare(notes):
            return
        path.unlink(missing_ok=True)
        if sender_id != self._sender_id:
            self._remove_if_done(path.parent)

    def sweep(self, active_runs: Collection[str]) -> None:
        """Remove the notes of dead senders about runs that are not active any more."""
        for folder in self._folder.iterdir():
            if not folder.is_dir() or (folder != self._mine and _lives(folder)):
                continue
            for path in folder.iterdir():
                run_id = path.name.partition(".")[0]
                if path.name == _LOCK_NAME or run_id in active_runs or path in self._open:
                    continue
                if run_id == _SPARE and folder == self._mine:
                    continue
                if (notes := self._closed.pop(path, None)) is not None:
                    notes.unmap()
                path.unlink(missing_ok=True)
            if folder != self._mine:
                self._remove_if_done(folder)

    def close(self) -> None:
        """Give the lock back; notes that a successor may need stay."""
        if self._lock >= 0:
            for notes in (*self._spare, *self._closed.values(), *self._open.values()):
                notes.unmap()
            for notes in self._spare:
                notes.path.unlink(missing_ok=True)
            self._spare, self._closed, self._open = [], {}, {}
            if {path.name for path in self._mine.iterdir()} == {_LOCK_NAME}:
                (self._mine / _LOCK_NAME).unlink()
                self._mine.rmdir()
            os.close(self._lock)
            self._lock = -1

    def _made_spare(self, notes: NoteFile) -> bool:
        """Keep the file for another batch, or let go of it and return False."""
        if len(self._spare) < _MOST_SPARES:
            self._spares_made += 1
            try:
                notes.reuse(self._mine / f"{_SPARE}.{self._spares_made}")
            except OSError as error:
                log.warning("delivery.local_answers_not_reused", path=str(notes.path), why=str(error))
            else:
                self._spare.append(notes)
                return True
        notes.unmap()
        return False

    def _visit_ended(self, notes: NoteFile) -> None:
        if self._open.pop(notes.path, None) is None:
            return
        self._closed[notes.path] = notes
        if len(self._closed) > _MOST_CLOSED:
            self._closed.pop(next(iter(self._closed))).unmap()

    def _state_of(self, sender_id: str, path: Path) -> RecordState:
        if sender_id == self._sender_id:
            return RecordState.PARTIAL if path in self._open else RecordState.COMPLETE
        folder = self._folder / sender_id
        if _lives(folder):
            return RecordState.PARTIAL
        try:
            same_boot = (folder / _LOCK_NAME).read_bytes() == self._boot_id
        except FileNotFoundError:
            same_boot = False
        return RecordState.COMPLETE if same_boot else RecordState.PARTIAL

    def _path(self, sender_id: str, run_id: str, seal: int, batch: int) -> Path:
        return self._folder / require_subject_token(sender_id) / f"{require_subject_token(run_id)}.{seal}.{batch}"

    def _remove_if_done(self, folder: Path) -> None:
        try:
            names = {path.name for path in folder.iterdir()}
            spares = {name for name in names if name.startswith(f"{_SPARE}.")}
            if names - spares <= {_LOCK_NAME} and not _lives(folder):
                for name in spares:
                    (folder / name).unlink(missing_ok=True)
                (folder / _LOCK_NAME).unlink(missing_ok=True)
                folder.rmdir()
        except FileNotFoundError:
            return  # another sender cleans too
        except OSError as error:
            log.warning("delivery.local_answers_not_removed", folder=str(folder), why=str(error))


def _lives(folder: Path) -> bool:
    """Tell whether the process that locked this folder still exists, running or paused."""
    try:
        lock = os.open(folder / _LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
