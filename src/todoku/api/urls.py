"""Routes of the api: one NinjaAPI for each version."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, path, re_path
from django.views.decorators.csrf import csrf_exempt
from ninja import NinjaAPI

from todoku.api import campaigns, runs
from todoku.api.problems import answer_with_problems, problem

api = NinjaAPI(
    title="Todoku",
    version="1",
    description="Campaigns out: plan, send, watch. Times carry their offset from UTC. Errors are RFC 9457 problems.",
    docs_url=None,  # the viewer would be loaded from a foreign server; docs/api.md is the manual
    urls_namespace="api-v1",
)
answer_with_problems(api)
api.add_router("/campaigns", campaigns.router)
api.add_router("", runs.router)


@csrf_exempt
def nowhere(request: HttpRequest) -> HttpResponse:
    """Answer what is not a route of the api."""
    return problem(404, "not_found", "There is no such address", todo="read docs/api.md")


urlpatterns: list[URLPattern | URLResolver] = [path("v1/", api.urls), re_path(r"", nowhere)]
