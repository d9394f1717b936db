"""Mails that arrived: by state, one by one, and their bytes without danger."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlencode
from uuid import UUID

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from todoku.intake import queries
from todoku.intake.errors import MailMissing
from todoku.intake.replaying import todays_rules
from todoku.intake.types import MailDetail, MailState
from todoku.mail.errors import Unreadable
from todoku.mail.parse import parse_mail
from todoku.projects.types import Right
from todoku.web import words
from todoku.web.guards import MemberRequest, needs
from todoku.web.letters import as_text, count_on_bus, open_letter, raw_bytes
from todoku.web.middleware import FRAME_POLICY
from todoku.web.overview import mail_lines
from todoku.web.safe_html import clean_mail_html, framed_page

PAGE = 50


@needs(Right.SEE_BOOK)
def mails(request: MemberRequest) -> HttpResponse:
    """List mails, newest first, of one state or of all; the numbers of the balance lead here."""
    state = _state(request.GET.get("state", ""))
    before = _id(request.GET.get("before", ""))
    rows = queries.list_mails(request.project.id, state=state, limit=PAGE + 1, before=before)
    on_bus = count_on_bus(request.project.id)
    balance = queries.balance(request.project.id, on_bus)
    values = {
        "mails": [{"row": row, "word": words.MAILS[row.state], "why": words.why(row)} for row in rows[:PAGE]],
        "more": rows[PAGE - 1].arrival_id if len(rows) > PAGE else "",
        "chosen": state,
        "chosen_word": words.MAILS[state] if state else None,
        "balance": balance,
        "counted": on_bus is not None,
        "lines": mail_lines(balance),
    }
    return render(request, "web/mails.html", values)


@needs(Right.SEE_RAW_MAIL)
def mail(request: MemberRequest, arrival_id: UUID) -> HttpResponse:
    """Show one mail: what became of it, why, and its text."""
    detail = _find(request, arrival_id)
    newer, older = queries.neighbours(request.project.id, arrival_id, detail.row.state)
    values = {
        "detail": detail,
        "word": words.MAILS[detail.row.state],
        "letter": open_letter(detail),
        "newer": newer,
        "older": older,
        "read_by": _read_by(detail.rules),
        "again": _again(detail),
    }
    return render(request, "web/mail.html", values)


def _read_by(rules: str) -> str:
    """Say whether the rules that read a mail are today's."""
    if not rules:
        return _("rules of an earlier version of Todoku")
    return _("today's rules") if rules in todays_rules() else _("earlier rules (%(version)s)") % {"version": rules}


def _again(detail: MailDetail) -> str:
    """Return what the page of reading again is asked so that it chooses this mail, by source, state and minute."""
    begin = timezone.localtime(detail.row.arrived_at_utc).replace(second=0, microsecond=0, tzinfo=None)
    end = begin + timedelta(minutes=1)
    chosen = {"since": f"{begin:%Y-%m-%dT%H:%M}", "until": f"{end:%Y-%m-%dT%H:%M}", "source": detail.row.source}
    return urlencode({**chosen, "state": detail.row.state.value})


@needs(Right.SEE_RAW_MAIL)
def mail_html(request: MemberRequest, arrival_id: UUID) -> HttpResponse:
    """Show the HTML body, cleaned, for a sandboxed frame: no scripts, no forms, nothing is loaded from anywhere."""
    detail = _find(request, arrival_id)
    try:
        html = parse_mail(raw_bytes(detail)).html
    except Unreadable as error:
        raise Http404 from error
    if html is None:
        raise Http404
    page = framed_page(_("Mail as HTML"), clean_mail_html(html), get_language() or "ja")
    answer = HttpResponse(page, content_type="text/html; charset=utf-8")
    answer["Content-Security-Policy"] = FRAME_POLICY
    return answer


@needs(Right.SEE_RAW_MAIL)
def mail_raw(request: MemberRequest, arrival_id: UUID) -> HttpResponse:
    """Show the bytes as text, or hand them over as a file that no browser opens."""
    detail = _find(request, arrival_id)
    raw = raw_bytes(detail)
    if request.GET.get("download") == "1":
        answer = HttpResponse(raw, content_type="application/octet-stream")
        answer["Content-Disposition"] = f'attachment; filename="{detail.row.arrival_id}.eml"'
        return answer
    answer = HttpResponse(as_text(raw), content_type="text/plain; charset=utf-8")
    answer["Content-Security-Policy"] = FRAME_POLICY
    return answer


def _find(request: MemberRequest, arrival_id: UUID) -> MailDetail:
    try:
        return queries.get_mail(request.project.id, arrival_id)
    except MailMissing as error:
        raise Http404 from error


def _state(text: str) -> MailState | None:
    return MailState(text) if text in set(MailState) else None


def _id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
