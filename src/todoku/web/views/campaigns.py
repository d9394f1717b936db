"""Campaigns: the list, the editor with its live count and problems, the preview, sending with a clear confirmation."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _

from todoku.campaigns import queries, services
from todoku.campaigns.errors import CampaignMissing, CampaignsError, NotSchedulable
from todoku.campaigns.types import CampaignRow, CampaignState
from todoku.content.errors import TemplateInvalid
from todoku.content.rendering import SAMPLE_VALUES, VARIABLES, make_renderer
from todoku.content.rendering import check as check_content
from todoku.content.starters import load_starter
from todoku.delivery.types import Unrenderable
from todoku.guests import queries as guests
from todoku.guests.errors import GuestMissing
from todoku.projects.types import Right
from todoku.web import words
from todoku.web.campaign_form import CampaignForm, criteria, form_values
from todoku.web.guards import MemberRequest, needs
from todoku.web.live import hub
from todoku.web.middleware import FRAME_POLICY
from todoku.web.overview import run_lines
from todoku.web.ports import ports
from todoku.web.safe_html import clean_mail_html, framed_page

# An author's own pictures may be loaded; a stranger's mail gets FRAME_POLICY as it is.
PREVIEW_POLICY = FRAME_POLICY.replace("img-src data:", "img-src data: https:")
ACTIONS = {
    "pause": (services.pause, Right.SEND_CAMPAIGNS),
    "resume": (services.resume, Right.SEND_CAMPAIGNS),
    "stop": (services.stop, Right.SEND_CAMPAIGNS),
    "draft": (services.back_to_draft, Right.EDIT_CAMPAIGNS),
}


@needs(Right.SEE_CAMPAIGNS)
def campaigns(request: MemberRequest) -> HttpResponse:
    """List campaigns with the state and the next step of each."""
    rows = queries.list_campaigns(request.project.id)
    values = {"campaigns": [_entry(row) for row in rows]}
    moving = request.headers.get("HX-Target") == "list"
    return render(request, "web/_campaigns.html" if moving else "web/campaigns.html", values)


@needs(Right.EDIT_CAMPAIGNS, "GET", "POST")
def new(request: MemberRequest) -> HttpResponse:
    """Begin a campaign from the starter in the reader's language."""
    if request.method == "POST":
        form = CampaignForm(request.project.id, request.POST)
        if form.is_valid():
            campaign_id = services.create(
                request.project.id,
                name=form.cleaned_data["name"],
                content=form.content(),
                audience=form.audience(),
                by=request.member.display_name,
                clock=ports().clock,
            )
            messages.success(request, _("Saved."))
            return redirect("campaign", campaign_id=campaign_id)
        return _editor(request, form, None, status=422)
    starter = load_starter("en" if (get_language() or "ja").startswith("en") else "ja")
    values = {"name": "", "subject": starter.subject, "html": starter.html, "text": starter.text}
    return _editor(request, CampaignForm(request.project.id, values), None)


@needs(Right.EDIT_CAMPAIGNS, "GET", "POST")
def edit(request: MemberRequest, campaign_id: UUID) -> HttpResponse:
    """Change a draft; somebody else's change in between is never overwritten."""
    row = _find(request, campaign_id)
    if request.method == "GET":
        return _editor(request, CampaignForm(request.project.id, form_values(row)), row)
    form = CampaignForm(request.project.id, request.POST)
    if not form.is_valid():
        return _editor(request, form, row, status=422)
    version = request.POST.get("version", "")
    try:
        services.update(
            request.project.id,
            campaign_id,
            name=form.cleaned_data["name"],
            content=form.content(),
            audience=form.audience(),
            version=int(version) if version.isdecimal() else row.version,
            by=request.member.display_name,
            clock=ports().clock,
        )
    except CampaignsError:
        form.add_error(
            None, _("Somebody else changed this campaign meanwhile. Your text is still here; nothing was saved.")
        )
        return _editor(request, form, row, status=409)
    messages.success(request, _("Saved."))
    return redirect("campaign", campaign_id=campaign_id)


@needs(Right.EDIT_CAMPAIGNS, "POST")
def check(request: MemberRequest) -> HttpResponse:
    """Say how many it would reach and what is wrong, while somebody types."""
    return render(request, "web/_check.html", _checked(request, CampaignForm(request.project.id, request.POST)))


@needs(Right.SEE_CAMPAIGNS, "GET", "POST")
def preview(request: MemberRequest) -> HttpResponse:
    """Show the message as one guest would get it, for a sandboxed frame."""
    if request.method == "POST":
        content = CampaignForm(request.project.id, request.POST).content()
    else:
        content = _find(request, _uuid(request.GET.get("campaign", ""))).content
    try:
        renderer = make_renderer(content.subject, content.html, content.text)
        message = renderer.render(SAMPLE_VALUES | _guest_values(request))
        title, body = message.subject, message.html
    except (TemplateInvalid, Unrenderable) as error:
        title, body = _("Preview"), f"<p>{_('The template has problems:')} {_escaped(str(error))}</p>"
    page = framed_page(title, clean_mail_html(body, pictures=True), get_language() or "ja")
    answer = HttpResponse(page, content_type="text/html; charset=utf-8")
    answer["Content-Security-Policy"] = PREVIEW_POLICY
    return answer


@needs(Right.SEE_CAMPAIGNS)
def campaign(request: MemberRequest, campaign_id: UUID) -> HttpResponse:
    """Show one campaign: what it says, whom it reaches, its runs, who did what."""
    row = _find(request, campaign_id)
    runs = queries.runs(request.project.id, campaign_id)
    if row.run is not None and row.state is not CampaignState.DRAFT and request.GET.get("show") != "campaign":
        return redirect("run", run_id=row.run.id)
    values = _entry(row) | {
        "audience": guests.count_audience(request.project.id, row.audience),
        "criteria": criteria(request.project.id, row.audience),
        "runs": [{"run": run, "word": words.RUNS[run.state]} for run in runs],
        "audit": queries.audit(request.project.id, campaign_id),
        "subject": shown_subject(request, row),
    }
    return render(request, "web/campaign.html", values)


@needs(Right.SEND_CAMPAIGNS, "GET", "POST")
def send(request: MemberRequest, campaign_id: UUID) -> HttpResponse:
    """Ask once more, saying the number; then send now or at a moment."""
    row = _find(request, campaign_id)
    problem = ""
    obstacles: list[str] = []
    if request.method == "POST":
        try:
            return _dispatch(request, row)
        except NotSchedulable as error:
            obstacles = [_localized(one) for one in error.obstacles]
        except (CampaignsError, ValueError) as error:
            problem = str(error)
    if request.method == "GET" and row.state is CampaignState.DRAFT:
        found = queries.obstacles(request.project.id, campaign_id, clock=ports().clock)
        obstacles = [_localized(one) for one in found]
    values = _entry(row) | {
        "audience": guests.count_audience(request.project.id, row.audience),
        "criteria": criteria(request.project.id, row.audience),
        "obstacles": obstacles,
        "problem": problem,
        "earliest": timezone.localtime(ports().clock.now_utc()),
        "due": request.POST.get("due", ""),
    }
    return render(request, "web/campaign_send.html", values, status=422 if request.method == "POST" else 200)


@needs(Right.SEE_CAMPAIGNS, "POST")
def act(request: MemberRequest, campaign_id: UUID, action: str) -> HttpResponse:
    """Pause, resume, stop, back to draft, duplicate."""
    project_id, by, clock = request.project.id, request.member.display_name, ports().clock
    right = ACTIONS[action][1] if action in ACTIONS else Right.EDIT_CAMPAIGNS
    if action not in {*ACTIONS, "duplicate"}:
        raise Http404
    if not request.member.may(right):
        return render(request, "web/403.html", status=403)
    _find(request, campaign_id)
    try:
        if action == "duplicate":
            return redirect(
                "campaign_edit", campaign_id=services.duplicate(project_id, campaign_id, by=by, clock=clock)
            )
        ACTIONS[action][0](project_id, campaign_id, by=by, reason=request.POST.get("reason", "")[:200], clock=clock)
    except CampaignsError as error:
        messages.error(request, _("That is not possible now: %(why)s") % {"why": error})
    hub.publish(project_id, "run", {"campaign_id": str(campaign_id)})
    return redirect("campaign", campaign_id=campaign_id)


def shown_subject(request: MemberRequest, row: CampaignRow) -> str:
    """Return the subject as a sample guest reads it; the template itself while it can't be filled."""
    try:
        renderer = make_renderer(row.content.subject, row.content.html, row.content.text)
        return renderer.render(SAMPLE_VALUES | _guest_values(request)).subject
    except (TemplateInvalid, Unrenderable):
        return row.content.subject


def _dispatch(request: MemberRequest, row: CampaignRow) -> HttpResponse:
    project_id, by, clock = request.project.id, request.member.display_name, ports().clock
    if request.POST.get("how") == "later":
        services.schedule(project_id, row.id, due_at_utc=_due(request.POST.get("due", "")), by=by, clock=clock)
        messages.success(request, _("Scheduled. It will be sealed shortly before it leaves."))
    else:
        services.send_now(project_id, row.id, by=by, clock=clock)
    hub.publish(project_id, "run", {"campaign_id": str(row.id)})
    return redirect("campaign", campaign_id=row.id)


def _due(text: str) -> datetime:
    moment = parse_datetime(text)
    if moment is None:
        raise ValueError(_("Please say day and time."))
    return moment if moment.tzinfo else timezone.make_aware(moment)


def _find(request: MemberRequest, campaign_id: UUID) -> CampaignRow:
    try:
        return queries.get(request.project.id, campaign_id)
    except CampaignMissing as error:
        raise Http404 from error


def _entry(row: CampaignRow) -> dict[str, Any]:
    return {
        "row": row,
        "word": words.CAMPAIGNS[row.state],
        "readiness": readiness(row),
        "lines": run_lines(row.run.balance) if row.run is not None else [],
    }


def readiness(row: CampaignRow) -> str:
    """Return one sentence: what happens next, or what is in the way."""
    if row.state is CampaignState.DRAFT:
        problems = check_content(row.content, SAMPLE_VALUES)
        if problems:
            text = ngettext(
                "%(n)d thing to put right in the text.", "%(n)d things to put right in the text.", len(problems)
            )
            return text % {"n": len(problems)}
        return _("Ready to be sent.")
    run = row.run
    if run is not None and run.reason:
        return run.reason
    sentences = {
        CampaignState.SCHEDULED: _("Leaves by itself at its time."),
        CampaignState.ACTIVE: _("On its way."),
        CampaignState.PAUSED: _("Waits until somebody resumes it."),
        CampaignState.STOPPED: _("Stopped by a person."),
        CampaignState.FINISHED: _("Every recipient has an answer."),
    }
    return sentences[row.state]


def _editor(request: MemberRequest, form: CampaignForm, row: CampaignRow | None, status: int = 200) -> HttpResponse:
    english = (get_language() or "ja").startswith("en")
    values = _checked(request, form) | {
        "form": form,
        "row": row,
        "version": row.version if row is not None else "",
        "variables": [
            {"name": one.name, "help": one.explanation_en if english else one.explanation_ja}
            for one in VARIABLES.values()
        ],
        "picked": {"sites": _picked(form, "sites"), "shop_codes": _picked(form, "shop_codes")},
        "show_errors": request.method == "POST",
        "guests": guests.search(request.project.id, "", limit=20) if request.member.may(Right.SEE_GUESTS) else [],
    }
    return render(request, "web/campaign_edit.html", values, status=status)


def _checked(request: MemberRequest, form: CampaignForm) -> dict[str, Any]:
    problems = check_content(form.content(), SAMPLE_VALUES)
    return {
        "problems": [{"part": one.part, "line": one.line, "message": _localized(one)} for one in problems],
        "audience": guests.count_audience(request.project.id, form.audience()),
    }


def _picked(form: CampaignForm, name: str) -> list[str]:
    data = form.data
    return data.getlist(name) if hasattr(data, "getlist") else list(data.get(name, ()))


def _guest_values(request: MemberRequest) -> dict[str, Any]:
    project = request.project
    values: dict[str, Any] = {
        "project_name": project.name,
        "sender_name": project.sender_name or project.name,
        "postal_address": project.postal_address or "—",
        "contact": project.contact or "—",
    }
    wanted = request.POST.get("guest") or request.GET.get("guest") or ""
    if wanted and request.member.may(Right.SEE_GUESTS):
        try:
            row = guests.get(project.id, _uuid(wanted)).row
        except GuestMissing:
            return values
        last = timezone.localtime(row.last_visit_at).date() if row.last_visit_at else None
        values |= {
            "guest_name": row.name,
            "visits": row.visits,
            "last_visit_on": last.isoformat() if last else "",
            "last_visit_on_ja": f"{last.year}年{last.month}月{last.day}日" if last else "",
        }
    return values


def _localized(problem: Any) -> str:
    english = (get_language() or "ja").startswith("en")
    return str(problem.message if english or not problem.message_ja else problem.message_ja)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise Http404 from error


def _escaped(text: str) -> str:
    from django.utils.html import escape

    return escape(text)
