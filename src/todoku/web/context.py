"""What the frame around every page shows: where one can go, who one is, how it looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from todoku.projects.types import Membership, Right
from todoku.reservations import queries as reservations
from todoku.web import words
from todoku.web.ports import ports

THEMES = ("auto", "light", "dark")


@dataclass(frozen=True, slots=True)
class Place:
    """One entry of the navigation."""

    name: str
    text: str | Promise
    icon: str
    right: Right
    below: tuple[str, ...] = ()


PLACES = (
    Place("home", _("Home"), "home", Right.SEE_BOOK),
    Place("online", pgettext_lazy("navigation", "Online"), "online", Right.SEE_BOOK, ("reservation",)),
    Place("book", _("Book"), "book", Right.SEE_BOOK),
    Place("mails", _("Mail"), "mail", Right.SEE_BOOK, ("mail", "source", "sources", "credential", "credentials")),
    Place("guests", _("Guests"), "guests", Right.SEE_GUESTS, ("guest",)),
    Place(
        "campaigns", _("Campaigns"), "campaign", Right.SEE_CAMPAIGNS, ("campaign", "run", "away", "calendar", "outbox")
    ),
)


def shell(request: HttpRequest) -> dict[str, Any]:
    """Return the frame's values; for people who are not signed in only look and language."""
    theme = request.COOKIES.get("theme", "auto")
    frame: dict[str, Any] = {
        "theme": theme if theme in THEMES else "auto",
        "themes": zip(THEMES, (_("Auto"), _("Light"), _("Dark")), strict=True),
        "languages": settings.LANGUAGES,
    }
    member: Membership | None = getattr(request, "member", None)
    if member is None:
        return frame
    here = request.resolver_match.url_name if request.resolver_match else ""
    frame["places"] = [
        {"place": place, "url": reverse(place.name), "current": _is_in(place, here or "")}
        for place in PLACES
        if member.may(place.right)
    ]
    frame["rights"] = {right.value: member.may(right) for right in Right}
    frame["role"] = words.ROLES[member.role]
    if request.headers.get("HX-Request") != "true":
        frame["unhandled"] = reservations.count_unhandled(member.project_id)
        frame["has_outbox"] = ports().outbox is not None
    return frame


def _is_in(place: Place, here: str) -> bool:
    return here == place.name or here in place.below or any(here.startswith(f"{name}_") for name in place.below)
