"""One run: live pace and forecast, balance, timeline, the names behind each number, and remedies in place."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.contrib import messages
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _

from todoku.campaigns import names_csv, queries, services
from todoku.campaigns.errors import CampaignMissing, CampaignsError
from todoku.campaigns.types import CampaignRow, RunKind, RunRow, RunState
from todoku.delivery.ledger import queries as ledger
from todoku.delivery.types import TERMINAL_STATES, DeliveryRow, RecipientState
from todoku.guests import queries as guests
from todoku.projects.types import Right
from todoku.vault.errors import VaultError
from todoku.web import words
from todoku.web.guards import MemberRequest, needs
from todoku.web.live import hub
from todoku.web.overview import run_lines
from todoku.web.ports import ports
from todoku.web.readiness import late_by, run_sentence
from todoku.web.run_chart import chart
from todoku.web.schedule_words import KINDS, japanese, reason_words, repeat_words
from todoku.web.timeline_words import told
from todoku.web.views.campaigns import history_entry, waiting_banner
from todoku.web.views.editor import shown_subject

log = structlog.get_logger(__name__)

PAGE = 100
MOST_FOUND = 20
NEAR = timedelta(minutes=10)
_OVER = (RunState.FINISHED, RunState.STOPPED, RunState.MISSED)
# refused for good, out of time, not written, left by a stop; `unknown` only after an explicit tick
RESENDABLE = (
    RecipientState.REFUSED,
    RecipientState.EXPIRED,
    RecipientState.UNRENDERABLE,
    RecipientState.PENDING,
    RecipientState.UNKNOWN,
)
RUN_ACTIONS = {"send-now": "send_run_now", "skip": "skip_run"}


@needs(Right.SEE_CAMPAIGNS)
def run(request: MemberRequest, run_id: UUID) -> HttpResponse:
    """Show how a run goes; only the moving part when htmx asks."""
    row = _find(request, run_id)
    campaign = queries.get(request.project.id, row.campaign_id)
    now_utc = ports().clock.now_utc()
    values = _moving(request, row, campaign)
    if request.headers.get("HX-Target") == "progress":
        return render(request, "web/_run.html", values)
    values |= {
        "subject": shown_subject(request, campaign),
        "repeat": repeat_words(campaign.plan),
        "history": [history_entry(one, now_utc) for one in queries.runs(request.project.id, row.campaign_id)],
        "found": _search(request, row),
        "text": request.GET.get("q", "").strip()[:254],
    }
    return render(request, "web/run.html", values)


@needs(Right.SEE_GUESTS)
def names(request: MemberRequest, run_id: UUID, state: str) -> HttpResponse:
    """List the recipients in one state: the names behind a number."""
    row = _find(request, run_id)
    chosen = _terminal(state)
    after = request.GET.get("after", "")
    archive_away = False
    try:
        found = ledger.names(request.project.id, run_id, chosen, limit=PAGE + 1, after=after or None)
    except VaultError as error:
        log.warning("web.archive_away", run_id=str(run_id), error=str(error))
        found, archive_away = [], True
    values = {
        "archive_away": archive_away,
        "run": row,
        "campaign": queries.get(request.project.id, row.campaign_id),
        "names": found[:PAGE],
        "word": words.RECIPIENTS[chosen],
        "state": chosen.value,
        "count": row.balance.as_dict()[chosen.value],
        "after": found[PAGE - 1].cursor if len(found) > PAGE else "",
    }
    return render(request, "web/run_names.html", values)


@needs(Right.SEE_GUESTS)
def names_file(request: MemberRequest, run_id: UUID, state: str = "") -> StreamingHttpResponse:
    """Stream the names behind one number, or all of them, as a CSV."""
    row = _find(request, run_id)
    states = (_terminal(state),) if state else ()
    campaign = queries.get(request.project.id, row.campaign_id)
    pieces: Iterator[bytes] = names_csv.stream(
        request.project.id, run_id, states, language="ja" if japanese() else "en"
    )
    answer = StreamingHttpResponse(pieces, content_type="text/csv; charset=utf-8")
    name = names_csv.file_name(campaign.name, state)
    answer["Content-Disposition"] = content_disposition_header(as_attachment=True, filename=name) or "attachment"
    return answer


@needs(Right.SEND_CAMPAIGNS, "POST")
def resend(request: MemberRequest, run_id: UUID) -> HttpResponse:
    """Send to those whom the run did not reach, in the ticked states."""
    _find(request, run_id)
    offered = {one.value: one for one in RESENDABLE}
    states = tuple(offered[one] for one in request.POST.getlist("states") if one in offered)
    if RecipientState.UNKNOWN in states and request.POST.get("sure") != "on":
        messages.error(request, _("Say that some may get it twice, or leave out the uncertain ones."))
        return redirect("run", run_id=run_id)
    if not states:
        messages.error(request, _("Nobody was chosen."))
        return redirect("run", run_id=run_id)
    try:
        made = services.send_to_not_reached(
            request.project.id, run_id, states=states, by=request.member.signature, clock=ports().clock
        )
    except CampaignsError as error:
        messages.error(request, _("That is not possible now: %(why)s") % {"why": error})
        return redirect("run", run_id=run_id)
    hub.publish(request.project.id, "run", {"run_id": str(made)})
    return redirect("run", run_id=made)


@needs(Right.SEND_CAMPAIGNS, "POST")
def run_act(request: MemberRequest, run_id: UUID, action: str) -> HttpResponse:
    """Send a waiting or missed run now, or do without it."""
    if action not in RUN_ACTIONS:
        raise Http404
    _find(request, run_id)
    try:
        getattr(services, RUN_ACTIONS[action])(
            request.project.id, run_id, by=request.member.signature, clock=ports().clock
        )
    except CampaignsError as error:
        messages.error(request, _("That is not possible now: %(why)s") % {"why": error})
    hub.publish(request.project.id, "run", {"run_id": str(run_id)})
    return redirect("run", run_id=run_id)


def _moving(request: MemberRequest, row: RunRow, campaign: CampaignRow) -> dict[str, Any]:
    project_id, clock = request.project.id, ports().clock
    now_utc = clock.now_utc()
    balance, sending = row.balance, row.state is RunState.SENDING
    return {
        "run": row,
        "campaign": campaign,
        "word": words.RUNS[row.state],
        "kind": KINDS[row.kind],
        "sentence": run_sentence(row, now_utc),
        "reason": reason_words(row.reason, row.reason_ja),
        "late": late_by(row, now_utc),
        "cause": reason_words(row.cause, row.cause_ja),
        "approval": waiting_banner(request, campaign),
        "newest": campaign.run is not None and campaign.run.id == row.id,
        "lines": run_lines(balance),
        "over": row.state in _OVER,
        "again_seconds": _again_seconds(row, now_utc),
        "percent": 100 * balance.terminal // balance.planned if balance.planned else 0,
        "pace": ledger.pace(project_id, row.id, clock=clock) if sending else 0.0,
        "last_mail": ledger.forecast(project_id, row.id, balance.pending, clock=clock) if sending else None,
        "chart": chart(ledger.by_minute(project_id, row.id)) if row.started_at_utc is not None else None,
        "timeline": told(queries.timeline(project_id, row.id), row),
        "not_reached": _not_reached(row),
    }


def _again_seconds(row: RunRow, now_utc: datetime) -> int:
    """Return how soon the page asks again by itself: the planner's steps (sealed, finished) send no signal."""
    moving = row.state in (RunState.SENDING, RunState.SEALING) or abs(row.due_at_utc - now_utc) < NEAR
    return 3 if moving else 60


def _not_reached(row: RunRow) -> list[dict[str, Any]]:
    """Return whom one could write to again, once the run is over; [] for a test."""
    if row.state not in (RunState.FINISHED, RunState.STOPPED) or row.kind is RunKind.TEST:
        return []
    numbers = row.balance.as_dict()
    usual = services.NOT_REACHED
    return [
        {"state": one.value, "word": words.RECIPIENTS[one], "count": numbers[one.value], "usual": one in usual}
        for one in RESENDABLE
        if numbers[one.value]
    ]


def _search(request: MemberRequest, row: RunRow) -> list[dict[str, Any]]:
    """Return what became of the messages to a person: found by guest, because a run may have millions of lines."""
    text = request.GET.get("q", "").strip()[:254]
    if not text or not request.member.may(Right.SEE_GUESTS):
        return []
    try:
        return [{"row": one, "word": words.RECIPIENTS[RecipientState(one.state)]} for one in _rows(request, row, text)]
    except VaultError as error:
        log.warning("web.archive_away", run_id=str(row.id), error=str(error))
        messages.error(request, _("Older messages are in the archive, which can't be read just now."))
        return []


def _rows(request: MemberRequest, row: RunRow, text: str) -> list[DeliveryRow]:
    project_id = request.project.id
    if row.kind is RunKind.TEST:
        return [one for one in ledger.run_rows(project_id, row.id) if text.casefold() in one.address.casefold()]
    found: dict[str, DeliveryRow] = {}
    for guest in guests.search(project_id, text, limit=MOST_FOUND):
        for guest_id in guests.all_ids(project_id, guest.id):
            for one in ledger.sent_to_guest(project_id, guest_id, 200):
                if one.run_id == row.id:
                    found[one.cursor] = one
    return list(found.values())


def _terminal(state: str) -> RecipientState:
    if state not in {one.value for one in TERMINAL_STATES}:
        raise Http404
    return RecipientState(state)


def _find(request: MemberRequest, run_id: UUID) -> RunRow:
    try:
        return queries.get_run(request.project.id, run_id)
    except CampaignMissing as error:
        raise Http404 from error
