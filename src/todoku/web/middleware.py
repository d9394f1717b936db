"""Headers that every page carries, and the project in which a request works."""

from __future__ import annotations

from collections.abc import Callable
from zoneinfo import ZoneInfo

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone, translation

from todoku.projects import queries as projects

Handler = Callable[[HttpRequest], HttpResponseBase]

PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'self'"
)
# A mail or a campaign inside a frame: no scripts, no network, an origin of its own.
FRAME_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"


class SecurityHeadersMiddleware:
    """Give each answer its headers; a view that set its own Content-Security-Policy keeps it."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer, then add what is missing."""
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", PAGE_POLICY)
        response.headers.setdefault("Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=()")
        if not request.path.startswith("/static/"):
            response.headers.setdefault("Cache-Control", "no-store")  # names and phone numbers stay out of caches
        return response


class ProjectMiddleware:
    """Find the member and the project of a signed-in request; set language and time zone by them."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Set request.member, request.memberships and request.project, then answer."""
        if request.path.startswith(("/static/", "/healthz", "/api/")) or not request.user.is_authenticated:
            return self.get_response(request)
        memberships = projects.list_memberships(request.user.pk)
        wanted = request.session.get("project")
        member = next((one for one in memberships if one.project_id == wanted), memberships[0] if memberships else None)
        if request.user.language != translation.get_language():
            translation.activate(request.user.language)
            request.LANGUAGE_CODE = request.user.language
        if member is None:
            return self.get_response(request)
        project = projects.get_project(member.project_id)
        for name, value in (("member", member), ("memberships", memberships), ("project", project)):
            setattr(request, name, value)
        with timezone.override(ZoneInfo(project.time_zone)):
            return self.get_response(request)
