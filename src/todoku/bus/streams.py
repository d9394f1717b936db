"""Every stream, subject and bucket of the bus, declared in this one place."""

from __future__ import annotations

from dataclasses import dataclass

from todoku.kernel.ids import require_subject_token

MAIL = "MAIL"
SEND = "SEND"
JOURNAL = "JOURNAL"
EVENTS = "EVENTS"
ALERTS = "ALERTS"

RUNS_BUCKET = "runs"
STOPS_BUCKET = "stops"
ADDRESSES_BUCKET = "addresses"
PACES_BUCKET = "paces"
ARRIVED_BUCKET = "arrived"
SOURCES_BUCKET = "sources"
LOOKS_BUCKET = "looks"
OWNERS_BUCKET = "owners"
CREDENTIALS_BUCKET = "credentials"

DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """One stream: its subjects and how long it keeps messages (limits retention only, see facts on compaction).

    duplicate_window_seconds: how long the server remembers Nats-Msg-Id. allow_atomic: takes batches (`gathering`).
    """

    name: str
    subjects: tuple[str, ...]
    max_age_seconds: float
    duplicate_window_seconds: float = 120.0
    allow_direct: bool = True
    allow_atomic: bool = False


STREAMS = (
    StreamSpec(MAIL, ("mail.*.*",), max_age_seconds=90 * DAY_SECONDS, allow_atomic=True),
    StreamSpec(SEND, ("send.*.*.*",), max_age_seconds=60 * DAY_SECONDS),
    StreamSpec(JOURNAL, ("journal.*.*.*",), max_age_seconds=60 * DAY_SECONDS),
    StreamSpec(EVENTS, ("event.*.*",), max_age_seconds=30 * DAY_SECONDS),
    StreamSpec(ALERTS, ("alert.*.*",), max_age_seconds=30 * DAY_SECONDS),
)
BUCKETS = (
    RUNS_BUCKET,
    STOPS_BUCKET,
    ADDRESSES_BUCKET,
    PACES_BUCKET,
    ARRIVED_BUCKET,
    SOURCES_BUCKET,
    LOOKS_BUCKET,
    OWNERS_BUCKET,
    CREDENTIALS_BUCKET,
)

UNROUTED_PROJECT = "_unrouted"  # mails to an address nobody owns: kept, quarantined, shown to operators


def mail_subject(project_id: str, source: str) -> str:
    """`mail.<project>.<source>`: a mail has arrived."""
    return f"mail.{require_subject_token(project_id)}.{require_subject_token(source)}"


def send_subject(run_id: str, seal: int, batch: int) -> str:
    """`send.<run>.<seal>.<batch>`: one sealed batch. The seal number keeps a half-done seal apart from the next one."""
    return f"send.{require_subject_token(run_id)}.{seal}.{batch}"


def journal_subject(run_id: str, seal: int, batch: str) -> str:
    """`journal.<run>.<seal>.<batch>`: intents and outcomes of that batch."""
    return f"journal.{require_subject_token(run_id)}.{seal}.{require_subject_token(batch)}"


def event_subject(project_id: str, kind: str) -> str:
    """`event.<project>.<kind>`: something that others may want to know."""
    return f"event.{require_subject_token(project_id)}.{require_subject_token(kind)}"
