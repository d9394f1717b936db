"""The disk of a machine as far as senders note answers on it: it survives kill -9, and a power loss only in part."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from todoku.delivery.engine.journal import ABSENT_RECORD, LocalRecord, RecordState
from todoku.delivery.engine.local_answers import AnswerStore, BatchNotes
from todoku.delivery.simulation.machines import Machine, Process
from todoku.delivery.types import Answer

_Key = tuple[str, str, int, int]  # sender, run, seal, batch
_Note = tuple[int, int, Answer | None]  # window, index, answer or None for a mark


@dataclass(slots=True)
class Disk:
    """Notes of all senders of one machine. owners: which process has a folder, and the boot in which it began."""

    machine: Machine
    files: dict[_Key, list[_Note]] = field(default_factory=dict)
    owners: dict[str, tuple[Process, int]] = field(default_factory=dict)

    def lose_power(self) -> None:
        """Keep of each file a beginning of any length, as a disk without fsync does; some vanish whole."""
        chance = self.machine.world.random
        for key, notes in list(self.files.items()):
            if chance.random() < 0.3:
                del self.files[key]
            else:
                del notes[chance.randrange(len(notes) + 1) :]


class SimAnswers:
    """An AnswerStore on a simulated disk; says what `LocalAnswers` would say of real files."""

    def __init__(self, disk: Disk, process: Process, sender_id: str) -> None:
        self._disk = disk
        self._process = process
        self._sender_id = sender_id
        self._open: set[_Key] = set()
        disk.owners[sender_id] = (process, disk.machine.boots)

    def begin(self, run_id: str, seal: int, batch: int) -> BatchNotes:
        """Open the notes of one batch; raises OSError when the disk is full."""
        self._process.step()
        key = (self._sender_id, run_id, seal, batch)
        if key not in self._disk.files:
            self.require_space()
            self._disk.files[key] = []
        self._open.add(key)
        return _SimNotes(self, key)

    def read(self, sender_id: str, run_id: str, seal: int, batch: int, window: int) -> LocalRecord:
        """Return what that sender noted about one window."""
        self._process.step()
        key = (sender_id, run_id, seal, batch)
        notes = self._disk.files.get(key)
        if notes is None:
            return ABSENT_RECORD
        marks = frozenset(index for noted, index, answer in notes if noted == window and answer is None)
        answers = {index: answer for noted, index, answer in notes if noted == window and answer is not None}
        return LocalRecord(self._state_of(key), marks, answers)

    def forget(self, sender_id: str, run_id: str, seal: int, batch: int) -> None:
        """Remove notes."""
        self._process.step()
        self._disk.files.pop((sender_id, run_id, seal, batch), None)

    def sweep(self, active_runs: Collection[str]) -> None:
        """Remove notes of dead senders about runs that are closed."""
        self._process.step()
        for key in list(self._disk.files):
            sender_id, run_id = key[:2]
            mine = sender_id == self._sender_id
            if run_id not in active_runs and key not in self._open and (mine or not self._lives(sender_id)):
                del self._disk.files[key]

    def close(self) -> None:
        """Nothing is held but the process itself."""

    def note(self, key: _Key, note: _Note) -> None:
        """Append a note; the process may die before it or after it."""
        self._process.step()
        self.require_space()
        if key in self._disk.files:
            self._disk.files[key].append(note)
        self._process.step()

    def end(self, key: _Key) -> None:
        """Close a file."""
        self._open.discard(key)

    def require_space(self) -> None:
        """Raise OSError while the disk is full."""
        if self._disk.machine.disk_full_until > self._process.now:
            raise OSError("the simulated disk is full")

    def _lives(self, sender_id: str) -> bool:
        owner = self._disk.owners.get(sender_id)
        return owner is not None and not owner[0].dead

    def _state_of(self, key: _Key) -> RecordState:
        sender_id = key[0]
        if sender_id == self._sender_id:
            return RecordState.PARTIAL if key in self._open else RecordState.COMPLETE
        if self._lives(sender_id):
            return RecordState.PARTIAL
        same_boot = self._disk.owners[sender_id][1] == self._disk.machine.boots
        return RecordState.COMPLETE if same_boot else RecordState.PARTIAL


class _SimNotes:
    def __init__(self, store: SimAnswers, key: _Key) -> None:
        self._store = store
        self._key = key

    def mark(self, window: int, index: int) -> None:
        """Note that a message is about to be completed."""
        self._store.note(self._key, (window, index, None))

    def answer(self, window: int, index: int, answer: Answer) -> None:
        """Note an answer."""
        self._store.note(self._key, (window, index, answer))

    def close(self) -> None:
        """End the visit."""
        self._store.end(self._key)


def _conforms(answers: SimAnswers) -> AnswerStore:
    return answers
