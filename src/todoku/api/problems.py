"""Every error as a problem document (RFC 9457): what happened, what was kept, what to do, a stable code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import structlog
from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError

from todoku.api import errors
from todoku.campaigns.errors import CampaignMissing, CampaignsError, NameMissing, NotSchedulable, WrongState
from todoku.guests.errors import GuestMissing
from todoku.kernel.errors import TodokuError

log = structlog.get_logger(__name__)

# The most specific class first. code: stable, programs may rely on it.
CODES: Sequence[tuple[type[TodokuError], int, str, str]] = (
    (CampaignMissing, 404, "not_found", "There is no such thing in this project"),
    (GuestMissing, 404, "not_found", "There is no such thing in this project"),
    (errors.KeyMissing, 404, "not_found", "There is no such thing in this project"),
    (NotSchedulable, 422, "not_schedulable", "Something speaks against sending"),
    (NameMissing, 422, "name_missing", "A name is needed"),
    (WrongState, 409, "wrong_state", "The state does not allow it"),
    (errors.KeyInvalid, 401, "key_invalid", "A valid key is needed"),
    (errors.ScopeMissing, 403, "scope_missing", "The key may not do this"),
    (errors.CallReused, 422, "idempotency_key_reused", "The Idempotency-Key belongs to another call"),
    (errors.RequestInvalid, 422, "request_invalid", "The request says something impossible"),
    (CampaignsError, 422, "refused", "It was refused"),
    (TodokuError, 422, "refused", "It was refused"),
)


def answer_with_problems(api: NinjaAPI) -> None:
    """Let every error of this api leave as a problem document."""
    handlers: list[tuple[type[Exception], Callable[..., HttpResponse]]] = [
        (TodokuError, _of_ours),
        (ValidationError, _of_validation),
        (Http404, _of_missing),
        (HttpError, _of_http),
        (DatabaseError, _of_database),
        (InterfaceError, _of_database),
        (Exception, _of_nobody),
    ]
    for kind, handler in handlers:
        api.add_exception_handler(kind, handler)


def problem(status: int, code: str, title: str, **more: Any) -> HttpResponse:
    """Return a problem document. more: detail, kept, todo, errors, obstacles; empty ones are left out."""
    document = {"type": f"urn:todoku:problem:{code}", "title": title, "status": status, "code": code}
    document |= {name: value for name, value in more.items() if value}
    answer = JsonResponse(
        document, status=status, content_type="application/problem+json", json_dumps_params={"ensure_ascii": False}
    )
    if status == 401:
        answer["WWW-Authenticate"] = 'Bearer realm="todoku"'
    if status == 503:
        answer["Retry-After"] = "5"
    return answer


def _of_ours(request: HttpRequest, error: TodokuError) -> HttpResponse:
    status, code, title = next(row[1:] for row in CODES if isinstance(error, row[0]))
    if error.transient:
        status, code, title = 503, "try_again", "Not possible just now"
    more: dict[str, Any] = {"detail": error.what, "kept": error.kept, "todo": error.todo}
    if isinstance(error, NotSchedulable):
        more["obstacles"] = [
            {"code": one.code, "message": one.message, "message_ja": one.message_ja, "part": one.part, "line": one.line}
            for one in error.obstacles
        ]
    if isinstance(error, errors.RequestInvalid):
        more["errors"] = [{"field": error.field, "message": error.what}]
    return problem(status, code, title, **more)


def _of_validation(request: HttpRequest, error: ValidationError) -> HttpResponse:
    found = [{"field": _field(one["loc"]), "message": one["msg"]} for one in error.errors]
    return problem(422, "request_invalid", "The request says something impossible", errors=found)


def _of_http(request: HttpRequest, error: HttpError) -> HttpResponse:
    if error.status_code == 401:
        return problem(401, "key_invalid", "A valid key is needed", todo="send `Authorization: Bearer tdk_…`")
    return problem(error.status_code, "request_invalid", str(error))


def _of_missing(request: HttpRequest, error: Http404) -> HttpResponse:
    return problem(404, "not_found", "There is no such thing in this project")


def _of_database(request: HttpRequest, error: Exception) -> HttpResponse:
    if not isinstance(error, OperationalError | InterfaceError):
        return _of_nobody(request, error)
    log.warning("api.database_away", error=str(error))
    return problem(
        503,
        "try_again",
        "Not possible just now",
        detail="the database does not answer",
        kept="what is sealed leaves in time without it",
        todo="try again; an Idempotency-Key makes that harmless",
    )


def _of_nobody(request: HttpRequest, error: Exception) -> HttpResponse:
    log.error("api.failed", path=request.path, exc_info=error)
    return problem(500, "failed", "Something failed here", detail="it is in the log of the program", todo="try again")


def _field(place: Sequence[str | int]) -> str:
    """Return where it is as a caller writes it: plan.repeat.kind; the body itself has no name."""
    names = place[2:] if place and place[0] == "body" else place[1:]
    return ".".join(str(one) for one in names) or "body"
