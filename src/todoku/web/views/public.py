"""Pages for guests: stop the mails. No sign-in, no cookie; the link proves for whom it speaks."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from todoku.campaigns.errors import TokenInvalid
from todoku.campaigns.unsubscribe import verify_token
from todoku.guests import services
from todoku.guests.types import SuppressionReason
from todoku.projects import queries as projects
from todoku.projects.errors import ProjectMissing
from todoku.web.guards import open_to_all
from todoku.web.live import hub
from todoku.web.ports import ports


@open_to_all
@csrf_exempt  # RFC 8058 section 3.2: the mailbox provider posts without cookies; the signed link is the proof
@require_http_methods(["GET", "HEAD", "POST"])
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """GET shows what would happen, POST does it: link scanners fetch links, and must not unsubscribe anybody."""
    try:
        claim = verify_token(token)
        project = projects.get_project(claim.project_id)
    except (TokenInvalid, ProjectMissing):
        return render(request, "web/unsubscribe.html", {"unknown": True}, status=404)
    done = request.method == "POST"
    if done:
        one_click = request.POST.get("List-Unsubscribe") == "One-Click"
        evidence = f"{'one-click' if one_click else 'page'}, run {claim.run_id}"
        services.suppress(
            claim.project_id, claim.address, SuppressionReason.UNSUBSCRIBED, evidence=evidence, clock=ports().clock
        )
        hub.stop_mail(claim.project_id, claim.address, SuppressionReason.UNSUBSCRIBED.value)
    values = {"project": project, "address": claim.address, "done": done}
    return render(request, "web/unsubscribe.html", values)
