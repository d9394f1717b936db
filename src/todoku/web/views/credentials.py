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
from todoku.credentials.installation import installation_rows, sender_domains
from todoku.credentials.served_types import Place, ServedKind, ServedRow
from todoku.credentials.sightings import SightingBook
from todoku.credentials.types import Condition, Row
from todoku.projects.types import Right
from todoku.sources.credentials import CredentialKind
from todoku.sources.registry import SourceBook, SourceEntry
from todoku.web import source_words as words
from todoku.web.guards import MemberRequest, needs
from todoku.web.live import hub
from todoku.web.ports import ports
from todoku.web.views.sources import credential_values, inventory

_PROJECT_KINDS = [kind for kind in CredentialKind if kind is not CredentialKind.TLS_CERTIFICATE]
_DNS_SECONDS = 60.0


@needs(Right.SEE_BOOK)
def credentials(request: MemberRequest) -> HttpResponse:
    """List what the project logs in with, and, for operators, what the installation shows that serves it."""
    project_id = request.project.id
    may_operate = request.member.may(Right.OPERATE)

    async def ask(bus: Bus) -> tuple[list[Row], list[SourceEntry], list[ServedRow]]:
        entries = await SourceBook(bus).list(project_id)
        served = await _installation(bus, request) if may_operate else []
        return await inventory(bus).rows(project_id), entries, served

    try:
        rows, entries, served = hub.ask_bus(ask)
        bus_here = True
    except BusError:
        rows, entries, served, bus_here = [], [], [], False
    users: dict[str, list[str]] = {}
    for entry in entries:
        for credential in entry.credential_ids:
            users.setdefault(credential, []).append(entry.source)
    values = {
        "bus_here": bus_here,
        "credentials": [credential_values(row) | {"users": users.get(row.credential_id, [])} for row in rows],
        "served": [_served(row) for row in served],
        "has_keys": any(row.kind is ServedKind.DKIM_KEY for row in served),
    }
    return render(request, "web/credentials.html", values)


@needs(Right.OPERATE, "POST")
def ask_dns(request: MemberRequest) -> HttpResponse:
    """Ask DNS for the records of the keys that sign this project's mail, and keep what it answers."""
    from todoku.credentials.dns_asking import ask_for_keys

    async def ask(bus: Bus) -> int:
        found = await ask_for_keys(
            await _installation(bus, request), SightingBook(bus, ports().clock), ports().clock, ports().resolver
        )
        return len(found)

    try:
        hub.ask_bus(ask, timeout_seconds=_DNS_SECONDS)
    except BusError as error:
        messages.error(request, _("That is not possible now: %(why)s") % {"why": error.what})
    return redirect("credentials")


async def _installation(bus: Bus, request: MemberRequest) -> list[ServedRow]:
    """Return what serves this project: the names of other projects are not its people's to see."""
    domains = sender_domains(request.project.sender_address)
    return await installation_rows(inventory(bus), SightingBook(bus, ports().clock), ports().clock, domains=domains)


def _served(row: ServedRow) -> dict[str, Any]:
    now_utc = ports().clock.now_utc()
    return {
        "row": row,
        "kind": words.SERVED_KINDS[row.kind],
        "place": words.PLACES[row.place] if row.in_use or row.place is not Place.SIGNATURES else words.NOT_SIGNING,
        "word": words.CONDITIONS[row.condition],
        "percent": round(100 * row.life_left) if row.life_left is not None else None,
        "part": round(1000 * row.life_left) if row.life_left is not None else 0,
        "not_seen": row.condition is Condition.NOT_SEEN,
        "renewed": words.RENEWALS.get(row.renewed_by, ""),
        "is_key": row.kind is ServedKind.DKIM_KEY,
        "days": (now_utc - row.since_utc).days if row.since_utc is not None else None,
        "dns": words.DNS_FINDINGS[row.dns.finding] if row.dns is not None else None,
    }


@sensitive_post_parameters()
@needs(Right.OPERATE, "GET", "HEAD", "POST")
def new(request: MemberRequest) -> HttpResponse:
    """Ask for the secrets of a kind, and keep them."""
    kind = request.POST.get("kind") or request.GET.get("kind", "")
    if kind not in _PROJECT_KINDS:
        kinds = [{"name": one.value, "text": words.CREDENTIAL_KINDS[one]} for one in _PROJECT_KINDS]
        return render(request, "web/credential_edit.html", {"kinds": kinds})
    chosen = CredentialKind(kind)
    name = request.POST.get("name", "").strip()
    problem = ""
    if request.method == "POST":
        secrets = _secrets(request, chosen)
        problem = _try(lambda bus: inventory(bus).add(request.project.id, name, chosen, secrets))
        if not problem:
            messages.success(request, _("The credential is kept, encrypted. Now a source can use it."))
            return redirect("credentials")
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
        return redirect("credentials")
    problem = ""
    if request.method == "POST":
        secrets = _secrets(request, record.kind)
        problem = _try(lambda bus: inventory(bus).offer(request.project.id, credential, secrets))
        if not problem:
            messages.success(request, _("The new secret is tried at the next login; until then the old one stays."))
            return redirect("credentials")
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
