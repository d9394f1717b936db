"""The judge: sees every message stored and every message handed over, and compares both with the invariants.

I1 at most one completed message a recipient and run, unless each earlier one was refused for certain
I2 one terminal state each, the books never say more than was planned, and what they say is true
I3 `unknown` only for what was in flight: after a kill on the same machine only what was begun and not answered
I4 nobody completes a message that another sender owns or has settled; nobody goes on after its lease
I5 nobody begins before the due time of its own clock
I6 no message after a stop was heard, one window at most after a pause was heard
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from todoku.bus.streams import RUNS_BUCKET, STOPS_BUCKET
from todoku.delivery.engine.codec import decode_batch, decode_journal, decode_order, decode_start
from todoku.delivery.engine.journal import JournalMessage, StartRecord, unpack_settled
from todoku.delivery.engine.runs import GO, PAUSED, STOPPED, stop_key
from todoku.delivery.engine.starts import is_start_subject
from todoku.delivery.engine.takeover import SILENT_LEASES
from todoku.delivery.simulation.machines import Process
from todoku.delivery.simulation.notes import Disk
from todoku.delivery.simulation.relay import Attempt, Fate
from todoku.delivery.simulation.server import Stored
from todoku.delivery.simulation.world import World
from todoku.delivery.types import Answer, AnswerKind, RecipientState, RunOrder

BatchKey = tuple[str, int, int]  # run, seal, batch


@dataclass(slots=True)
class BatchBook:
    """What is true about one sealed batch. addresses: by index. line: the last one in the journal, by `owner`.

    line_at: when it was stored.
    """

    key: BatchKey
    addresses: list[str]
    line: JournalMessage | None = None
    owner: str = ""
    line_at: float = 0.0
    settled: dict[int, RecipientState] = field(default_factory=dict)


@dataclass(slots=True)
class RunBook:
    """What is true about one run. planned: by seal, everybody, those who may not be mailed included."""

    run_id: str
    planned: dict[int, int] = field(default_factory=dict)
    seal: int = 0  # the one that was begun
    outcomes: dict[str, RecipientState] = field(default_factory=dict)
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)
    started_at: float = 0.0

    @property
    def pending(self) -> int:
        """Return how many have no terminal state yet."""
        seal = self.seal or max(self.planned, default=0)
        return self.planned.get(seal, 1) - len(self.outcomes)


@dataclass(slots=True)
class Heard:
    """What one process was told by its watches, with the judge's count of events at that time."""

    orders: dict[str, tuple[int, RunOrder]] = field(default_factory=dict)
    stops: dict[str, int] = field(default_factory=dict)
    windows_since_pause: dict[tuple[BatchKey, str], set[int]] = field(default_factory=dict)
    lease_until: dict[BatchKey, float] = field(default_factory=dict)  # monotonic
    asked_at: dict[str, int] = field(default_factory=dict)  # journal message id -> count of events


class Judge:
    """Witness of the relay, of the bus and of the watches."""

    def __init__(self, world: World, window: int, lease_seconds: float) -> None:
        """window, lease_seconds: as the senders have them."""
        self._world = world
        self._window = window
        self._lease_seconds = lease_seconds
        self._count = 0
        self.runs: dict[str, RunBook] = {}
        self.batches: dict[BatchKey, BatchBook] = {}
        self._places: dict[tuple[str, int, str], tuple[BatchBook, int]] = {}
        self._batch_of_sequence: dict[int, BatchKey] = {}
        self._heard: dict[str, Heard] = {}
        self._intents: dict[tuple[BatchKey, str], tuple[int, int]] = {}  # by sender: its last window, asked for when
        self.disks: list[Disk] = []
        self.accepted_count = 0
        self.unknown_count = 0

    def run(self, run_id: str) -> RunBook:
        """Return the book of a run."""
        return self.runs.setdefault(run_id, RunBook(run_id))

    # --- what is stored ---

    def stored(self, message: Stored) -> None:
        """Look at a message as the server takes it."""
        word = message.subject.partition(".")[0]
        if word == "send" and "-out" not in message.subject:
            batch = decode_batch(message.payload)
            key = (batch.run_id, batch.seal, batch.number)
            book = BatchBook(key, [one.address for one in batch.recipients])
            self.batches[key] = book
            self._batch_of_sequence[message.sequence] = key
            for one in batch.recipients:
                self._places[batch.run_id, batch.seal, one.address] = (book, one.index)
        elif is_start_subject(message.subject):
            self._start(decode_start(message.payload))
        elif word == "journal":
            self._line(decode_journal(message.payload), message)

    def _start(self, record: StartRecord) -> None:
        """Look at who begins a run, and when by its own clock."""
        run = self.run(record.run_id)
        self._world.say(record.sender_id, "starts the run", run=record.run_id[-4:], seal=record.seal)
        if run.seal:
            self._violated("two-seals", f"run {record.run_id[-4:]} is started a second time")
        if record.started_at_utc < record.due_at_utc:
            self._violated("I5", f"{record.sender_id} starts run {record.run_id[-4:]} before it is due")
        run.seal = record.seal
        run.started_at = self._world.now

    def _line(self, line: JournalMessage, message: Stored) -> None:
        run = self.run(line.run_id)
        if self._world.traced:
            self._world.say(
                line.sender_id,
                f"line {message.subject[-12:]}",
                sequence=message.sequence,
                settles=[(one.index, one.state.value) for one in line.outcomes],
                deferred=[one.index for one in line.deferred],
                intent=(line.intent.window, *line.intent.indexes) if line.intent else None,
            )
        if run.seal != line.seal:
            self._violated("two-seals", f"run {run.run_id[-4:]} was started with seal {run.seal}, not {line.seal}")
        if line.batch.isdigit():
            book = self.batches[line.run_id, line.seal, int(line.batch)]
            self._check_chain(book, line, message)
            self._check_outcomes(run, book, line)
            book.line, book.owner, book.line_at = line, line.sender_id, self._world.now
        for one in line.outcomes:
            if one.address in run.outcomes:
                self._violated("I2", f"{one.address} has {run.outcomes[one.address]} and now {one.state}")
            run.outcomes[one.address] = one.state
        if run.pending < 0:
            self._violated("I2", f"run {run.run_id[-4:]} has {-run.pending} outcomes more than were planned")

    def _check_chain(self, book: BatchBook, line: JournalMessage, message: Stored) -> None:
        """Check that a line goes on where the last one stopped."""
        before = book.line
        intent = before.intent if before is not None else None
        said = {one.index for one in line.outcomes}
        deferred = {one.index for one in line.deferred}
        if unpack_settled(line.settled) != set(book.settled) | said:
            self._violated("I2", f"{message.subject}: the bitmap is not what was settled before and now")
        if line.window and (intent is None or intent.window != line.window):
            self._violated("I4", f"{message.subject}: outcomes of window {line.window}, which is not the open one")
        if intent is not None and line.sender_id == book.owner:
            unsaid = set(intent.indexes) - said - deferred
            if unsaid and line.window == intent.window and book.key in self._of(line.sender_id).lease_until:
                self._note_unsaid(book, unsaid, line)
        if line.intent is not None:
            chosen = set(line.intent.indexes)
            if chosen & (set(book.settled) | said) or len(chosen) != len(line.intent.indexes):
                self._violated("I1", f"{message.subject}: window {line.intent.window} has somebody who is settled")
            if len(chosen) > self._window:
                self._violated("I3", f"{message.subject}: a window of {len(chosen)}, more than {self._window}")
            if before is not None and line.intent.window <= before.windows:
                self._violated("I4", f"{message.subject}: window number {line.intent.window} was used before")
            asked = self._of(line.sender_id).asked_at.get(message.message_id, self._count)
            self._intents[book.key, line.sender_id] = line.intent.window, asked

    def _note_unsaid(self, book: BatchBook, unsaid: set[int], line: JournalMessage) -> None:
        """Somebody of an own window without a word: only when it was never begun, or every try was refused."""
        run = self.run(book.key[0])
        for index in unsaid:
            if any(one.fate in (Fate.ACCEPTED, Fate.ON_THE_WAY) for one in run.attempts.get(book.addresses[index], ())):
                self._violated("I2", f"{book.addresses[index]} was sent and {line.sender_id} says nothing of it")

    def _check_outcomes(self, run: RunBook, book: BatchBook, line: JournalMessage) -> None:
        """Check that what a line says about each recipient is true."""
        for one in line.outcomes:
            if book.addresses[one.index] != one.address:
                self._violated("I2", f"index {one.index} of batch {line.batch} is not {one.address}")
            if one.index in book.settled:
                self._violated("I2", f"{one.address} is settled twice: {book.settled[one.index]}, {one.state}")
            fates = [attempt.fate for attempt in run.attempts.get(one.address, ())]
            if one.state is RecipientState.SENT:
                if Fate.ACCEPTED not in fates:
                    self._violated("I2", f"{one.address} is said to be sent, the relay never took it")
            elif one.state is RecipientState.UNKNOWN:
                self.unknown_count += 1
                self._check_unknown(run, book, line, one.index)
            elif Fate.ACCEPTED in fates or Fate.ON_THE_WAY in fates:
                self._violated("I2", f"{one.address} is said to be {one.state}, the relay has it")
            book.settled[one.index] = one.state

    def _check_unknown(self, run: RunBook, book: BatchBook, line: JournalMessage, index: int) -> None:
        """Check that somebody is unknown for a reason: in flight when the connection or a sender ended."""
        address = book.addresses[index]
        if any(attempt.heard is AnswerKind.UNKNOWN for attempt in run.attempts.get(address, ())):
            return
        before = book.line
        if before is None or before.intent is None or index not in before.intent.indexes:
            self._violated("I3", f"{address} is unknown and was in no window")
            return
        silent = self._world.now - book.line_at >= SILENT_LEASES * self._lease_seconds
        if not silent and not self._known_to_be_dead(before.sender_id, line.sender_id):
            self._violated("I3", f"{address} is unknown, and {before.sender_id} may have been at work a moment ago")
        for disk in self.disks:
            owner = disk.owners.get(before.sender_id)
            heir = disk.owners.get(line.sender_id)
            if owner is None or heir is None:
                continue
            if before.sender_id != line.sender_id and (not owner[0].dead or owner[1] != disk.machine.boots):
                continue  # it lives, or the machine restarted: the whole window is in doubt
            notes = disk.files.get((before.sender_id, *book.key), [])
            if not any(note[:2] == (before.intent.window, index) and note[2] is None for note in notes):
                self._violated("I3", f"{address} is unknown, and {before.sender_id} never began it")

    def _known_to_be_dead(self, sender_id: str, heir_id: str) -> bool:
        """Tell whether the heir can know that this sender will write nothing any more: it is the same, or its lock."""
        if sender_id == heir_id:
            return True
        for disk in self.disks:
            owner = disk.owners.get(sender_id)
            if owner is not None and heir_id in disk.owners:
                return owner[0].dead and owner[1] == disk.machine.boots
        return False

    # --- what is handed over ---

    def completing(self, attempt: Attempt) -> None:
        """A process writes the end of a message: was it allowed to?"""
        address = attempt.envelope.rcpt_to
        run, book, index = self._find(attempt)
        earlier = run.attempts.setdefault(address, [])
        for one in earlier:
            if one.fate is not Fate.REFUSED:
                self._violated(
                    "I1", f"{address} again by {attempt.process.name}; before: {one.fate.name} by {one.process.name}"
                )
        earlier.append(attempt)
        if self._world.traced:
            self._world.say(attempt.process.name, "completes", address=address, index=index)
        self._check_owner(attempt, book, index)
        self._check_told(attempt, book)

    def accepted(self, attempt: Attempt) -> None:
        """The relay took a message."""
        self.accepted_count += 1
        run, _, _ = self._find(attempt)
        address = attempt.envelope.rcpt_to
        taken = sum(one.fate is Fate.ACCEPTED for one in run.attempts[address])
        if self._world.traced:
            self._world.say("relay", "took", address=address)
        if taken > 1:
            self._violated("I1", f"the relay has {address} {taken} times")
        state = run.outcomes.get(address)
        if state is not None and state is not RecipientState.UNKNOWN:
            self._violated("I2", f"{address} was said to be {state} before the relay took it")

    def heard(self, attempt: Attempt, answer: Answer) -> None:
        """A process was answered."""
        if self._world.traced:
            self._world.say(attempt.process.name, "heard", address=attempt.envelope.rcpt_to, answer=answer.kind.value)

    def _check_owner(self, attempt: Attempt, book: BatchBook, index: int) -> None:
        process, address = attempt.process, attempt.envelope.rcpt_to
        line = book.line
        intent = line.intent if line is not None and book.owner == process.name else None
        heir_settled_it = book.settled.get(index) is RecipientState.UNKNOWN  # so it is sent to nobody else
        if (intent is None or index not in intent.indexes) and not heir_settled_it:
            self._violated("I4", f"{process.name} completes {address}, the journal's last word is {book.owner}'s")
        until = self._of(process.name).lease_until.get(book.key, 0.0)
        if process.machine.monotonic_at(attempt.asked_at) > until:
            self._violated("I4", f"{process.name} completes {address} after its lease was over")

    def _check_told(self, attempt: Attempt, book: BatchBook) -> None:
        process, address = attempt.process, attempt.envelope.rcpt_to
        heard = self._of(process.name)
        window, asked = self._intents.get((book.key, process.name), (0, 0))
        found = heard.orders.get(book.key[0])
        if found is not None:
            _, order = found
            if order.state == STOPPED:
                self._violated("I6", f"{process.name} completes {address} after it heard of the stop")
            if order.state == PAUSED:
                windows = heard.windows_since_pause.setdefault((book.key, process.name), set())
                windows.add(window)
                if len(windows) > 1:
                    self._violated("I6", f"{process.name} begins a second window after it heard of the pause")
        told = heard.stops.get(stop_key("shop", address))
        if told is not None and told < asked:
            self._violated("I6", f"{process.name} mails {address}, of whom it had heard that he said stop")

    def _find(self, attempt: Attempt) -> tuple[RunBook, BatchBook, int]:
        address = attempt.envelope.rcpt_to
        run_id = address.partition("@")[2].partition(".")[0]
        seal = int(attempt.envelope.content.partition(b"seal-")[2][:1])
        book, index = self._places[run_id, seal, address]
        return self.run(run_id), book, index

    # --- what processes know ---

    def told(self, process: Process, bucket: str, key: str, value: bytes | None) -> None:
        """A watch told a process of a change."""
        self._count += 1
        heard = self._of(process.name)
        if bucket == RUNS_BUCKET:
            if value is None:
                heard.orders.pop(key, None)
                return
            order = decode_order(value)
            heard.orders[key] = (self._count, order)
            if order.state == GO:
                for batch, name in [pair for pair in heard.windows_since_pause if pair[0][0] == key]:
                    del heard.windows_since_pause[batch, name]
            if self._world.traced:
                self._world.say(process.name, "is told", run=key[-4:], state=order.state, seal=order.seal)
        elif bucket == STOPS_BUCKET:
            if value is None:
                heard.stops.pop(key, None)
            else:
                heard.stops[key] = self._count

    def asked(self, process: Process, message_id: str) -> None:
        """A process wants a journal line published, for the first time or again."""
        self._count += 1
        self._of(process.name).asked_at.setdefault(message_id, self._count)

    def owns(self, process: Process, subject: str) -> None:
        """A process was told that its line is the last: its lease is not older than that."""
        _, run_id, seal, batch = subject.split(".")
        if batch.isdigit():
            self._extend(process, (run_id, int(seal), int(batch)), process.monotonic_seconds())

    def extends(self, process: Process, sequence: int) -> None:
        """A process asks for a longer lease."""
        key = self._batch_of_sequence.get(sequence)
        if key is not None and key in self._of(process.name).lease_until:
            self._extend(process, key, process.monotonic_seconds())

    def _extend(self, process: Process, key: BatchKey, from_seconds: float) -> None:
        leases = self._of(process.name).lease_until
        leases[key] = max(leases.get(key, 0.0), from_seconds + self._lease_seconds)

    def _of(self, name: str) -> Heard:
        found = self._heard.get(name)
        if found is None:
            found = self._heard[name] = Heard()
        return found

    def _violated(self, invariant: str, what: str) -> None:
        self._world.violated(invariant, what)

    # --- the end ---

    def check_end(self, stopped: Callable[[str], bool]) -> None:
        """Check the books of all runs when everything has come to rest."""
        for run in self.runs.values():
            if run.pending and not stopped(run.run_id):
                self._violated("liveness", f"run {run.run_id[-4:]} ended with {run.pending} pending")
            for address, attempts in run.attempts.items():
                state = run.outcomes.get(address)
                taken = any(one.fate is Fate.ACCEPTED for one in attempts)
                if not taken or state in (RecipientState.SENT, RecipientState.UNKNOWN):
                    continue
                if state is None and stopped(run.run_id) and self._in_open_window(attempts[-1]):
                    continue  # its sender died and a stopped run has no heir: campaigns counts open windows as begun
                self._violated("I2", f"the relay has {address}, the books say {state}")

    def _in_open_window(self, attempt: Attempt) -> bool:
        _, book, index = self._find(attempt)
        return book.line is not None and book.line.intent is not None and index in book.line.intent.indexes
