"""The demo's outbox: what the built-in sink received. Not there in real installations."""

from __future__ import annotations

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils.translation import get_language

from todoku.mail.errors import Unreadable
from todoku.mail.parse import parse_mail
from todoku.projects.types import Right
from todoku.web.guards import MemberRequest, needs
from todoku.web.letters import as_text
from todoku.web.middleware import FRAME_POLICY
from todoku.web.ports import Outbox, OutboxMessage, ports
from todoku.web.safe_html import clean_mail_html, framed_page

PAGE = 50


@needs(Right.SEE_GUESTS)
def outbox(request: MemberRequest) -> HttpResponse:
    """List what the sink accepted, newest first."""
    sink = _outbox()
    page = request.GET.get("page", "")
    number = max(1, int(page)) if page.isdecimal() and len(page) < 7 else 1
    count = sink.count()
    values = {
        "messages_seen": [_line(one) for one in sink.newest(PAGE, (number - 1) * PAGE)],
        "count": count,
        "next_page": number + 1 if count > number * PAGE else None,
        "previous_page": number - 1 if number > 1 else None,
    }
    return render(request, "web/outbox.html", values)


@needs(Right.SEE_GUESTS)
def outbox_message(request: MemberRequest, number: int) -> HttpResponse:
    """Show one message as its receiver would see it."""
    message = _message(number)
    try:
        parsed = parse_mail(message.raw)
    except Unreadable:
        parsed = None
    values = {"message": message, "parsed": parsed, "raw": as_text(message.raw)}
    return render(request, "web/outbox_message.html", values)


@needs(Right.SEE_GUESTS)
def outbox_html(request: MemberRequest, number: int) -> HttpResponse:
    """Show a message's HTML, for a sandboxed frame."""
    try:
        parsed = parse_mail(_message(number).raw)
    except Unreadable as error:
        raise Http404 from error
    page = framed_page(parsed.subject, clean_mail_html(parsed.html or ""), get_language() or "ja")
    answer = HttpResponse(page, content_type="text/html; charset=utf-8")
    answer["Content-Security-Policy"] = FRAME_POLICY
    return answer


def _outbox() -> Outbox:
    sink = ports().outbox
    if sink is None:
        raise Http404
    return sink


def _message(number: int) -> OutboxMessage:
    message = _outbox().get(number)
    if message is None:
        raise Http404
    return message


def _line(message: OutboxMessage) -> dict[str, object]:
    try:
        subject = parse_mail(message.raw).subject
    except Unreadable:
        subject = ""
    return {"message": message, "subject": subject}
