"""What the planner reads and writes in the database; every write is a compare-and-set. Synchronous."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import F, Q, QuerySet

from todoku.campaigns import occurrence_desk
from todoku.campaigns.following import run_began, run_ended
from todoku.campaigns.models import Campaign, Run
from todoku.campaigns.run_making import plan_of
from todoku.campaigns.seal_claims import FIRST_RELEASE, PLANNER, fixed_part
from todoku.campaigns.transitions import Act, Raced, decide, find_run, record
from todoku.campaigns.types import RunKind, RunState
from todoku.delivery.engine.starts import StartRecord
from todoku.delivery.types import RunBalance, RunOrder

_WISHES = {
    RunState.SEALED: "sealed",
    RunState.SENDING: "sealed",
    RunState.STOPPED: "stopped",
    RunState.MISSED: "stopped",
}
_LIGHT = (
    "id",
    "project_id",
    "campaign_id",
    "kind",
    "state",
    "seal",
    "attempt",
    "version",
    "order_version",
    "due_at",
    "latest_start_at",
    "late_then",
    "awaits_approval",
    "started_at",
    "changed_at",
    "pre_sealed_at",
    "sealed_at",
    "refresh_at",
    "planned",
    "expected_planned",
    "lease_until",
    "told_journal",
    "undelivered_kept",
)


@dataclass(frozen=True, slots=True)
class OpenRun:
    """One run that the planner has to look at. to_send: None until there is a seal.

    first_release_at: by recipients' zones the first of them is due before (or after) the due time; else None.
    """

    id: UUID
    project_id: str
    campaign_id: UUID
    kind: RunKind
    state: RunState
    seal: int
    attempt: int
    version: int
    order_version: int
    due_at: datetime
    latest_start_at: datetime
    late_then: str
    awaits_approval: bool
    started_at: datetime | None
    changed_at: datetime
    pre_sealed_at: datetime | None
    sealed_at: datetime | None
    refresh_at: datetime | None
    planned: int
    expected_planned: int | None
    lease_until: datetime | None
    told_journal: bool
    undelivered_kept: bool
    to_send: int | None
    first_release_at: datetime | None

    @property
    def sealed(self) -> bool:
        """Tell whether an audience is frozen."""
        return self.to_send is not None

    @property
    def frozen_at(self) -> datetime | None:
        """Return when the audience that counts was read, at the latest."""
        return self.sealed_at or self.pre_sealed_at

    @property
    def begins_at(self) -> datetime:
        """Return when the first message is due."""
        return self.due_at if self.first_release_at is None else min(self.due_at, self.first_release_at)


@dataclass(frozen=True, slots=True)
class Ahead:
    """A planned run that is due later. time_zone: of its project; by_zone: it leaves by its recipients' zones."""

    run: OpenRun
    time_zone: str
    by_zone: bool


def open_runs(reach_utc: datetime) -> list[OpenRun]:
    """Return the runs that are due up to reach_utc or sealed, and not yet closed, by due time; one statement.

    Of all projects: the planner is a role, not a person.
    """
    waiting = Q(state__in=(RunState.PLANNED, RunState.SEALING), due_at__lte=reach_utc)
    return _light(Run.objects.filter(waiting | Q(order__isnull=False), closed_at__isnull=True))


def ahead(first_utc: datetime, reach_utc: datetime) -> list[Ahead]:
    """Return of each campaign the planned run that is due next after first_utc, up to reach_utc; two statements.

    Only the next: a campaign that repeats every five minutes would else be sealed 288 times for every day.
    """
    rows = Run.objects.filter(
        state__in=(RunState.PLANNED, RunState.SEALING),
        order__isnull=True,
        closed_at__isnull=True,
        due_at__gt=first_utc,
        due_at__lte=reach_utc,
    )
    ids = rows.order_by("campaign_id", "due_at", "id").distinct("campaign_id").values("id")
    runs = _light(Run.objects.filter(id__in=ids))
    plans = Campaign.objects.filter(id__in={run.campaign_id for run in runs})
    about = {
        campaign_id: (zone, bool((plan or {}).get("recipient_zone")))
        for campaign_id, zone, plan in plans.values_list("id", "project__time_zone", "plan")
    }
    return [Ahead(run, *about[run.campaign_id]) for run in runs if run.campaign_id in about]


def order_of(run: OpenRun) -> RunOrder | None:
    """Return the order that senders should have in hand now; None when the run is closed."""
    row = (
        Run.objects.filter(project_id=run.project_id, id=run.id, closed_at__isnull=True, order__isnull=False)
        .select_related("campaign")
        .first()
    )
    if row is None or row.order is None:
        return None
    kept = dict(row.order)
    first_release = kept.pop(FIRST_RELEASE, None)
    due_at = row.due_at
    if first_release is not None:
        due_at = min(due_at, datetime.fromisoformat(first_release))
    plan = plan_of(row.campaign)
    test = row.kind == RunKind.TEST
    return RunOrder(
        project_id=row.project_id,
        run_id=row.id.hex,
        state=_wish(row, older_seal=plan.late.older_seal),
        due_at_utc=due_at,
        latest_start_at_utc=row.latest_start_at,
        latest_finish_at_utc=row.latest_finish_at,
        pace_per_second=0.0 if test else plan.pace_per_second,
        quiet=None if test else plan.quiet,
        transport=plan.transport,
        version=row.version,
        **kept,
    )


def mark_ordered(run: OpenRun, version: int) -> None:
    """Note that senders have this version's order in hand; never goes back."""
    Run.objects.filter(project_id=run.project_id, id=run.id, order_version__lt=version).update(order_version=version)


def mark_told(run: OpenRun, seal: int) -> None:
    """Note that the journal has the people who were left out of the seal that counts."""
    Run.objects.filter(project_id=run.project_id, id=run.id, seal=seal).update(told_journal=True)


def mark_started(run: OpenRun, start: StartRecord, now_utc: datetime) -> bool:
    """A sender has begun: the seal of its record is the one that counts, and the run is sending.

    A run that a person has paused or stopped meanwhile stays so; one that was held or let go is taken back. False when
    it was noted before.
    """
    if run.state in (RunState.HELD, RunState.MISSED):
        occurrence_desk.had_begun(run.project_id, run.id, start.started_at_utc, now_utc)

    def work() -> bool:
        row = find_run(run.project_id, run.id)
        noted = row.started_at is not None
        if noted and row.seal == start.seal:
            return False
        changes: dict[str, Any] = {"started_at": start.started_at_utc, "sealer": "", "lease_until": None}
        if row.state == RunState.SEALED:
            changes["state"] = RunState.SENDING
        elif row.state in (RunState.PAUSED, RunState.HELD):
            changes["resume_to"] = RunState.SENDING
        if row.seal != start.seal:
            changes |= {
                "seal": start.seal,
                "order": fixed_part(start.order),
                "planned": start.order.to_send + start.order.not_sendable,
                "sealed_at": row.pre_sealed_at or start.started_at_utc,
                "told_journal": False,
                "version": F("version") + 1,
            }
        elif row.sealed_at is None:
            changes["sealed_at"] = row.pre_sealed_at or start.started_at_utc
        same = Run.objects.filter(project_id=row.project_id, id=row.id, state=row.state, version=row.version)
        # the version stays for the seal that senders were told of: they need not hear what they told us
        if same.update(changed_at=now_utc, refresh_at=None, **changes) != 1:
            raise Raced
        if row.state != RunState.STOPPED:
            run_began(row.project_id, row.campaign_id, row.kind)
        late = max(0.0, (start.started_at_utc - row.due_at).total_seconds())
        older = ", with the audience of the day before" if start.order.provisional else ""
        act = Act("run.started", PLANNER, start.started_at_utc, f"{late:.1f} s late, seal {start.seal}{older}")
        record(act, row.project_id, row.campaign_id, row.id)
        return True

    return decide(work)


def mark_finished(run: OpenRun, balance: RunBalance, now_utc: datetime) -> bool:
    """Everybody has a terminal state: close the run's balance, and its campaign when that was the last."""
    tallies = {name: count for name, count in balance.as_dict().items() if name not in {"planned", "pending"}}

    def work() -> bool:
        changed = _same(run).update(
            state=RunState.FINISHED,
            resume_to="",
            finished_at=now_utc,
            changed_at=now_utc,
            tallies=tallies,
        )
        if changed != 1:
            return False
        detail = ", ".join(f"{name} {count}" for name, count in balance.as_dict().items())
        act = Act("run.finished", PLANNER, now_utc, detail)
        record(act, run.project_id, run.campaign_id, run.id)
        run_ended(run.project_id, run.campaign_id, run.kind, act)
        return True

    return decide(work)


def mark_closed(run: OpenRun, now_utc: datetime) -> None:
    """Note that the bus holds nothing of this run any more but its journal."""
    Run.objects.filter(project_id=run.project_id, id=run.id, closed_at__isnull=True).update(closed_at=now_utc)


def closed_among(run_ids: list[UUID]) -> set[UUID]:
    """Return which of these runs are closed."""
    return set(Run.objects.filter(id__in=run_ids, closed_at__isnull=False).values_list("id", flat=True))


def _wish(row: Run, *, older_seal: bool) -> str:
    """Return what senders should do with the run."""
    if row.state == RunState.SEALED:
        stale = row.pre_sealed_at is not None and row.sealed_at is None
        hurried = stale and row.refresh_at is None  # by a person, just now: a fresh seal is a moment away
        if row.awaits_approval or hurried or (stale and not older_seal):
            return "paused"
    return _WISHES.get(RunState(row.state), "paused")


def _light(rows: QuerySet[Run]) -> list[OpenRun]:
    found = rows.order_by("due_at", "id").values(*_LIGHT, "order__to_send", f"order__{FIRST_RELEASE}")
    return [_open_run(dict(row)) for row in found]


def _open_run(row: dict[str, Any]) -> OpenRun:
    to_send = row.pop("order__to_send")
    first = row.pop(f"order__{FIRST_RELEASE}")
    row["state"] = RunState(row["state"])
    row["kind"] = RunKind(row["kind"])
    first_release = datetime.fromisoformat(first) if first else None
    return OpenRun(**row, to_send=to_send, first_release_at=first_release)


def _same(run: OpenRun) -> QuerySet[Run]:
    return Run.objects.filter(project_id=run.project_id, id=run.id, state=run.state, seal=run.seal, version=run.version)
