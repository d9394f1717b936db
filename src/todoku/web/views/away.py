"""What happened while nobody looked: late, held and missed runs, each with its remedies, one or all at once."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from todoku.campaigns import queries, services
from todoku.campaigns.types import AwayRow
from todoku.projects.types import Right
from todoku.web.guards import MemberRequest, needs
from todoku.web.live import hub
from todoku.web.ports import ports
from todoku.web.readiness import late_by, run_sentence
from todoku.web.schedule_words import AWAY, REMEDIES, REMEDIES_ALL, reason_words


@needs(Right.SEE_CAMPAIGNS)
def away(request: MemberRequest) -> HttpResponse:
    """List every run that somebody should know of; only the list when htmx asks."""
    rows = queries.while_away(request.project.id, clock=ports().clock)
    values = {"rows": [_entry(one) for one in rows], "remedies_all": _for_all(rows)}
    moving = request.headers.get("HX-Target") == "list"
    return render(request, "web/_away.html" if moving else "web/away.html", values)


@needs(Right.SEND_CAMPAIGNS, "POST")
def remedy(request: MemberRequest) -> HttpResponse:
    """Do one thing with the named runs, or with all that it can help."""
    action = request.POST.get("action", "")
    rows = queries.while_away(request.project.id, clock=ports().clock)
    named = set(request.POST.getlist("run"))
    ids: list[UUID] = [one.run.id for one in rows if action in one.remedies and (not named or str(one.run.id) in named)]
    if action not in REMEDIES or not ids:
        messages.error(request, _("There is nothing left to do that for; somebody may have been faster."))
        return redirect("away")
    results = services.remedy(request.project.id, ids, action, by=request.member.signature, clock=ports().clock)
    done = sum(1 for one in results if not one.problem)
    if done:
        text = ngettext("Done for %(n)d run.", "Done for %(n)d runs.", done)
        messages.success(request, text % {"n": done})
    for one in results:
        if one.problem:
            messages.error(request, _("That is not possible now: %(why)s") % {"why": one.problem})
    hub.publish(request.project.id, "run", {})
    return redirect("away")


def _entry(one: AwayRow) -> dict[str, Any]:
    now_utc = ports().clock.now_utc()
    run = one.run
    return {
        "row": one,
        "run": run,
        "word": AWAY[one.what],
        "late": late_by(run, now_utc),
        "sentence": reason_words(run.reason, run.reason_ja)
        or reason_words(run.cause, run.cause_ja)
        or run_sentence(run, now_utc),
        "remedies": [{"action": action, "text": REMEDIES[action]} for action in one.remedies],
    }


def _for_all(rows: list[AwayRow]) -> list[dict[str, Any]]:
    counts = {action: sum(1 for one in rows if action in one.remedies) for action in REMEDIES_ALL}
    many = {action: count for action, count in counts.items() if count > 1}
    return [{"action": action, "text": REMEDIES_ALL[action], "count": count} for action, count in many.items()]
