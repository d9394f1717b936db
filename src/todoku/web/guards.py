"""Who may see what: each route names the right it needs, in one way."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, cast

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed
from django_htmx.middleware import HtmxDetails

from todoku.projects.types import Membership, ProjectInfo, Right

P = ParamSpec("P")
PUBLIC = "public"
SIGNED_IN = "signed_in"


class MemberRequest(HttpRequest):
    """A request by a member of a project; made so by ProjectMiddleware and proven by `needs`."""

    member: Membership
    memberships: list[Membership]
    project: ProjectInfo
    htmx: HtmxDetails


Page = Callable[Concatenate[MemberRequest, P], HttpResponseBase]
OpenPage = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def needs(right: Right, *methods: str) -> Callable[[Page[P]], OpenPage[P]]:
    """Let only members with the right in; methods default to GET and HEAD.

    Nobody signed in goes to sign-in (401 for htmx, so that a fragment never becomes a sign-in page); a member
    without the right gets 403.
    """
    allowed = frozenset(methods or ("GET", "HEAD"))

    def decorate(view: Page[P]) -> OpenPage[P]:
        @wraps(view)
        def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return _send_to_sign_in(request)
            member: Membership | None = getattr(request, "member", None)
            if member is None or not member.may(right):
                raise PermissionDenied(f"needs {right.value}")
            if request.method not in allowed:
                return HttpResponseNotAllowed(sorted(allowed))
            return view(cast(MemberRequest, request), *args, **kwargs)

        guarded.guard = right  # type: ignore[attr-defined]
        return cast("OpenPage[P]", guarded)

    return decorate


def open_to_all(view: OpenPage[P]) -> OpenPage[P]:
    """Mark a view that needs nobody signed in."""
    view.guard = PUBLIC  # type: ignore[attr-defined]
    return view


def _send_to_sign_in(request: HttpRequest) -> HttpResponseBase:
    if request.headers.get("HX-Request") == "true":
        answer = HttpResponse(status=401)
        answer["HX-Refresh"] = "true"
        return answer
    return redirect_to_login(request.get_full_path(), "sign_in")
