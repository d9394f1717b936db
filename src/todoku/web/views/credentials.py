"""Credentials by form: what is typed is encrypted at once and never shown again."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters

from todoku.bus.connection import Bus
from todoku.bus.errors import BusError
from todoku.credentials.errors import CredentialError, CredentialUnknown
from todoku.credentials.facts import NEEDED
from todoku.projects.types import Right
from todoku.sources.credentials import CredentialKind
from todoku.web import source_words as words
from todoku.web.guards import MemberRequest, needs
from todoku.web.live import hub
from todoku.web.views.sources import inventory


@sensitive_post_parameters()
@needs(Right.OPERATE, "GET", "HEAD", "POST")
def new(request: MemberRequest) -> HttpResponse:
    """Ask for the secrets of a kind, and keep them."""
    kind = request.POST.get("kind") or request.GET.get("kind", "")
    if kind not in set(CredentialKind):
        kinds = [{"name": one.value, "text": words.CREDENTIAL_KINDS[one]} for one in CredentialKind]
        return render(request, "web/credential_edit.html", {"kinds": kinds})
    chosen = CredentialKind(kind)
    name = request.POST.get("name", "").strip()
    problem = ""
    if request.method == "POST":
        secrets = _secrets(request, chosen)
        problem = _try(lambda bus: inventory(bus).add(request.project.id, name, chosen, secrets))
        if not problem:
            messages.success(request, _("The credential is kept, encrypted. Now a source can use it."))
            return redirect("sources")
    return render(
        request, "web/credential_edit.html", {**_form(request, chosen, problem), "name": name, "is_new": True}
    )


@sensitive_post_parameters()
@needs(Right.OPERATE, "GET", "HEAD", "POST")
def replace(request: MemberRequest, credential: str) -> HttpResponse:
    """Ask for a newer secret; the old one stays in use until a server has accepted the new one."""
    try:
        record = hub.ask_bus(lambda bus: inventory(bus).record(request.project.id, credential))
    except CredentialUnknown as error:
        raise Http404 from error
    except BusError as error:
        messages.error(request, _("That is not possible now: %(why)s") % {"why": error.what})
        return redirect("sources")
    problem = ""
    if request.method == "POST":
        secrets = _secrets(request, record.kind)
        problem = _try(lambda bus: inventory(bus).offer(request.project.id, credential, secrets))
        if not problem:
            messages.success(request, _("The new secret is tried at the next login; until then the old one stays."))
            return redirect("sources")
    return render(request, "web/credential_edit.html", {**_form(request, record.kind, problem), "name": credential})


def _try(change: Any) -> str:
    """Return why the change was not possible, "" when it was made."""

    async def call(bus: Bus) -> None:
        await change(bus)

    try:
        hub.ask_bus(call)
    except (CredentialError, BusError) as error:
        return error.what
    return ""


def _secrets(request: MemberRequest, kind: CredentialKind) -> dict[str, str]:
    given = {name: request.POST.get(f"s-{name}", "") for name in NEEDED[kind]}
    return {name: value if name in words.LONG_FIELDS else value.strip() for name, value in given.items() if value}


def _form(request: MemberRequest, kind: CredentialKind, problem: str) -> dict[str, Any]:
    fields = [
        {
            "name": name,
            "text": words.field_name(name),
            "value": "" if name in words.HIDDEN_FIELDS else request.POST.get(f"s-{name}", ""),
            "needed": True,
            "long": name in words.LONG_FIELDS,
            "hidden": name in words.HIDDEN_FIELDS,
        }
        for name in NEEDED[kind]
    ]
    return {"kind": kind.value, "kind_text": words.CREDENTIAL_KINDS[kind], "fields": fields, "problem": problem}
