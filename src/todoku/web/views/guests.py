"""Guests: who they are, what they agreed to, what they were sent."""

from __future__ import annotations

from uuid import UUID

import structlog
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from todoku.campaigns import queries as campaigns
from todoku.delivery.ledger import queries as ledger
from todoku.delivery.types import DeliveryRow, RecipientState
from todoku.guests import queries, services
from todoku.guests.errors import GuestMissing
from todoku.guests.types import GuestDetail, GuestRow, SuppressionReason
from todoku.projects import queries as projects
from todoku.projects.types import Right
from todoku.vault.errors import VaultError
from todoku.web import words
from todoku.web.guards import MemberRequest, needs
from todoku.web.live import hub
from todoku.web.ports import ports

log = structlog.get_logger(__name__)

PAGE = 50
SENT_SHOWN = 50


@needs(Right.SEE_GUESTS)
def guests(request: MemberRequest) -> HttpResponse:
    """List guests, or those that a name, phone or address finds."""
    text = request.GET.get("q", "").strip()[:100]
    page = request.GET.get("page", "")
    number = max(1, int(page)) if page.isdecimal() and len(page) < 7 else 1
    rows = queries.search(request.project.id, text, limit=PAGE + 1, offset=(number - 1) * PAGE)
    values = {
        "guests": [_entry(row) for row in rows[:PAGE]],
        "text": text,
        "page": number,
        "next_page": number + 1 if len(rows) > PAGE else None,
        "previous_page": number - 1 if number > 1 else None,
        "total": queries.count(request.project.id),
    }
    fragment = request.headers.get("HX-Target") == "found"
    return render(request, "web/_guests.html" if fragment else "web/guests.html", values)


@needs(Right.SEE_GUESTS)
def guest(request: MemberRequest, guest_id: UUID) -> HttpResponse:
    """Show one guest: visits, consent, what was sent."""
    detail = _find(request, guest_id)
    shops = {shop.code: shop.name for shop in projects.list_shops(request.project.id)}
    sent, complete = _sent(request.project.id, detail.row.id)
    campaign_names = campaigns.names_of_runs(request.project.id, {one.run_id for one in sent})
    values = {
        "detail": detail,
        "row": detail.row,
        "entry": _entry(detail.row),
        "visits": [{"visit": one, "shop": shops.get(one.shop_code or "", "")} for one in detail.visits],
        "sent": [
            {
                "row": one,
                "word": words.RECIPIENTS[RecipientState(one.state)],
                "name": campaign_names.get(one.run_id, ""),
            }
            for one in sent
        ],
        "complete": complete,
    }
    return render(request, "web/guest.html", values)


@needs(Right.EDIT_GUESTS, "POST")
def guest_mailing(request: MemberRequest, guest_id: UUID) -> HttpResponse:
    """Stop mail to a guest's addresses, or allow it again."""
    detail = _find(request, guest_id)
    by = request.member.display_name
    for address in detail.row.emails:
        if request.POST.get("action") == "stop":
            services.suppress(
                request.project.id, address, SuppressionReason.MANUAL, evidence=f"web: {by}", clock=ports().clock
            )
            hub.stop_mail(request.project.id, address, SuppressionReason.MANUAL.value)
        elif request.POST.get("action") == "allow":
            services.allow_again(request.project.id, address, by=by, clock=ports().clock)
            hub.allow_mail(request.project.id, address)
    messages.success(request, _("Saved."))
    return redirect("guest", guest_id=guest_id)


def _sent(project_id: str, guest_id: UUID) -> tuple[list[DeliveryRow], bool]:
    """Return what was sent to a guest, newest first, and whether that is all: the archive may be out of reach."""
    found: list[DeliveryRow] = []
    complete = True
    for one in queries.all_ids(project_id, guest_id):
        try:
            found += ledger.sent_to_guest(project_id, one, SENT_SHOWN)
        except VaultError as error:
            log.warning("web.archive_away", error=str(error))
            complete = False
    return sorted(found, key=lambda row: row.at_utc, reverse=True)[:SENT_SHOWN], complete


def _find(request: MemberRequest, guest_id: UUID) -> GuestDetail:
    try:
        return queries.get(request.project.id, guest_id)
    except GuestMissing as error:
        raise Http404 from error


def _entry(row: GuestRow) -> dict[str, object]:
    tone = "good" if row.may_be_mailed else "off"
    word = words.Word(
        words.not_mailed("" if row.may_be_mailed else row.why_not), "mail" if row.may_be_mailed else "none", tone
    )
    return {"row": row, "word": word}
