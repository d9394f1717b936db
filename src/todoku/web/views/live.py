"""The live stream of one page, and whether the process answers."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.db import connections
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from todoku.projects.types import Right
from todoku.web.guards import open_to_all
from todoku.web.live import signals


@require_safe
async def stream(request: HttpRequest) -> HttpResponseBase:
    """Say what moves in the member's project, as server-sent events without any content."""
    member = getattr(request, "member", None)
    if member is None or not member.may(Right.SEE_BOOK):
        return HttpResponse(status=403)
    await sync_to_async(connections.close_all)()  # a page stays open for hours; a database connection must not
    answer = StreamingHttpResponse(signals(member.project_id), content_type="text/event-stream")
    answer["Cache-Control"] = "no-store"
    answer["X-Accel-Buffering"] = "no"
    return answer


stream.guard = Right.SEE_BOOK  # type: ignore[attr-defined]


@open_to_all
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Say that this process answers; asks nobody else."""
    return HttpResponse("ok\n", content_type="text/plain; charset=utf-8")
