"""An audience as the database keeps it."""

from __future__ import annotations

from datetime import date
from typing import Any

from todoku.guests.types import Audience


def to_json(audience: Audience) -> dict[str, Any]:
    """Return the audience as plain JSON; days as ISO 8601."""
    return {
        "min_visits": audience.min_visits,
        "max_visits": audience.max_visits,
        "last_visit_on_or_after": _text(audience.last_visit_on_or_after),
        "last_visit_before": _text(audience.last_visit_before),
        "sites": list(audience.sites),
        "shop_codes": list(audience.shop_codes),
    }


def from_json(kept: dict[str, Any]) -> Audience:
    """Return the audience that `to_json` wrote."""
    return Audience(
        min_visits=kept.get("min_visits"),
        max_visits=kept.get("max_visits"),
        last_visit_on_or_after=_day(kept.get("last_visit_on_or_after")),
        last_visit_before=_day(kept.get("last_visit_before")),
        sites=tuple(kept.get("sites", ())),
        shop_codes=tuple(kept.get("shop_codes", ())),
    )


def _text(day: date | None) -> str | None:
    return day.isoformat() if day is not None else None


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None
