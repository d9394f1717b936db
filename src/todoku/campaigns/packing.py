"""A run's audience, row by row, turned into sealed batches and into lines about those who are left out.

Purpose     everything that is done once for each recipient before the due time: values, link, pre-flight, bytes.
Guarantees  pure but for `copy_rows`; knows no Django, so that a process made for one big audience stays small.
            Memory is constant: rows of one group, and what waits for a full batch.
Limits      only values that the templates name are sealed; those that all recipients share stand in the order.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from todoku.campaigns.tokens import TokenMaker
from todoku.campaigns.zones import ReleaseClock
from todoku.content.preflight import Preflight
from todoku.delivery.engine.codec import encode_journal
from todoku.delivery.engine.journal import JournalMessage, pack_settled
from todoku.delivery.engine.sealing import encode_numbered
from todoku.delivery.types import Outcome, Recipient, RecipientState

GROUP_ROWS = 500
_MOST_WAITING = 10_000  # recipients that wait for full batches of their zones; then the largest leaves as it is
_NULL = "\\N"
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)

Row = tuple[str, str, str, str, str, str, str, str]
"""id, address, name, visits, last visit (ISO day, "" none), shop, why not ("" may be mailed), time zone."""


class PackJob(msgspec.Struct, frozen=True):
    """All that packing needs to know. statement "": the rows are given. connection may hold a password.

    due_at_utc, time_zone, by_zone: release each recipient's batch at the due time's wall clock in their own zone.
    """

    project_id: str
    run_id: str
    seal: int
    now_utc: datetime
    subject: str
    html: str
    text: str
    shared_values: dict[str, str]
    unsubscribe_base_url: str
    token_key: bytes
    batch_size: int
    due_at_utc: datetime
    time_zone: str
    by_zone: bool = False
    connection: str = ""
    statement: str = ""
    shop_names: dict[str, str] = {}
    rows: tuple[Row, ...] = ()


class PackedBatch(msgspec.Struct, frozen=True, tag="batch"):
    """One sealed batch, ready for SEND. number: from 0, without a gap."""

    number: int
    people: int
    payload: bytes
    release_at_utc: datetime | None = None


class PackedOut(msgspec.Struct, frozen=True, tag="out"):
    """One journal line about people who may not be mailed. number: from 0."""

    number: int
    people: int
    payload: bytes


class PackedEnd(msgspec.Struct, frozen=True, tag="end"):
    """The last word. faults: messages that can't be made or have an empty link, by the variable that is to blame."""

    planned: int
    to_send: int
    not_sendable: int
    faults: dict[str, int]


class PackFailed(msgspec.Struct, frozen=True, tag="failed"):
    """Packing stopped. transient: the database was away or too slow."""

    kind: str
    error: str
    transient: bool


Packed = PackedBatch | PackedOut | PackedEnd | PackFailed


def pack(job: PackJob) -> Iterator[Packed]:
    """Yield batches and lines as they are full, and PackedEnd.

    Raises psycopg.Error, content.errors.TemplateInvalid.
    """
    packer = Packer(job)
    for rows in copy_rows(job) if job.statement else _groups(job.rows):
        yield from packer.take(rows)
    yield from packer.finish()


def copy_rows(job: PackJob) -> Iterator[list[Row]]:
    """Yield the rows of the job's COPY in groups of at most 500; one snapshot, one connection."""
    with (
        psycopg.connect(job.connection, autocommit=True) as connection,
        connection.cursor() as cursor,
        cursor.copy(job.statement.encode()) as copy,
    ):
        lines = iter(copy)
        while group := b"".join(islice(lines, GROUP_ROWS)):
            yield read_rows(group.decode("utf-8"))


def read_rows(text: str) -> list[Row]:
    """Return the rows of lines in PostgreSQL's COPY text format; null becomes ""."""
    rows = [line.split("\t") for line in text.split("\n") if line]
    if "\\" in text:
        rows = [[_field(field) if "\\" in field else field for field in row] for row in rows]
    return rows  # type: ignore[return-value]  # eight columns, by the statement


class Packer:
    """What grows while a run's audience goes by."""

    def __init__(self, job: PackJob) -> None:
        """Compile the templates; raises content.errors.TemplateInvalid."""
        self._job = job
        self._preflight = Preflight(_Content(job.subject, job.html, job.text), job.shared_values)
        self._tokens = TokenMaker(job.token_key, job.project_id, UUID(job.run_id))
        self._values = ValueMaker(self._preflight.names)
        self._releases = ReleaseClock(job.due_at_utc, job.time_zone, job.now_utc) if job.by_zone else None
        self._waiting: dict[str, list[Recipient]] = {}
        self._left_out: list[Outcome] = []
        self._batches = self._out_lines = 0
        self._planned = self._to_send = self._not_sendable = 0
        self._faults: Counter[str] = Counter()

    def take(self, rows: Sequence[Row]) -> Iterator[Packed]:
        """Take some people; yield what became full by them."""
        self._planned += len(rows)
        if self._releases is None:
            self._waiting.setdefault("", []).extend(self._recipient(row) for row in rows if not row[6])
        else:
            for row in rows:
                if not row[6]:
                    self._waiting.setdefault(self._releases.zone(row[7]), []).append(self._recipient(row))
        self._left_out += [self._suppressed(row) for row in rows if row[6]]
        for zone, waiting in self._waiting.items():
            while len(waiting) >= self._job.batch_size:
                yield self._batch(zone, waiting)
        while sum(map(len, self._waiting.values())) > _MOST_WAITING:
            zone = max(self._waiting, key=lambda one: len(self._waiting[one]))
            yield self._batch(zone, self._waiting[zone])
        while len(self._left_out) >= GROUP_ROWS:
            yield self._out_line()

    def finish(self) -> Iterator[Packed]:
        """Yield what is left, and the end."""
        for zone, waiting in self._waiting.items():
            if waiting:
                yield self._batch(zone, waiting)
        if self._left_out:
            yield self._out_line()
        yield PackedEnd(self._planned, self._to_send, self._not_sendable, dict(self._faults))

    def _recipient(self, row: Row) -> Recipient:
        guest_id, address, name = row[:3]
        values = self._values.of(row, self._job.shop_names)
        token = self._tokens.make(guest_id, address)
        values["unsubscribe_url"] = self._job.unsubscribe_base_url + token
        fault = self._preflight.fault(values)
        if fault:
            self._faults[fault] += 1
        del values["unsubscribe_url"]  # the sender makes it again; it is a third of a batch
        values["unsubscribe_token"] = token
        return Recipient(0, guest_id, address, header_name(name), values)

    def _suppressed(self, row: Row) -> Outcome:
        return Outcome(0, row[0], row[1], RecipientState.SUPPRESSED, row[6], self._job.now_utc, "")

    def _batch(self, zone: str, waiting: list[Recipient]) -> PackedBatch:
        """Make a batch of the first of those waiting, and take them from the list."""
        job = self._job
        people = waiting[: job.batch_size]
        del waiting[: job.batch_size]
        release_at = self._releases.release_at_utc(zone) if self._releases is not None else None
        payload = encode_numbered(
            (job.project_id, job.run_id, job.seal), self._batches, people, time_zone=zone, release_at_utc=release_at
        )
        self._batches += 1
        self._to_send += len(people)
        return PackedBatch(self._batches - 1, len(people), payload, release_at)

    def _out_line(self) -> PackedOut:
        people = self._left_out[:GROUP_ROWS]
        del self._left_out[:GROUP_ROWS]
        message = JournalMessage(
            project_id=self._job.project_id,
            run_id=self._job.run_id,
            seal=self._job.seal,
            batch=f"ns-{self._out_lines}",
            sender_id="planner",
            window=0,
            outcomes=tuple(msgspec.structs.replace(one, index=place) for place, one in enumerate(people)),
            deferred=(),
            settled=pack_settled(range(len(people))),
            intent=None,
        )
        self._out_lines += 1
        self._not_sendable += len(people)
        return PackedOut(self._out_lines - 1, len(people), encode_journal(message))


class ValueMaker:
    """The merge values that differ from recipient to recipient, as far as the templates name them."""

    def __init__(self, names: Iterable[str]) -> None:
        wanted = set(names)
        self._name = "guest_name" in wanted
        self._shop = "shop_name" in wanted
        self._visits = "visits" in wanted
        self._day = "last_visit_on" in wanted
        self._day_ja = "last_visit_on_ja" in wanted
        self._japanese: dict[str, str] = {}

    def of(self, row: Row, shop_names: Mapping[str, str]) -> dict[str, Any]:
        """Return one person's values; texts are empty where nothing is known, never missing."""
        values: dict[str, Any] = {}
        if self._name:
            values["guest_name"] = row[2]
        if self._shop:
            values["shop_name"] = shop_names.get(row[5], row[5])
        if self._visits:
            values["visits"] = int(row[3])
        if self._day:
            values["last_visit_on"] = row[4]
        if self._day_ja:
            day = row[4]
            written = self._japanese.get(day)
            if written is None:
                written = self._japanese[day] = japanese_day(day)
            values["last_visit_on_ja"] = written
        return values


def japanese_day(day: str) -> str:
    """Return 2026年1月9日 for 2026-01-09, "" for ""."""
    if not day:
        return ""
    year, month, number = day.split("-")
    return f"{int(year)}年{int(month)}月{int(number)}日"


def header_name(name: str) -> str:
    """Return the name as a To header may show it: a line break in a name must not cost its owner the mail."""
    if name.isprintable():
        return name
    return " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())


def _field(field: str) -> str:
    if field == _NULL:
        return ""
    return _ESCAPED.sub(lambda match: _ESCAPES.get(match.group(1), match.group(1)), field)


def _groups(rows: Sequence[Row]) -> Iterator[list[Row]]:
    for start in range(0, len(rows), GROUP_ROWS):
        yield list(rows[start : start + GROUP_ROWS])


class _Content(msgspec.Struct, frozen=True):
    subject: str
    html: str
    text: str
