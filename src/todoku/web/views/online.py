"""Online and the book: what came in, live; one reservation beside its mail; who comes on a day."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from uuid import UUID

from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.translation import gettext as _

from todoku.guests import queries as guests
from todoku.intake.errors import MailMissing
from todoku.projects import queries as projects
from todoku.projects.types import Right
from todoku.reservations import queries, services
from todoku.reservations.errors import ReservationMissing
from todoku.reservations.types import ReservationDetail, ReservationRow
from todoku.web import words
from todoku.web.guards import MemberRequest, needs
from todoku.web.letters import find_letter
from todoku.web.live import hub
from todoku.web.ports import ports
from todoku.web.present import announcement, fields, party, visit

SHOWN = 100


@needs(Right.SEE_BOOK)
def online(request: MemberRequest) -> HttpResponse:
    """Show what came in, unhandled first, newest first; the list alone when htmx asks."""
    values = _rack(request)
    if request.headers.get("HX-Target") == "slips":
        return render(request, "web/_slips.html", values)
    values["shops"] = projects.list_shops(request.project.id)
    values["sites"] = words.site_ids()
    return render(request, "web/online.html", values)


@needs(Right.SEE_BOOK)
def badge(request: MemberRequest) -> HttpResponse:
    """Show how many wait, for the navigation."""
    return render(request, "web/_badge.html", {"unhandled": queries.count_unhandled(request.project.id)})


@needs(Right.SEE_BOOK)
def reservation(request: MemberRequest, reservation_id: UUID) -> HttpResponse:
    """Show one reservation beside its mail; without the frame when it goes into the second pane."""
    values = _opened(request, _find(request, reservation_id))
    in_pane = request.headers.get("HX-Target") == "pane"
    return render(request, "web/_reservation.html" if in_pane else "web/reservation.html", values | {"pane": in_pane})


@needs(Right.HANDLE_RESERVATIONS, "POST")
def handle(request: MemberRequest, reservation_id: UUID) -> HttpResponseBase:
    """Note that a person dealt with the reservation as it was shown."""
    version = request.POST.get("version", "")
    done = services.mark_handled(
        request.project.id,
        reservation_id,
        by=request.member.display_name,
        clock=ports().clock,
        version=int(version) if version.isdecimal() else None,
    )
    detail = _find(request, reservation_id)
    if done:
        hub.publish(request.project.id, "reservation", {"reservation_id": str(reservation_id)})
    if request.headers.get("HX-Request") != "true":
        return redirect("reservation", reservation_id=reservation_id)
    if request.headers.get("HX-Target") == "pane":
        answer = render(request, "web/_reservation.html", _opened(request, detail) | {"pane": True})
    else:
        answer = render(request, "web/_slip.html", {"slip": _slip(detail.row)})
    if not done and detail.row.handled_at_utc is None:
        answer["HX-Trigger"] = _toast(_("It has just changed. Please look again."))
    return answer


@needs(Right.SEE_BOOK)
def book(request: MemberRequest) -> HttpResponse:
    """Show who comes on one day, or what a search finds."""
    today = timezone.localtime(ports().clock.now_utc()).date()
    chosen = _day(request.GET.get("day", "")) or today
    text = request.GET.get("q", "").strip()[:100]
    if text:
        rows = queries.search(request.project.id, text, SHOWN)
    else:
        rows = queries.upcoming(request.project.id, day=chosen, time_zone=request.project.time_zone)
    coming = [row for row in rows if row.party_size]
    values = {
        "slips": [_slip(row) for row in rows],
        "text": text,
        "day": chosen,
        "today": today,
        "previous_day": chosen - timedelta(days=1),
        "next_day": chosen + timedelta(days=1),
        "people": party(sum(row.party_size or 0 for row in coming)) if coming else "",
    }
    return render(request, "web/book.html", values)


def _rack(request: MemberRequest) -> dict[str, Any]:
    shop, site = request.GET.get("shop") or None, request.GET.get("site") or None
    waiting = request.GET.get("waiting") == "1"
    rows = queries.online(request.project.id, shop_code=shop, site=site, unhandled_only=waiting, limit=SHOWN)
    return {
        "slips": [_slip(row) for row in rows],
        "unhandled": queries.count_unhandled(request.project.id),
        "shop": shop,
        "site": site,
        "waiting": waiting,
        "filtered": bool(shop or site or waiting),
    }


def _slip(row: ReservationRow) -> dict[str, Any]:
    event = words.EVENTS[row.last_event]
    changed = {line.name: line for line in fields(row) if line.changed} if row.changed else {}
    return {
        "row": row,
        "event": event,
        "state": words.RESERVATIONS[row.state],
        "say": announcement(row, str(event.text)),
        "party": party(row.party_size),
        "was_start": changed["start"].was if "start" in changed else "",
        "was_party": changed["party_size"].was if "party_size" in changed else "",
    }


def _find(request: MemberRequest, reservation_id: UUID) -> ReservationDetail:
    try:
        return queries.get(request.project.id, reservation_id)
    except ReservationMissing as error:
        raise Http404 from error


def _opened(request: MemberRequest, detail: ReservationDetail) -> dict[str, Any]:
    row = detail.row
    arrival_id = _arrival(request, detail)
    letter = None
    if request.member.may(Right.SEE_RAW_MAIL):
        try:
            letter = find_letter(request.project.id, arrival_id)
        except MailMissing:
            letter = None
    guest_id = None
    if request.member.may(Right.SEE_GUESTS):
        guest_id = guests.guest_of_reservation(request.project.id, row.id)
    return {
        "row": row,
        "slip": _slip(row),
        "fields": fields(row, detail.history),
        "letter": letter,
        "arrival_id": arrival_id,
        "guest_id": guest_id,
        "history": [
            {
                "entry": entry,
                "event": words.EVENTS[entry.event],
                "effect": words.EFFECTS[entry.effect],
                "said": " ".join(part for part in (visit(entry.facts.start), party(entry.facts.party_size)) if part),
                "shown": entry.arrival_id == arrival_id,
            }
            for entry in reversed(detail.history)
        ],
    }


def _arrival(request: MemberRequest, detail: ReservationDetail) -> UUID:
    wanted = request.GET.get("mail", "")
    return next(
        (entry.arrival_id for entry in detail.history if str(entry.arrival_id) == wanted), detail.row.last_arrival_id
    )


def _day(text: str) -> date | None:
    try:
        return parse_date(text)
    except ValueError:
        return None


def _toast(text: str) -> str:
    import json

    return json.dumps({"toast": text})
