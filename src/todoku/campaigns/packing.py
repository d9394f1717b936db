"""A run's audience, row by row, turned into sealed batches and into lines about those who are left out.

Purpose     everything that is done once for each recipient before the due time: values, link, pre-flight, bytes.
Guarantees  pure but for `copy_rows`; knows no Django, so that a process made for one big audience stays small.
            Memory is constant: rows of one group, and what waits for a full batch.
Limits      only values that the templates name are sealed; those that all recipients share stand in the order.
"""

from __future__ import annotations

import re
import selectors
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from itertools import count
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult

from todoku.campaigns.tokens import MOST_TOKEN_CHARACTERS, TokenMaker
from todoku.campaigns.zones import ReleaseClock
from todoku.content.preflight import Preflight
from todoku.delivery.engine.codec import encode_batch, encode_journal
from todoku.delivery.engine.journal import JournalMessage, pack_settled
from todoku.delivery.types import Batch, Outcome, Recipient, RecipientState

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


def pack(job: PackJob, people: Iterable[list[Row]] | None = None) -> Iterator[Packed]:
    """Yield batches and lines as they are full, and PackedEnd. people: in place of the job's rows, in groups.

    Raises psycopg.Error, content.errors.TemplateInvalid, and what reading people raises.
    """
    packer = Packer(job)
    if people is None:
        people = copy_rows(job) if job.statement else _groups(job.rows)
    for rows in people:
        yield from packer.take(rows)
    yield from packer.finish()


def copy_rows(job: PackJob) -> Iterator[list[Row]]:
    """Yield the rows of the job's COPY in groups of at most 500; one snapshot, one connection.

    Reads from libpq itself: psycopg's own loop runs once a row, which takes a third of all packing.
    """
    with closing(psycopg.connect(job.connection, autocommit=True)) as connection:
        link = connection.pgconn
        link.send_query(job.statement.encode())
        opened = _result(link)
        if opened is None or opened.status != ExecStatus.COPY_OUT:
            raise psycopg.InternalError("the statement gives no rows")
        group: list[bytes | memoryview] = []
        with selectors.DefaultSelector() as ready:
            ready.register(link.socket, selectors.EVENT_READ)
            while True:
                size, line = link.get_copy_data(1)
                if size > 0:
                    group.append(line)
                    if len(group) == GROUP_ROWS:
                        yield read_rows(b"".join(group).decode("utf-8"))
                        group = []
                elif size == 0:
                    ready.select()
                    link.consume_input()
                else:
                    break
        _result(link)  # an error that came in place of the end
        if group:
            yield read_rows(b"".join(group).decode("utf-8"))


def _result(link: PGconn) -> PGresult | None:
    """Wait for the next result without keeping the interpreter; raises psycopg.Error when it is an error."""
    with selectors.DefaultSelector() as ready:
        ready.register(link.socket, selectors.EVENT_READ)
        while link.is_busy():
            ready.select()
            link.consume_input()
    result = link.get_result()
    if result is not None and result.status == ExecStatus.FATAL_ERROR:
        raise psycopg.errors.error_from_result(result)
    return result


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
        longest = {"unsubscribe_url": job.unsubscribe_base_url + "x" * MOST_TOKEN_CHARACTERS}
        content = _Content(job.subject, job.html, job.text)
        self._preflight = Preflight(content, job.shared_values, longest)
        self._tokens = TokenMaker(job.token_key, job.project_id, UUID(job.run_id))
        self._values = ValueMaker(self._preflight.names, job.shop_names)
        self._releases = ReleaseClock(job.due_at_utc, job.time_zone, job.now_utc) if job.by_zone else None
        self._waiting: dict[str, list[Recipient]] = {}
        self._left_out: list[Outcome] = []
        self._batches = self._out_lines = 0
        self._planned = self._to_send = self._not_sendable = 0
        self._faults: Counter[str] = Counter()

    def take(self, rows: Sequence[Row]) -> Iterator[Packed]:
        """Take some people; yield what became full by them."""
        self._planned += len(rows)
        sendable = [row for row in rows if not row[6]]
        if len(sendable) < len(rows):
            self._left_out += [self._suppressed(row) for row in rows if row[6]]
        if sendable:
            self._line_up(sendable)
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

    def _line_up(self, rows: Sequence[Row]) -> None:
        """Make recipients of the rows, column by column: a third of the time of row by row."""
        guests, addresses, names, *_others, zones = zip(*rows, strict=True)
        tokens = self._tokens.make(guests, addresses)
        columns = self._values.columns(rows)
        if not self._preflight.all_certain(columns):
            self._try_each(columns, tokens)
        fields = (*columns, "unsubscribe_token")
        values = [dict(zip(fields, row, strict=True)) for row in zip(*columns.values(), tokens, strict=True)]
        shown = names if all(map(str.isprintable, names)) else [header_name(name) for name in names]
        size = self._job.batch_size
        if self._releases is None:
            waiting = self._waiting.setdefault("", [])
            place = count(len(waiting))
            waiting += [
                Recipient(next(place) % size, *one) for one in zip(guests, addresses, shown, values, strict=True)
            ]
            return
        for zone, *one in zip(zones, guests, addresses, shown, values, strict=True):
            waiting = self._waiting.setdefault(self._releases.zone(zone), [])
            waiting.append(Recipient(len(waiting) % size, *one))

    def _try_each(self, columns: Mapping[str, Sequence[Any]], tokens: Sequence[str]) -> None:
        for row in zip(*columns.values(), tokens, strict=True):
            values = dict(zip(columns, row, strict=False))
            values["unsubscribe_url"] = self._job.unsubscribe_base_url + row[-1]
            fault = self._preflight.fault(values)
            if fault:
                self._faults[fault] += 1

    def _suppressed(self, row: Row) -> Outcome:
        return Outcome(0, row[0], row[1], RecipientState.SUPPRESSED, row[6], self._job.now_utc, "")

    def _batch(self, zone: str, waiting: list[Recipient]) -> PackedBatch:
        """Make a batch of the first of those waiting, and take them from the list."""
        job = self._job
        people = tuple(waiting[: job.batch_size])
        del waiting[: job.batch_size]
        release_at = self._releases.release_at_utc(zone) if self._releases is not None else None
        payload = encode_batch(Batch(job.project_id, job.run_id, job.seal, self._batches, people, zone, release_at))
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

    def __init__(self, names: Iterable[str], shop_names: Mapping[str, str]) -> None:
        self._names = [name for name in names if name in _MADE]
        self._shops = dict(shop_names)
        self._japanese: dict[str, str] = {"": ""}

    def columns(self, rows: Sequence[Row]) -> dict[str, list[Any]]:
        """Return each name's values in the order of the rows; texts are empty where nothing is known, never missing."""
        return {name: _MADE[name](self, rows) for name in self._names}

    def _guest_names(self, rows: Sequence[Row]) -> list[Any]:
        return [row[2] for row in rows]

    def _visits(self, rows: Sequence[Row]) -> list[Any]:
        return [int(row[3]) for row in rows]

    def _days(self, rows: Sequence[Row]) -> list[Any]:
        return [row[4] for row in rows]

    def _japanese_days(self, rows: Sequence[Row]) -> list[Any]:
        known = self._japanese
        for day in {row[4] for row in rows} - known.keys():
            known[day] = japanese_day(day)
        return [known[row[4]] for row in rows]

    def _shop_names(self, rows: Sequence[Row]) -> list[Any]:
        return [self._shops.get(row[5], row[5]) for row in rows]


_MADE: dict[str, Callable[[ValueMaker, Sequence[Row]], list[Any]]] = {
    "guest_name": ValueMaker._guest_names,
    "visits": ValueMaker._visits,
    "last_visit_on": ValueMaker._days,
    "last_visit_on_ja": ValueMaker._japanese_days,
    "shop_name": ValueMaker._shop_names,
}


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
