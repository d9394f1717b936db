"""What a sender notes on its own machine while a window is on the wire, so that its death costs little knowledge.

Purpose     tell a successor which messages a dead process had begun to complete and which answers it had.
Reads       files of dead senders of the same folder.
Writes      `<folder>/<sender id>/<run>.<seal>.<batch>`, appended with one write(2) a note: written notes survive
            SIGKILL of the process, because they are in the kernel's page cache; `<sender id>/alive` is locked with
            flock as long as the process lives and holds the boot id of the machine.
Guarantees  a record is COMPLETE only when its process is dead and the machine did not restart since; a half-written
            last note is ignored. Files vanish when their batch is in the journal, or when their run is closed.
Known limits  no fsync: after a power loss notes may be missing, which is why the boot id is compared.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Protocol

import structlog

from todoku.delivery.engine.journal import ABSENT_RECORD, LocalRecord, RecordState
from todoku.delivery.types import Answer, AnswerKind
from todoku.kernel.errors import ConfigurationError
from todoku.kernel.ids import require_subject_token

log = structlog.get_logger(__name__)

_MARK = struct.Struct("<BIHB")  # kind, window, index, end
_ANSWER = struct.Struct("<BIHBH")  # kind, window, index, answer kind, length of the text that follows, then end
_IS_MARK, _IS_ANSWER, _END = 0x4D, 0x41, 0x0A
_KINDS = tuple(AnswerKind)
_NUMBER_OF = {kind: number for number, kind in enumerate(_KINDS)}
_LOCK_NAME = "alive"
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
        self._open: set[Path] = set()

    def begin(self, run_id: str, seal: int, batch: int) -> BatchNotes:
        """Open the notes of one batch; raises OSError (disk full, no permission)."""
        return _FileNotes(self._path(self._sender_id, run_id, seal, batch), self._open)

    def read(self, sender_id: str, run_id: str, seal: int, batch: int, window: int) -> LocalRecord:
        """Return what that sender noted about one window; ABSENT when this machine knows nothing of it."""
        path = self._path(sender_id, run_id, seal, batch)
        state = self._state_of(sender_id, path)  # before reading: what dies in between only adds notes
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return ABSENT_RECORD
        marks, answers = _notes_of(data, window)
        return LocalRecord(state, marks, answers)

    def forget(self, sender_id: str, run_id: str, seal: int, batch: int) -> None:
        """Remove notes whose outcomes are in the journal, and the folder of a dead sender that is empty now."""
        path = self._path(sender_id, run_id, seal, batch)
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
                if path.name != _LOCK_NAME and run_id not in active_runs and path not in self._open:
                    path.unlink(missing_ok=True)
            if folder != self._mine:
                self._remove_if_done(folder)

    def close(self) -> None:
        """Give the lock back; notes that a successor may need stay."""
        if self._lock >= 0:
            if {path.name for path in self._mine.iterdir()} == {_LOCK_NAME}:
                (self._mine / _LOCK_NAME).unlink()
                self._mine.rmdir()
            os.close(self._lock)
            self._lock = -1

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
            if names <= {_LOCK_NAME} and not _lives(folder):
                (folder / _LOCK_NAME).unlink(missing_ok=True)
                folder.rmdir()
        except FileNotFoundError:
            return  # another sender cleans too
        except OSError as error:
            log.warning("delivery.local_answers_not_removed", folder=str(folder), why=str(error))


class _FileNotes:
    def __init__(self, path: Path, open_paths: set[Path]) -> None:
        self._path = path
        self._open_paths = open_paths
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        open_paths.add(path)

    def mark(self, window: int, index: int) -> None:
        _write(self._file, _MARK.pack(_IS_MARK, window, index, _END))

    def answer(self, window: int, index: int, answer: Answer) -> None:
        text = answer.text.encode()[:1_000]
        note = _ANSWER.pack(_IS_ANSWER, window, index, _NUMBER_OF[answer.kind], len(text))
        _write(self._file, note + text + b"\n")

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            self._open_paths.discard(self._path)


def _write(file: int, note: bytes) -> None:
    if os.write(file, note) != len(note):
        raise OSError("a note was written in part: the disk is full")


def _notes_of(data: bytes, window: int) -> tuple[frozenset[int], dict[int, Answer]]:
    """Read the notes about one window; stops at the first that is damaged or cut off."""
    marks: set[int] = set()
    answers: dict[int, Answer] = {}
    position = 0
    while position < len(data):
        kind = data[position]
        if kind == _IS_MARK and position + _MARK.size <= len(data):
            _, noted_window, index, end = _MARK.unpack_from(data, position)
            position += _MARK.size
            if end != _END:
                break
            if noted_window == window:
                marks.add(index)
        elif kind == _IS_ANSWER and position + _ANSWER.size <= len(data):
            _, noted_window, index, number, length = _ANSWER.unpack_from(data, position)
            text = data[position + _ANSWER.size : position + _ANSWER.size + length]
            position += _ANSWER.size + length + 1
            if position > len(data) or data[position - 1] != _END or number >= len(_KINDS):
                break
            if noted_window == window:
                answers[index] = Answer(index, _KINDS[number], text.decode("utf-8", "replace"))
        else:
            break
    return frozenset(marks), answers


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
