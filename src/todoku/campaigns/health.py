"""How the runs of a project stand: facts for the pages and for the watch."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import QuerySet

from todoku.campaigns.models import Run
from todoku.campaigns.types import RunState
from todoku.kernel.clock import Clock
from todoku.kernel.health import Health, HealthState

START_GRACE = timedelta(seconds=30)


def facts(project_id: str, *, clock: Clock, lead_seconds: float = 900.0) -> list[Health]:
    """Return three facts: are runs sealed in time, do they start in time, does one wait for a person."""
    now_utc = clock.now_utc()
    rows = Run.objects.filter(project_id=project_id, closed_at__isnull=True).select_related("campaign")
    waiting = (RunState.PLANNED, RunState.SEALING)
    half_lead = timedelta(seconds=lead_seconds / 2)
    unsealed = rows.filter(state__in=waiting, due_at__lte=now_utc + half_lead, changed_at__lte=now_utc - START_GRACE)
    late = rows.filter(state__in=(*waiting, RunState.SEALED), due_at__lte=now_utc - START_GRACE)
    held = rows.filter(state=RunState.HELD)

    def fact(name: str, troubled: list[str], bad: HealthState, todo: str) -> Health:
        state = bad if troubled else HealthState.OK
        return Health(name, state, ", ".join(troubled), now_utc, todo if troubled else "")

    return [
        fact("campaigns.sealing", _names(unsealed), HealthState.LATE, "look whether the role `plan` runs"),
        fact("campaigns.starts", _names(late), HealthState.LATE, "look whether `send` runs and the relay answers"),
        fact("campaigns.held", _reasons(held), HealthState.FAILING, "decide: resume, send now or stop"),
    ]


def _names(rows: QuerySet[Run]) -> list[str]:
    return [run.campaign.name for run in rows]


def _reasons(rows: QuerySet[Run]) -> list[str]:
    return [f"{run.campaign.name}: {run.reason}" for run in rows]
