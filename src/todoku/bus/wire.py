"""The JetStream API as bytes: requests, answers, headers, reply subjects (NATS ADR-1, 8, 13, 31 and 50)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from todoku.bus.types import StoredMessage

API = "$JS.API."
STATUS = "Status"
DESCRIPTION = "Description"
MESSAGE_ID = "Nats-Msg-Id"
EXPECTED_LAST_SUBJECT_SEQUENCE = "Nats-Expected-Last-Subject-Sequence"
BATCH_ID = "Nats-Batch-Id"
BATCH_SEQUENCE = "Nats-Batch-Sequence"
BATCH_COMMIT = "Nats-Batch-Commit"
KV_OPERATION = "KV-Operation"

NO_RESPONDERS = "503"
NOT_FOUND = "404"
END_OF_BATCH = "204"

ERROR_STREAM_MISSING = 10059
ERROR_CONSUMER_MISSING = 10014
ERROR_MESSAGE_TOO_LARGE = 10054
ERROR_STORE_FAILED = 10077
ERROR_NO_MESSAGE = 10037
ERROR_DUPLICATE_IN_PROCESS = 10158  # a cluster: the same id is being stored, or was staged by a leader that went
ERRORS_WRONG_LAST_SEQUENCE = frozenset({10071, 10164})

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ApiError(msgspec.Struct):
    """The `error` member of an answer."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class PublishAnswer(msgspec.Struct):
    """Acknowledgement of a publish, or of a batch of `count`, whose last message has this sequence."""

    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    count: int = 0
    error: ApiError | None = None


class StreamState(msgspec.Struct):
    """Part of a stream's information; `subjects` only when asked for, one page of it."""

    messages: int = 0
    first_seq: int = 0
    last_seq: int = 0
    subjects: dict[str, int] | None = None


class StreamAnswer(msgspec.Struct):
    """Answer to STREAM.INFO, CREATE and UPDATE; `ts` is the server's clock."""

    error: ApiError | None = None
    total: int = 0
    config: dict[str, Any] = {}
    state: StreamState = msgspec.field(default_factory=StreamState)
    ts: str = ""


class ConsumerAnswer(msgspec.Struct):
    """Answer to CONSUMER.CREATE and INFO."""

    error: ApiError | None = None
    name: str = ""
    num_pending: int = 0
    num_ack_pending: int = 0


class KeptMessage(msgspec.Struct):
    """A message as STREAM.MSG.GET tells it; hdrs and data travel as base64."""

    subject: str = ""
    seq: int = 0
    hdrs: bytes = b""
    data: bytes = b""
    time: str = ""


class MessageAnswer(msgspec.Struct):
    """Answer to STREAM.MSG.GET, which only the stream's leader gives."""

    error: ApiError | None = None
    message: KeptMessage = msgspec.field(default_factory=KeptMessage)


class PlainAnswer(msgspec.Struct):
    """An answer of which only success matters."""

    error: ApiError | None = None
    success: bool = False


def header_octets(headers: Mapping[str, str] | None) -> int:
    """Return what headers take on the wire, their first line and the empty one included (NATS ADR-4)."""
    if not headers:
        return 0
    return len("NATS/1.0\r\n\r\n") + sum(len(f"{name}: {value}\r\n".encode()) for name, value in headers.items())


def header(headers: Mapping[Any, Any] | None, name: str) -> str:
    """Return one header, "" when absent; nats-py gives lists for some answers and strings for others."""
    if not headers:
        return ""
    value = headers.get(name, "")
    if isinstance(value, list):
        value = value[0] if value else ""
    return str(value)


def stored_message(payload: bytes, headers: Mapping[Any, Any] | None) -> StoredMessage:
    """Read the answer of a direct get."""
    return StoredMessage(
        subject=header(headers, "Nats-Subject"),
        payload=payload,
        sequence=int(header(headers, "Nats-Sequence")),
        published_at_utc=rfc3339(header(headers, "Nats-Time-Stamp")),
        message_id=header(headers, MESSAGE_ID),
    )


def kept_message(kept: KeptMessage) -> tuple[StoredMessage, bool]:
    """Read the answer of the leader; the flag says that the message marks a deleted key."""
    headers = dict(
        line.split(": ", 1) for line in kept.hdrs.decode("utf-8", "replace").split("\r\n")[1:] if ": " in line
    )
    message = StoredMessage(kept.subject, kept.data, kept.seq, rfc3339(kept.time), headers.get(MESSAGE_ID, ""))
    return message, bool(headers.get(KV_OPERATION))


def rfc3339(text: str) -> datetime:
    """Read a server's time stamp; nanoseconds are cut to microseconds."""
    return datetime.fromisoformat(text).astimezone(UTC)


def from_nanoseconds(nanoseconds: int) -> datetime:
    """Turn nanoseconds since 1970 into an aware datetime without passing through floats."""
    return _EPOCH + timedelta(microseconds=nanoseconds // 1_000)


class AckSubject(msgspec.Struct, frozen=True):
    """The numbers that a delivered message carries in its reply subject."""

    delivered: int
    stream_sequence: int
    consumer_sequence: int
    nanoseconds: int


def ack_subject(reply: str) -> AckSubject:
    """Read `$JS.ACK.<stream>.<consumer>.<delivered>.<sseq>.<cseq>.<time>.<pending>`, with or without a domain."""
    tokens = reply.split(".")
    first = 4 if len(tokens) == 9 else 6
    return AckSubject(int(tokens[first]), int(tokens[first + 1]), int(tokens[first + 2]), int(tokens[first + 3]))


def nanoseconds(seconds: float) -> int:
    """Seconds as the API wants them."""
    return round(seconds * 1_000_000_000)
