"""The editor of a campaign: its live count and problems, the preview as one guest would get it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.html import escape
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from todoku.campaigns import queries, services
from todoku.campaigns.errors import CampaignMissing, CampaignsError
from todoku.campaigns.types import CampaignRow
from todoku.content.errors import TemplateInvalid
from todoku.content.rendering import SAMPLE_VALUES, VARIABLES, make_renderer
from todoku.content.rendering import check as check_content
from todoku.content.starters import load_starter
from todoku.delivery.types import Unrenderable
from todoku.guests import queries as guests
from todoku.guests.errors import GuestMissing
from todoku.projects.types import Right
from todoku.web.campaign_form import CampaignForm, form_values
from todoku.web.guards import MemberRequest, needs
from todoku.web.middleware import FRAME_POLICY
from todoku.web.ports import ports
from todoku.web.safe_html import clean_mail_html, framed_page
from todoku.web.schedule_words import japanese, localized

# An author's own pictures may be loaded; a stranger's mail gets FRAME_POLICY as it is.
PREVIEW_POLICY = FRAME_POLICY.replace("img-src data:", "img-src data: https:")


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
                by=request.member.signature,
                clock=ports().clock,
            )
            messages.success(request, _("Saved."))
            return redirect("campaign", campaign_id=campaign_id)
        return _editor(request, form, None, status=422)
    starter = load_starter("ja" if japanese() else "en")
    values = {"name": "", "subject": starter.subject, "html": starter.html, "text": starter.text}
    return _editor(request, CampaignForm(request.project.id, values), None)


@needs(Right.EDIT_CAMPAIGNS, "GET", "POST")
def edit(request: MemberRequest, campaign_id: UUID) -> HttpResponse:
    """Change a draft; somebody else's change in between is never overwritten."""
    row = find(request, campaign_id)
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
            by=request.member.signature,
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
        content = find(request, _uuid(request.GET.get("campaign", ""))).content
    try:
        renderer = make_renderer(content.subject, content.html, content.text)
        message = renderer.render(SAMPLE_VALUES | _guest_values(request))
        title, body = message.subject, message.html
    except (TemplateInvalid, Unrenderable) as error:
        title, body = _("Preview"), f"<p>{_('The template has problems:')} {escape(str(error))}</p>"
    page = framed_page(title, clean_mail_html(body, pictures=True), get_language() or "ja")
    answer = HttpResponse(page, content_type="text/html; charset=utf-8")
    answer["Content-Security-Policy"] = PREVIEW_POLICY
    return answer


def shown_subject(request: MemberRequest, row: CampaignRow) -> str:
    """Return the subject as a sample guest reads it; the template itself while it can't be filled."""
    try:
        renderer = make_renderer(row.content.subject, row.content.html, row.content.text)
        return renderer.render(SAMPLE_VALUES | _guest_values(request)).subject
    except (TemplateInvalid, Unrenderable):
        return row.content.subject


def find(request: MemberRequest, campaign_id: UUID) -> CampaignRow:
    """Return a campaign of the member's project; raises Http404."""
    try:
        return queries.get(request.project.id, campaign_id)
    except CampaignMissing as error:
        raise Http404 from error


def _editor(request: MemberRequest, form: CampaignForm, row: CampaignRow | None, status: int = 200) -> HttpResponse:
    values = _checked(request, form) | {
        "form": form,
        "row": row,
        "version": row.version if row is not None else "",
        "variables": [
            {"name": one.name, "help": one.explanation_ja if japanese() else one.explanation_en}
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
        "problems": [{"part": one.part, "line": one.line, "message": localized(one)} for one in problems],
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


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise Http404 from error
