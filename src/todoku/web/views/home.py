"""Home."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import render

from todoku.projects.types import Right
from todoku.web.guards import MemberRequest, needs
from todoku.web.overview import look_around
from todoku.web.ports import ports


@needs(Right.SEE_BOOK)
def home(request: MemberRequest) -> HttpResponse:
    """Answer whether all is well; only the moving part when htmx asks."""
    values = look_around(request.project, ports().clock.now_utc())
    moving = request.headers.get("HX-Target") == "overview"
    return render(request, "web/_overview.html" if moving else "web/home.html", values)
