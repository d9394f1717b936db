"""Where mails come from: what is true of each source now, its credentials, and what can be done."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from todoku.bus.connection import Bus
from todoku.bus.errors import BusError
from todoku.credentials.inventory import CredentialBook
from todoku.credentials.trial import Step, StepKind, try_source
from todoku.credentials.types import Row
from todoku.intake import backfills, queries, source_days
from todoku.intake.backfills import BackfillReport
from todoku.intake.types import END_STATES
from todoku.kernel.errors import ConfigurationError
from todoku.projects import queries as projects
from todoku.projects.types import Right
from todoku.sources.errors import BadSource, SourceError, SourceExists, SourceUnknown
from todoku.sources.kinds import KINDS, fields_of, require_settings
from todoku.sources.outages import Outage
from todoku.sources.registry import SourceBook, SourceEntry
from todoku.sources.standing import Standing, Truth, read_standings, truth_of
from todoku.web import source_words as words
from todoku.web.guards import MemberRequest, needs
from todoku.web.live import hub
from todoku.web.ports import ports
from todoku.web.words import MAILS

_TRIAL_SECONDS = 60.0
_MOST_OUTAGES = 10
_KNOWN = tuple[list[SourceEntry], dict[str, Standing], list[Row]]


@needs(Right.SEE_BOOK)
def sources(request: MemberRequest) -> HttpResponse:
    """List every source with what is true of it now; only the list when htmx asks."""
    values = _page(request)
    moving = request.headers.get("HX-Target") == "list"
    return render(request, "web/_sources.html" if moving else "web/sources.html", values)


@needs(Right.SEE_BOOK)
def source(request: MemberRequest, source: str) -> HttpResponse:
    """Show both sides of a source day by day, the states of its mails, and the names of those that are missing."""
    project_id = request.project.id
    rows = source_days.days(project_id, source, request.project.time_zone)
    check = source_days.checks(project_id).get(source)
    if not rows and check is None and not _is_named(request, source):
        raise Http404
    now_utc = ports().clock.now_utc()
    outages = _outages(request, source)[: -_MOST_OUTAGES - 1 : -1]
    states = [state for state in END_STATES if any(row.states.get(state) for row in rows)]
    values = {
        "source": source,
        "check": check,
        "states": [MAILS[state] for state in states],
        "days": [{"row": row, "states": [row.states.get(state, 0) for state in states]} for row in rows],
        "missing": [row for row in rows if row.missing],
        "outages": [_outage(backfills.report(project_id, source, one, now_utc)) for one in outages],
    }
    return render(request, "web/source.html", values)


def _outages(request: MemberRequest, source: str) -> tuple[Outage, ...]:
    """Return the outages of a source, oldest first; none when the bus is away."""
    try:
        standings = hub.ask_bus(lambda bus: read_standings(bus, request.project.id))
    except BusError:
        return ()
    standing = standings.get(source)
    return standing.outages if standing is not None else ()


def _outage(report: BackfillReport) -> dict[str, Any]:
    cause, _colon, why = report.outage.why.partition(": ")
    return {"report": report, "cause": words.CAUSES.get(cause, ""), "why": why}


def _is_named(request: MemberRequest, source: str) -> bool:
    try:
        hub.ask_bus(lambda bus: SourceBook(bus).get(request.project.id, source))
    except (SourceError, BusError):
        return False
    return True


@needs(Right.OPERATE, "POST")
def test(request: MemberRequest, source: str) -> HttpResponse:
    """Log in and list now, and show each step."""
    project_id = request.project.id

    async def ask(bus: Bus) -> list[Step]:
        entry = await SourceBook(bus).get(project_id, source)
        return [step async for step in try_source(entry, inventory(bus), ports().clock)]

    try:
        steps = hub.ask_bus(ask, timeout_seconds=_TRIAL_SECONDS)
    except SourceUnknown as error:
        raise Http404 from error
    except BusError as error:
        steps = [Step(StepKind.TROUBLE, False, error.what, why=error.what)]
    shown = [{"step": step, "text": words.step_text(step)} for step in steps]
    return render(request, "web/sources.html", {**_page(request), "tried": source, "steps": shown})


@needs(Right.OPERATE, "POST")
def act(request: MemberRequest, source: str, action: str) -> HttpResponse:
    """Pause a source, or go on with it."""
    if action not in {"pause", "resume"}:
        raise Http404

    async def change(bus: Bus) -> None:
        book = SourceBook(bus)
        entry = await book.get(request.project.id, source)
        await book.change(msgspec.structs.replace(entry, paused=action == "pause"))

    try:
        hub.ask_bus(change)
    except SourceUnknown as error:
        raise Http404 from error
    except (BusError, SourceError) as error:
        messages.error(request, _("That is not possible now: %(why)s") % {"why": error.what})
    return redirect("sources")


@needs(Right.OPERATE, "GET", "HEAD", "POST")
def new(request: MemberRequest) -> HttpResponse:
    """Ask for the settings of a kind, and add the source."""
    kind = request.POST.get("kind") or request.GET.get("kind", "")
    if kind not in KINDS:
        kinds = [{"name": name, "text": words.KINDS.get(name, name)} for name in KINDS]
        return render(request, "web/source_new.html", {"kinds": kinds})
    problem = ""
    if request.method == "POST":
        problem = _add(request, kind)
        if not problem:
            messages.success(request, _("The source is looked at from now on."))
            return redirect("sources")
    return render(request, "web/source_new.html", _form(request, kind, problem))


def inventory(bus: Bus) -> CredentialBook:
    """Return the credentials as config connected them."""
    opened = ports().inventory
    if opened is None:
        raise ConfigurationError("web.ports.connect was given no inventory of credentials")
    return opened(bus)


def _page(request: MemberRequest) -> dict[str, Any]:
    project_id = request.project.id

    async def ask(bus: Bus) -> _KNOWN:
        return (
            await SourceBook(bus).list(project_id),
            await read_standings(bus, project_id),
            await inventory(bus).rows(project_id),
        )

    try:
        entries, standings, rows = hub.ask_bus(ask)
        bus_here = True
    except BusError:
        entries, standings, rows, bus_here = [], {}, [], False
    credentials = {row.credential_id: credential_values(row) for row in rows}
    counts = queries.arrivals_per_source(project_id)
    totals, checks = source_days.totals(project_id), source_days.checks(project_id)
    configured = {entry.source for entry in entries}
    return {
        "bus_here": bus_here,
        "sources": [
            _source(entry, standings.get(entry.source), credentials, counts)
            | {"total": totals.get(entry.source), "check": checks.get(entry.source)}
            for entry in entries
        ],
        "doors": [
            {"name": name, "count": count, "last_utc": last}
            for name, (count, last) in sorted(counts.items())
            if name not in configured
        ],
        "credentials": list(credentials.values()),
    }


def _source(
    entry: SourceEntry,
    standing: Standing | None,
    credentials: dict[str, dict[str, Any]],
    counts: dict[str, tuple[int, datetime]],
) -> dict[str, Any]:
    now_utc = ports().clock.now_utc()
    truth = truth_of(entry, standing, now_utc)
    look = standing.look if standing is not None else None
    cause, _colon, why = look.why.partition(": ") if look is not None else ("", "", "")
    arrived, last_utc = counts.get(entry.source, (0, None))
    fresh, done = (standing.fresh, standing.done) if standing is not None else (0, 0)
    return {
        "entry": entry,
        "kind": words.KINDS.get(entry.kind, entry.kind),
        "word": words.TRUTHS[truth],
        "truth": truth.value,
        "look": look,
        "standing": standing,
        "cause": words.CAUSES.get(cause, ""),
        "why": why,
        "arrived": arrived,
        "last_utc": last_utc,
        "done": done,
        "fresh": fresh,
        "part": round(1000 * done / fresh) if fresh else 0,
        "ready_utc": _forecast(standing, now_utc) if truth is Truth.FETCHING else None,
        "credentials": [credentials.get(name, {"name": name, "missing": True}) for name in entry.credential_ids],
    }


def _forecast(standing: Standing | None, now_utc: datetime) -> datetime | None:
    """Return when the look that is under way will have fetched all, by its pace so far."""
    if standing is None or standing.under_way_since_utc is None or standing.done < 1:
        return None
    spent = standing.at_utc - standing.under_way_since_utc
    return now_utc + timedelta(seconds=spent.total_seconds() * (standing.fresh - standing.done) / standing.done)


def credential_values(row: Row) -> dict[str, Any]:
    """Return what a page shows of a credential."""
    left = row.life_left
    return {
        "name": row.credential_id,
        "kind": words.CREDENTIAL_KINDS[row.kind],
        "row": row,
        "word": words.CONDITIONS[row.condition],
        "percent": round(100 * left) if left is not None else None,
        "part": round(1000 * left) if left is not None else 0,
    }


def _add(request: MemberRequest, kind: str) -> str:
    """Add the source that the form describes; return why that is not possible, "" when it was."""
    given = {field.name: request.POST.get(f"s-{field.name}", "").strip() for field in fields_of(kind)}
    try:
        entry = SourceEntry(
            project_id=request.project.id,
            source=request.POST.get("source", "").strip(),
            kind=kind,
            settings={name: value for name, value in given.items() if value},
            credential_ids=tuple(one for one in request.POST.getlist("credential") if one),
            shop_code=request.POST.get("shop") or None,
        )
        require_settings(entry)
        hub.ask_bus(lambda bus: SourceBook(bus).add(entry))
    except (BadSource, SourceExists, BusError) as error:
        return error.what
    return ""


def _form(request: MemberRequest, kind: str, problem: str) -> dict[str, Any]:
    fields = [
        {
            "name": field.name,
            "text": words.field_name(field.name),
            "value": request.POST.get(f"s-{field.name}", field.usual),
            "needed": field.needed,
            "long": field.name in words.LONG_FIELDS,
            "choices": [{"value": one, "text": words.CHOICES.get(one, one)} for one in field.choices],
        }
        for field in fields_of(kind)
    ]

    async def ask(bus: Bus) -> list[Row]:
        return await inventory(bus).rows(request.project.id)

    try:
        rows = hub.ask_bus(ask)
    except BusError:
        rows = []
    wanted = KINDS[kind].logs_in_with
    return {
        "kind": kind,
        "kind_text": words.KINDS.get(kind, kind),
        "fields": fields,
        "problem": problem,
        "source": request.POST.get("source", ""),
        "asks": bool(wanted),
        "credentials": [row.credential_id for row in rows if row.kind in wanted],
        "shops": projects.list_shops(request.project.id),
    }
