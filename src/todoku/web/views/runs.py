"""One run of a campaign: live progress, the balance, and the names behind each number."""

from __future__ import annotations

from uuid import UUID

from django.http import Http404, HttpResponse
from django.shortcuts import render

from todoku.campaigns import queries
from todoku.campaigns.errors import CampaignMissing
from todoku.campaigns.types import RunRow, RunState
from todoku.delivery.ledger import queries as ledger
from todoku.delivery.types import TERMINAL_STATES, RecipientState
from todoku.projects.types import Right
from todoku.web import words
from todoku.web.guards import MemberRequest, needs
from todoku.web.overview import run_lines
from todoku.web.views.campaigns import shown_subject

PAGE = 100
_OVER = (RunState.FINISHED, RunState.STOPPED, RunState.MISSED)


@needs(Right.SEE_CAMPAIGNS)
def run(request: MemberRequest, run_id: UUID) -> HttpResponse:
    """Show how a run goes; only the moving part when htmx asks."""
    row = _find(request, run_id)
    campaign = queries.get(request.project.id, row.campaign_id)
    values = {
        "run": row,
        "campaign": campaign,
        "word": words.RUNS[row.state],
        "lines": run_lines(row.balance),
        "over": row.state in _OVER,
        "percent": 100 * row.balance.terminal // row.balance.planned if row.balance.planned else 0,
    }
    if request.headers.get("HX-Target") == "progress":
        return render(request, "web/_run.html", values)
    values["subject"] = shown_subject(request, campaign)
    values["audit"] = queries.audit(request.project.id, row.campaign_id)
    values["earlier"] = [
        {"run": one, "word": words.RUNS[one.state]}
        for one in queries.runs(request.project.id, row.campaign_id)
        if one.id != run_id
    ]
    return render(request, "web/run.html", values)


@needs(Right.SEE_GUESTS)
def names(request: MemberRequest, run_id: UUID, state: str) -> HttpResponse:
    """List the recipients in one state: the names behind a number."""
    row = _find(request, run_id)
    if state not in {one.value for one in TERMINAL_STATES}:
        raise Http404
    chosen = RecipientState(state)
    after = request.GET.get("after", "")
    found = ledger.names(request.project.id, run_id, chosen, limit=PAGE + 1, after=after or None)
    values = {
        "run": row,
        "campaign": queries.get(request.project.id, row.campaign_id),
        "names": found[:PAGE],
        "word": words.RECIPIENTS[chosen],
        "count": row.balance.as_dict()[chosen.value],
        "after": found[PAGE - 1].cursor if len(found) > PAGE else "",
    }
    return render(request, "web/run_names.html", values)


def _find(request: MemberRequest, run_id: UUID) -> RunRow:
    try:
        return queries.get_run(request.project.id, run_id)
    except CampaignMissing as error:
        raise Http404 from error
