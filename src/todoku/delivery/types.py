"""The words of delivery, shared by planner, sender, journal, projector and pages.

What exists once a recipient or message is a msgspec.Struct: made in a third of the time of a frozen dataclass, and
packed without a detour. `gc=False` is safe for those that hold only words, bytes and moments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable
from uuid import UUID

import msgspec

from todoku.mail.filled_bodies import FilledBodies, FilledColumns


class RecipientState(StrEnum):
    """Where one recipient of one run stands; every one but PENDING is terminal."""

    PENDING = "pending"
    SENT = "sent"
    REFUSED = "refused"
    SUPPRESSED = "suppressed"
    UNRENDERABLE = "unrenderable"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


TERMINAL_STATES = tuple(state for state in RecipientState if state is not RecipientState.PENDING)


class Recipient(msgspec.Struct, frozen=True):
    """One address in one run, with everything its message needs. index: its place in the batch, 0-based."""

    index: int
    guest_id: str
    address: str
    name: str
    values: Mapping[str, Any] = msgspec.field(default_factory=dict)


class Batch(msgspec.Struct, frozen=True):
    """Up to 500 recipients sealed together; travels compressed on SEND.

    time_zone: of all its recipients where a run goes by their own zones, else "" (the order's zone counts).
    release_at_utc: not before this moment, None when the run's due time is enough.
    """

    project_id: str
    run_id: str
    seal: int
    number: int
    recipients: tuple[Recipient, ...]
    time_zone: str = ""
    release_at_utc: datetime | None = None


@dataclass(frozen=True, slots=True)
class NotSendable:
    """One planned person who may not be mailed; ends as `suppressed` with the reason (no_consent, bounced, ...)."""

    guest_id: str
    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class SealChunk:
    """Some rows of a frozen audience, as the planner streams them; `index` of the recipients is not looked at."""

    recipients: Sequence[Recipient] = ()
    not_sendable: Sequence[NotSendable] = ()


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of one recipient: terminal state, the remote answer kept verbatim (<= 500 chars), when, which id."""

    index: int
    guest_id: str
    address: str
    state: RecipientState
    answer: str
    at_utc: datetime
    message_id: str


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One line of the ledger. cursor: where the next page begins, for `queries.names(after=...)`."""

    run_id: UUID
    guest_id: UUID | None
    address: str
    state: str
    answer: str
    at_utc: datetime
    message_id: str
    cursor: str


@dataclass(frozen=True, slots=True)
class QuietHours:
    """No message leaves from begin to end, minutes of the day by the clock of the recipient's or project's zone.

    begin_minute > end_minute spans midnight: 22:00-08:00 is (1320, 480). Equal ones mean no quiet hours.
    """

    begin_minute: int
    end_minute: int


@dataclass(frozen=True, slots=True)
class RunOrder:
    """A run's entry in KV `runs`: all that a sender needs, so that nothing asks the database until the run is over.

    content: subject, HTML and text templates as sealed. planned = to_send + not_sendable. state: "sealed", "paused"
    or "stopped" as wished by the planner; senders obey within one window. shared_values: merge values that are the
    same for all recipients. transport: name of the way out, "" = the default. pace_per_second: 0 = no limit.
    time_zone: of the project. provisional: a seal of the day before, used when no newer one came in time.
    version: goes up with each decision about the run.
    """

    project_id: str
    run_id: str
    seal: int
    state: str
    due_at_utc: datetime
    latest_finish_at_utc: datetime
    subject_template: str
    html_template: str
    text_template: str
    sender_name: str
    sender_address: str
    reply_to: str
    unsubscribe_base_url: str
    batches: int
    to_send: int
    not_sendable: int
    content_hash: str
    latest_start_at_utc: datetime | None = None
    shared_values: Mapping[str, Any] = field(default_factory=dict)
    transport: str = ""
    pace_per_second: float = 0.0
    quiet: QuietHours | None = None
    time_zone: str = "UTC"
    provisional: bool = False
    version: int = 0


@dataclass(frozen=True, slots=True)
class RunBalance:
    """planned = sum of all states, always; `pending` is what is left."""

    planned: int
    sent: int = 0
    refused: int = 0
    suppressed: int = 0
    unrenderable: int = 0
    expired: int = 0
    unknown: int = 0

    @property
    def terminal(self) -> int:
        """Return how many recipients have their terminal state."""
        return self.sent + self.refused + self.suppressed + self.unrenderable + self.expired + self.unknown

    @property
    def pending(self) -> int:
        """Return how many are still to be decided."""
        return self.planned - self.terminal

    def as_dict(self) -> dict[str, int]:
        """Return the balance in the order in which pages and `--json` print it."""
        return {
            "planned": self.planned,
            "sent": self.sent,
            "refused": self.refused,
            "suppressed": self.suppressed,
            "unrenderable": self.unrenderable,
            "expired": self.expired,
            "unknown": self.unknown,
            "pending": self.pending,
        }


class Rendered(msgspec.Struct, frozen=True, gc=False):
    """One message's words, ready to be composed."""

    subject: str
    html: str
    text: str


class RenderedOctets(msgspec.Struct, frozen=True, gc=False):
    """One message's words as they travel, ready for `mail.compose`."""

    subject: str
    bodies: FilledBodies


class RenderedColumns(msgspec.Struct, frozen=True, gc=False):
    """Several messages' words as they travel, side by side. rows: which of the messages that were asked for."""

    rows: Sequence[int]
    subjects: Sequence[str]
    bodies: FilledColumns


class Unrenderable(Exception):
    """A template can't be filled for this recipient; `variable` names what was missing or wrong."""

    def __init__(self, variable: str, detail: str) -> None:
        super().__init__(detail)
        self.variable = variable
        self.detail = detail


class Renderer(Protocol):
    """Fill one run's templates. Made once per run by a RendererFactory; `content.rendering` implements it."""

    def render(self, values: Mapping[str, Any]) -> Rendered:
        """Return the message's words; raises Unrenderable, never anything else, in bounded time (fuel)."""
        ...


@runtime_checkable
class OctetRenderer(Renderer, Protocol):
    """A renderer that knows a quicker way for some values."""

    def render_octets(self, values: Mapping[str, Any]) -> RenderedOctets | None:
        """Return exactly what `render` would say, as octets; None when it must be asked. Raises nothing."""
        ...


@runtime_checkable
class ColumnRenderer(OctetRenderer, Protocol):
    """A renderer that knows a quicker way still for many messages at once."""

    def render_columns(self, values: Sequence[Mapping[str, Any]]) -> list[RenderedColumns]:
        """Return what `render_octets` would say of each, grouped; who is in none must be asked. Raises nothing."""
        ...


class RendererFactory(Protocol):
    """Compile the templates of a RunOrder."""

    def __call__(self, subject_template: str, html_template: str, text_template: str) -> Renderer: ...


class AnswerKind(StrEnum):
    """How a transport answered for one message."""

    ACCEPTED = "accepted"
    PERMANENT = "permanent"
    TEMPORARY = "temporary"
    UNKNOWN = "unknown"  # the connection died after the end of the message and before the answer


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """One composed message for a transport. ref: the caller's own handle, returned with the answer.

    dot_lines: False only when certainly no line of the content begins with a dot, so none must be stuffed.
    """

    ref: int
    mail_from: str
    rcpt_to: str
    content: bytes
    dot_lines: bool = True


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A transport's word on one envelope. TEMPORARY promises that the message was not accepted.

    relay_failed: the relay itself could not be talked to, so nothing was learnt about this recipient.
    """

    ref: int
    kind: AnswerKind
    text: str
    relay_failed: bool = False


class AnswerSink(Protocol):
    """Told of each message as it happens, before anything else is done with it."""

    def about_to_complete(self, ref: int) -> None:
        """Called before the end of the message is written: from here on it may have been accepted.

        May raise HandOverForbidden: then the transport leaves this message incomplete and answers TEMPORARY.
        """
        ...

    def answered(self, answers: Sequence[Answer]) -> None:
        """Called with the answers as they arrive, those together that arrive together."""
        ...


class Transport(Protocol):
    """How messages leave. Every implementation passes `check_transport`."""

    @property
    def eight_bit(self) -> bool:
        """Tell whether 8-bit content may be handed over, as far as is known by now."""
        ...

    async def send(self, envelopes: Sequence[Envelope], sink: AnswerSink, *, flow: str = "") -> list[Answer]:
        """Hand over all envelopes, pipelined over several connections; one answer each, never an exception.

        flow: whose messages these are (a run id); flows that wait at the same time share the way out fairly.
        """
        ...

    async def close(self) -> None:
        """Close the connections politely."""
        ...


class Signer(Protocol):
    """Sign finished messages (DKIM, RFC 6376) before they are handed over; None in its place means unsigned."""

    async def sign(self, contents: Sequence[bytes]) -> list[bytes]:
        """Return each message with its signature header in front, in order; the work is done elsewhere."""
        ...
