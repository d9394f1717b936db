"""Runs for repeating campaigns: made two days ahead, sorted out after an outage. Called by planners, any number.

Which occurrences have their run is a cursor on the campaign (`scheduled_through`), moved by the same compare-and-set
that numbers the runs: of two planners at once one makes them, the other finds them made.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from uuid import UUID

import structlog
from django.db.models import Count, Max, Q, QuerySet

from todoku.campaigns import following, policies
from todoku.campaigns.models import Audit, Campaign, PlannerBeat, Run
from todoku.campaigns.occurrences import dues_after
from todoku.campaigns.policies import LateDecision, LateFacts, Verdict
from todoku.campaigns.run_making import add_occurrences, plan_of, zone_of
from todoku.campaigns.transitions import (
    WAITING,
    Act,
    change_campaign,
    change_run,
    decide,
    find_run,
    record,
    record_all,
)
from todoku.campaigns.types import CampaignState, PileUp, Reason, Repeat, RunKind, RunState

log = structlog.get_logger(__name__)

PLANNER = "planner"
HORIZON = timedelta(hours=48)
STEP = timedelta(hours=1)  # planned a little further, so that a campaign is looked into once an hour
MOST_AT_ONCE = 2_000
AWAY = timedelta(seconds=60)  # no planner looked for so long: something was away
_BEAT_KEPT = timedelta(days=1)
_REPEATING = (CampaignState.SCHEDULED, CampaignState.ACTIVE)


@dataclass(frozen=True, slots=True)
class PlannedAhead:
    """What one pass did: runs made, and overdue ones that were let go or held by the pile-up policy."""

    made: int = 0
    missed: int = 0
    held: int = 0

    def __add__(self, other: PlannedAhead) -> PlannedAhead:
        return PlannedAhead(self.made + other.made, self.missed + other.missed, self.held + other.held)


def plan_ahead(now_utc: datetime) -> PlannedAhead:
    """Make the runs of the next 48 hours, at least each campaign's next one, and sort out what has piled up.

    Call it before looking at runs: after an outage it decides which of the overdue ones still leave. Two statements
    when there is nothing to do. A campaign that can't be planned is logged and left for the next pass; it makes no
    other one late. Raises database errors.
    """
    done = PlannedAhead()
    behind = Campaign.objects.filter(state__in=_REPEATING, scheduled_through__lt=now_utc + HORIZON)
    for campaign_id in behind.order_by("scheduled_through").values_list("id", flat=True):
        done += _attempt(campaign_id, now_utc, extend=True)
    for campaign_id in _piled_up(now_utc):
        done += _attempt(campaign_id, now_utc, extend=False)
    return done


def decision_for_unbegun(project_id: str, run_id: UUID, now_utc: datetime) -> LateDecision:
    """Return what to do with a due run of which the planner knows that no sender has begun it. One or two statements.

    Over `policies.late_decision` it knows the pile-up policy: a run that senders have in hand may be let go only
    after somebody has looked whether they began it.
    """
    run = find_run(project_id, run_id)
    late = policies.late_decision(run, now_utc)
    if run.kind != RunKind.CAMPAIGN or now_utc < run.due_at:
        return late
    plan = plan_of(run.campaign)
    if plan.repeat is None or plan.late.pile_up is PileUp.ALL:
        return late
    overdue = list(_overdue(run.campaign, now_utc).values_list("id", "due_at"))
    verdicts = policies.left_behind(plan.late.pile_up, [due for _id, due in overdue])
    verdict = dict(zip((run_id for run_id, _due in overdue), verdicts, strict=True)).get(run.id, Verdict.GO)
    if verdict is Verdict.GO:
        return late
    return LateDecision(verdict, policies.pile_up_reason(verdict, len(overdue), overdue[-1][1]))


def apply(project_id: str, run_id: UUID, decision: LateDecision, now_utc: datetime) -> bool:
    """Hold or let go a run that has not begun, as decided; False when it was changed or there is nothing to do.

    A run that senders have in hand becomes `missed` with its order on the bus: the planner passes the end on to them
    and clears the bus, as for a stopped one.
    """
    if decision.verdict is Verdict.GO or decision.reason is None:
        return False
    reason = decision.reason

    def work() -> bool:
        run = find_run(project_id, run_id)
        if RunState(run.state) not in WAITING or run.started_at is not None:
            return False
        if decision.verdict is Verdict.HOLD:
            hold_unbegun(run, reason, now_utc)
        else:
            miss_unbegun(run, reason, Act("run.missed", PLANNER, now_utc, reason.en))
        return True

    return decide(work)


def had_begun(project_id: str, run_id: UUID, started_at_utc: datetime, now_utc: datetime) -> bool:
    """Take back `missed` or `held` for a run that a sender turns out to have begun before it heard of that."""

    def work() -> bool:
        run = find_run(project_id, run_id)
        if RunState(run.state) not in (RunState.MISSED, RunState.HELD) or run.closed_at is not None:
            return False
        change_run(
            run, now_utc, state=RunState.SENDING, started_at=started_at_utc, reason="", reason_ja="", resume_to=""
        )
        following.reopen(run.campaign)
        following.run_began(project_id, run.campaign_id, run.kind)
        record(Act("run.had_begun", PLANNER, now_utc), project_id, run.campaign_id, run.id)
        return True

    return decide(work)


def hold_unbegun(run: Run, reason: Reason, now_utc: datetime) -> None:
    """Let a person decide about a run; within the caller's transaction. Raises Raced."""
    change_run(
        run,
        now_utc,
        state=RunState.HELD,
        resume_to=RunState.SEALED if run.order is not None else RunState.PLANNED,
        reason=reason.en,
        reason_ja=reason.ja,
        lease_until=None,
    )
    record(Act("run.held", PLANNER, now_utc, reason.en), run.project_id, run.campaign_id, run.id)


def miss_unbegun(run: Run, reason: Reason, act: Act) -> None:
    """Let a run go that has not begun; within the caller's transaction. Raises Raced."""
    change_run(
        run,
        act.at_utc,
        state=RunState.MISSED,
        resume_to="",
        reason=reason.en,
        reason_ja=reason.ja,
        lease_until=None,
        closed_at=None if run.order is not None else act.at_utc,
    )
    record(act, run.project_id, run.campaign_id, run.id)
    following.run_ended(run.project_id, run.campaign_id, run.kind, act)


def catch_up(campaign: Campaign, now_utc: datetime) -> PlannedAhead:
    """Make what a campaign lacks and sort out what has piled up while it was paused; within the caller's transaction.

    Raises Raced.
    """
    done = _extend(campaign, now_utc) if campaign.scheduled_through is not None else PlannedAhead()
    return done + _sort_out(campaign, now_utc, paused=True)


def note_cause(project_id: str, run_id: UUID, now_utc: datetime) -> Reason:
    """Find out why a run is or was late, keep it on the run and return it. Four statements; no effect on its state."""
    run = find_run(project_id, run_id)
    zone = zone_of(run.campaign)
    waited_for, waited_until = _waited(run, now_utc)
    away = PlannerBeat.objects.filter(away_until__gte=run.due_at - timedelta(hours=1), away_from__lte=now_utc)
    span = away.order_by("-away_until").values_list("away_from", "away_until").first()
    cause = policies.cause_of_lateness(
        LateFacts(
            due_at_utc=run.due_at,
            now_utc=now_utc,
            ready_at_utc=run.sealed_at or run.pre_sealed_at,
            waited_until_utc=waited_until,
            waited_for=waited_for,
            away=(span[0], span[1]) if span and span[0] and span[1] else None,
            quiet=plan_of(run.campaign).quiet,
            time_zone=zone,
        )
    )
    Run.objects.filter(project_id=project_id, id=run_id).update(cause=cause.en, cause_ja=cause.ja)
    return cause


def beat(planner: str, now_utc: datetime) -> None:
    """Note that this planner looks; and, when nobody did for a minute, from when to when that was. Three statements."""
    last = PlannerBeat.objects.aggregate(last=Max("at"))["last"]
    gap = {"away_from": last, "away_until": now_utc} if last is not None and now_utc - last > AWAY else {}
    PlannerBeat.objects.update_or_create(planner=planner[:64], defaults={"at": now_utc, **gap})
    if gap:
        log.warning("plan.was_away", away_from=last.isoformat(), seconds=(now_utc - last).total_seconds())
        PlannerBeat.objects.filter(at__lt=now_utc - _BEAT_KEPT).delete()


def _attempt(campaign_id: UUID, now_utc: datetime, *, extend: bool) -> PlannedAhead:
    def work() -> PlannedAhead:
        campaign = Campaign.objects.filter(id=campaign_id, state__in=_REPEATING).first()
        if campaign is None:
            return PlannedAhead()
        return _extend(campaign, now_utc) if extend else _sort_out(campaign, now_utc)

    try:
        return decide(work)
    except (ValueError, LookupError) as error:
        # a rule that has become impossible (a time zone that the system lost) makes no other campaign late
        log.exception("plan.campaign_failed", campaign_id=str(campaign_id), error=str(error))
        return PlannedAhead()


def _extend(campaign: Campaign, now_utc: datetime) -> PlannedAhead:
    """Make runs from the cursor up to the horizon, at least the next one; overdue ones as the policy says."""
    plan = plan_of(campaign)
    cursor = campaign.scheduled_through
    if plan.repeat is None or cursor is None:
        change_campaign(campaign, scheduled_through=None)
        return PlannedAhead()
    dues, through = _next_dues(plan.repeat, cursor, now_utc)
    overdue = [due for due in dues if due <= now_utc]
    runs = add_occurrences(campaign, dues, now_utc, expected_planned=_expected(campaign), scheduled_through=through)
    if dues:
        record(
            Act("campaign.planned_ahead", PLANNER, now_utc, f"{len(dues)} runs, the last due {dues[-1].isoformat()}"),
            campaign.project_id,
            campaign.id,
        )
    done = PlannedAhead(made=len(runs))
    if len(overdue) > 1 and plan.late.pile_up is PileUp.NEWEST:
        # one statement for all: after a month away an occurrence every five minutes is nine thousand
        old = [run.id for run in runs if run.due_at in set(overdue[:-1])]
        done += _miss_many(campaign, old, overdue[-1], now_utc)
    if through is None:
        following.run_ended(campaign.project_id, campaign.id, RunKind.CAMPAIGN, Act("", PLANNER, now_utc))
    return done


def _next_dues(repeat: Repeat, cursor: datetime, now_utc: datetime) -> tuple[list[datetime], datetime | None]:
    """Return the due times that get their runs now, and up to where the rule is planned then; None: to its end."""
    until = now_utc + HORIZON + STEP
    found: list[datetime] = []
    for due in islice(dues_after(repeat, cursor), MOST_AT_ONCE):
        nothing_ahead = max((cursor, *found[-1:])) <= now_utc
        if due > until and not nothing_ahead:
            return found, until
        found.append(due)
        if due > until:
            return found, due
    return found, found[-1] if len(found) == MOST_AT_ONCE else None


def _miss_many(campaign: Campaign, run_ids: list[UUID], newest: datetime, now_utc: datetime) -> PlannedAhead:
    reason = policies.pile_up_reason(Verdict.MISS, len(run_ids) + 1, newest)
    missed = Run.objects.filter(project_id=campaign.project_id, id__in=run_ids).update(
        state=RunState.MISSED,
        reason=reason.en,
        reason_ja=reason.ja,
        closed_at=now_utc,
        changed_at=now_utc,
    )
    record_all(Act("run.missed", PLANNER, now_utc, reason.en), campaign.project_id, campaign.id, run_ids)
    return PlannedAhead(missed=missed)


def _sort_out(campaign: Campaign, now_utc: datetime, *, paused: bool = False) -> PlannedAhead:
    """Apply the pile-up policy to overdue runs.

    Those that senders have in hand are left for `decision_for_unbegun`, unless they were `paused`: those send nothing.
    """
    plan = plan_of(campaign)
    overdue = list(_overdue(campaign, now_utc))
    verdicts = policies.left_behind(plan.late.pile_up, [run.due_at for run in overdue])
    missed = held = 0
    for run, verdict in zip(overdue, verdicts, strict=True):
        if verdict is Verdict.GO or (run.order is not None and not paused):
            continue
        reason = policies.pile_up_reason(verdict, len(overdue), overdue[-1].due_at)
        if verdict is Verdict.HOLD:
            hold_unbegun(run, reason, now_utc)
            held += 1
        else:
            miss_unbegun(run, reason, Act("run.missed", PLANNER, now_utc, reason.en))
            missed += 1
    return PlannedAhead(missed=missed, held=held)


def _piled_up(now_utc: datetime) -> list[UUID]:
    """Return the repeating campaigns of which two or more overdue runs wait, one at least unknown to senders."""
    rows = (
        Run.objects.filter(
            state__in=WAITING,
            kind=RunKind.CAMPAIGN,
            due_at__lte=now_utc,
            started_at__isnull=True,
            closed_at__isnull=True,
            campaign__state__in=_REPEATING,
        )
        .exclude(campaign__plan__repeat=None)
        .values("campaign_id")
        .annotate(waiting=Count("id"), unordered=Count("id", filter=Q(order__isnull=True)))
        .filter(waiting__gt=1, unordered__gt=0)
    )
    return [row["campaign_id"] for row in rows]


def _overdue(campaign: Campaign, now_utc: datetime) -> QuerySet[Run]:
    rows = Run.objects.filter(
        project_id=campaign.project_id,
        campaign=campaign,
        kind=RunKind.CAMPAIGN,
        state__in=WAITING,
        due_at__lte=now_utc,
        started_at__isnull=True,
        closed_at__isnull=True,
    )
    return rows.order_by("due_at", "occurrence")


def _expected(campaign: Campaign) -> int | None:
    """Return how many people the next occurrence should have: as the last one sealed, else as when scheduled."""
    rows = Run.objects.filter(project_id=campaign.project_id, campaign=campaign, kind=RunKind.CAMPAIGN)
    sealed = rows.filter(planned__gt=0).order_by("-occurrence").values_list("planned", flat=True).first()
    if sealed is not None:
        return sealed
    return rows.order_by("-occurrence").values_list("expected_planned", flat=True).first()


def _waited(run: Run, now_utc: datetime) -> tuple[str, datetime | None]:
    """Return for what the run waited over its due time, and until when; "" when it did not."""
    if run.awaits_approval:
        return "approval", now_utc
    if run.state in (RunState.PAUSED, RunState.HELD):
        return run.state, now_utc
    of_run = Q(run_id=run.id) | Q(run_id=None, campaign_id=run.campaign_id)
    lines = Audit.objects.filter(of_run, project_id=run.project_id, at__gte=run.due_at)
    names = {"campaign.resumed": "paused", "campaign.approved": "approval", "run.sent_now": "held"}
    line = lines.filter(action__in=names).order_by("-at").values_list("action", "at").first()
    return (names[line[0]], line[1]) if line is not None else ("", None)
