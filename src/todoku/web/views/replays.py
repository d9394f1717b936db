"""Reading mails again after a rule was mended: choose, see what would change, then change it; stop at any time."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from todoku.extraction.types import Event
from todoku.intake import replays as orders
from todoku.intake.differences import Difference, ValueChange
from todoku.intake.errors import ReplayMissing, ReplayUnderWay
from todoku.intake.replaying import Chosen
from todoku.intake.replays import ReplayReport
from todoku.intake.types import GIVEN_BY_THE_BOOK, MailState
from todoku.projects import queries as projects
from todoku.projects.types import Right
from todoku.web import words
from todoku.web.guards import MemberRequest, needs
from todoku.web.ports import ports
from todoku.web.replay_form import ReplayForm
from todoku.web.templatetags.todoku import clock, day, phone

SHOWN_MEANWHILE = 20
_MOMENTS = ("start", "end", "issued_at", "previous.start")


@needs(Right.OPERATE, "GET", "POST")
def replays(request: MemberRequest) -> HttpResponse:
    """Choose mails and look what reading them again would change; a dry run, so nothing can go wrong here."""
    form = ReplayForm(request.POST if request.method == "POST" else request.GET, project=request.project)
    if request.method == "POST" and form.is_valid():
        return _ask(request, form.chosen, apply=False)
    values = {
        "form": form,
        "show_errors": request.method == "POST",
        "earlier": [_line(request, one) for one in orders.recent(request.project.id)],
    }
    return render(request, "web/replays.html", values, status=422 if request.method == "POST" else 200)


@needs(Right.OPERATE)
def replay(request: MemberRequest, replay_id: UUID) -> HttpResponse:
    """Show how far a replay is and what it found; only that part when htmx asks."""
    report = _find(request, replay_id)
    came_to = report.came_to
    shown = came_to.different if report.ended else came_to.different[:SHOWN_MEANWHILE]
    values = _line(request, report) | {
        "percent": min(100, came_to.read * 100 // report.mails) if report.mails else 100,
        "kinds": [
            {"before": words.MAILS[before], "after": _after(before, after), "count": count}
            for (before, after), count in came_to.kinds.most_common()
        ],
        "different": [_shown(one) for one in shown],
        "hidden": came_to.differing - len(shown),
    }
    return render(request, "web/_replay.html" if request.htmx else "web/replay.html", values)


@needs(Right.OPERATE, "POST")
def replay_act(request: MemberRequest, replay_id: UUID, action: str) -> HttpResponse:
    """Apply what a dry run found, or stop a replay where it is."""
    report = _find(request, replay_id)
    if action == "apply" and report.ended and not report.apply:
        return _ask(request, report.chosen, apply=True)
    if action != "stop":
        raise Http404
    orders.stop(request.project.id, replay_id, by=request.member.signature, clock=ports().clock)
    return redirect("replay", replay_id=replay_id)


def _ask(request: MemberRequest, chosen: Chosen, *, apply: bool) -> HttpResponse:
    by = request.member.signature
    try:
        replay_id = orders.ask(request.project.id, chosen, apply=apply, asked_by=by, clock=ports().clock)
    except ReplayUnderWay:
        messages.error(request, _("Mails are being read again already. Wait until that ends, or stop it."))
        return redirect("replays")
    return redirect("replay", replay_id=replay_id)


def _find(request: MemberRequest, replay_id: UUID) -> ReplayReport:
    try:
        return orders.find(request.project.id, replay_id)
    except ReplayMissing as error:
        raise Http404 from error


def _line(request: MemberRequest, report: ReplayReport) -> dict[str, Any]:
    return {"report": report, "word": words.REPLAYS[report.state], "chosen": _chosen(request, report.chosen)}


def _chosen(request: MemberRequest, chosen: Chosen) -> list[str]:
    """Say which mails these are, part by part."""
    shops = {shop.code: shop.name for shop in projects.list_shops(request.project.id)}
    parts = [
        _("arrived from %(at)s") % {"at": _at(chosen.since_utc)} if chosen.since_utc else "",
        _("arrived before %(at)s") % {"at": _at(chosen.until_utc)} if chosen.until_utc else "",
        str(words.MAILS[chosen.state].text) if chosen.state else "",
        words.site_name(chosen.site) if chosen.site else "",
        shops.get(chosen.shop_code, chosen.shop_code) if chosen.shop_code else "",
        chosen.source or "",
        _("not read by today's rules") if chosen.rules else "",
    ]
    return [part for part in parts if part] or [_("all mails")]


def _after(before: MailState, after: MailState) -> words.Word:
    if after is not MailState.APPLIED:
        return words.MAILS[after]
    return words.OTHER_VALUES if before in GIVEN_BY_THE_BOOK else words.BOOK_DECIDES


def _shown(one: Difference) -> dict[str, Any]:
    return {
        "arrival_id": one.arrival_id,
        "subject": one.subject,
        "reference": one.reference,
        "before": words.MAILS[one.before],
        "after": _after(one.before, one.after),
        "why": words.reason(one.reason_after) if one.reason_after else "",
        "values": [_value(value) for value in one.values],
    }


def _value(change: ValueChange) -> dict[str, Any]:
    return {
        "label": words.FIELDS.get(change.field, change.field),
        "was": _text(change.field, change.before),
        "now": _text(change.field, change.after),
    }


def _text(field: str, stated: str) -> str:
    """Write a value as the book's page writes it."""
    if not stated:
        return ""
    if field in _MOMENTS:
        return _at(datetime.fromisoformat(stated))
    if field == "guest.phone":
        return phone(stated)
    if field == "site":
        return words.site_name(stated)
    return str(words.EVENTS[Event(stated)].text) if field == "event" else stated


def _at(at_utc: datetime) -> str:
    return f"{day(at_utc)} {clock(at_utc)}"
