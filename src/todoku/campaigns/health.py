"""How the runs of a project stand: facts for the pages and for the watch."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Max, QuerySet

from todoku.campaigns.models import Campaign, PlannerBeat, Run
from todoku.campaigns.types import CampaignState, RunKind, RunState
from todoku.delivery.ledger import queries as ledger
from todoku.kernel.clock import Clock
from todoku.kernel.health import Health, HealthState

START_GRACE = timedelta(seconds=30)
PLANNER_SILENT = timedelta(seconds=60)  # it says every 20 seconds that it looks
LOOK_BACK = timedelta(days=7)
_MOST_NAMED = 5
_WAITING = (RunState.PLANNED, RunState.SEALING)


def facts(project_id: str, *, clock: Clock, lead_seconds: float = 900.0) -> list[Health]:
    """Return facts about the project's runs: sealed in time, started in time, held, missed, unknown; and the planner.

    missed and unknown: of the last seven days, missed until somebody acknowledged it. Seven statements.
    """
    now_utc = clock.now_utc()
    rows = Run.objects.filter(project_id=project_id).exclude(kind=RunKind.TEST).select_related("campaign")
    rows = rows.defer("order", "content").order_by("due_at")
    still_open = rows.filter(closed_at__isnull=True)
    half_lead = timedelta(seconds=lead_seconds / 2)
    unsealed = still_open.filter(
        state__in=_WAITING, due_at__lte=now_utc + half_lead, changed_at__lte=now_utc - START_GRACE
    )
    late = still_open.filter(state__in=(*_WAITING, RunState.SEALED), due_at__lte=now_utc - START_GRACE)
    held = still_open.filter(state=RunState.HELD)
    missed = rows.filter(state=RunState.MISSED, due_at__gte=now_utc - LOOK_BACK, acknowledged_at__isnull=True)

    def fact(name: str, troubled: list[str], bad: HealthState, todo: str) -> Health:
        state = bad if troubled else HealthState.OK
        return Health(name, state, _named(troubled), now_utc, todo if troubled else "")

    return [
        fact("campaigns.sealing", _names(unsealed), HealthState.LATE, "look whether the role `plan` runs"),
        fact("campaigns.starts", _names(late), HealthState.LATE, "look whether `send` runs and the relay answers"),
        fact("campaigns.held", _reasons(held), HealthState.FAILING, "decide: resume, send now or stop"),
        fact("campaigns.missed", _reasons(missed), HealthState.FAILING, "decide: send now, or acknowledge"),
        fact(
            "campaigns.unknown",
            _unknown(project_id, rows, now_utc),
            HealthState.LATE,
            "a sender or its way out died between a message and its answer: look at the names, then decide",
        ),
        _planner(project_id, now_utc),
    ]


def _planner(project_id: str, now_utc: datetime) -> Health:
    """Tell whether a planner looks: by its own word, because an open port proves nothing."""
    last = PlannerBeat.objects.aggregate(last=Max("at"))["last"]
    open_states = (CampaignState.SCHEDULED, CampaignState.ACTIVE)
    needed = Campaign.objects.filter(project_id=project_id, state__in=open_states).exists()
    todo = "start the role `plan`, and look whether it reaches the database"
    if last is None:
        state = HealthState.UNKNOWN if needed else HealthState.OK
        return Health("campaigns.planner", state, "no planner has ever looked", now_utc, todo if needed else "")
    silent = now_utc - last > PLANNER_SILENT
    state = HealthState.FAILING if silent and needed else HealthState.OK
    detail = f"last looked {(now_utc - last).total_seconds():.0f} s ago" if silent else ""
    return Health("campaigns.planner", state, detail, last, todo if silent and needed else "")


def _unknown(project_id: str, rows: QuerySet[Run], now_utc: datetime) -> list[str]:
    lately = list(rows.filter(started_at__gte=now_utc - LOOK_BACK, acknowledged_at__isnull=True))
    tallies = ledger.tallies(project_id, [run.id for run in lately]) if lately else {}
    counts = [(run.campaign.name, tallies.get(run.id, {}).get("unknown", 0)) for run in lately]
    return [f"{name}: {count}" for name, count in counts if count]


def _names(rows: QuerySet[Run]) -> list[str]:
    return [run.campaign.name for run in rows[: _MOST_NAMED + 1]]


def _reasons(rows: QuerySet[Run]) -> list[str]:
    return [f"{run.campaign.name}: {run.reason}" for run in rows[: _MOST_NAMED + 1]]


def _named(troubled: list[str]) -> str:
    more = ", and more" if len(troubled) > _MOST_NAMED else ""
    return ", ".join(troubled[:_MOST_NAMED]) + more
