"""What the api answers, as schemas; the command line prints the same ones."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal
from uuid import UUID

from ninja import Schema

from todoku.campaigns.types import (
    AuditLine,
    AwayRow,
    CalendarEntry,
    CampaignRow,
    CampaignState,
    Obstacle,
    Plan,
    RemedyResult,
    Repeat,
    RunKind,
    RunRow,
    RunState,
    TimelineEntry,
)
from todoku.delivery.types import DeliveryRow, RecipientState, RunBalance
from todoku.guests.types import Audience


class BalanceOut(Schema):
    """planned = the sum of all others, always."""

    planned: int
    sent: int
    refused: int
    suppressed: int
    unrenderable: int
    expired: int
    unknown: int
    pending: int

    @staticmethod
    def of(balance: RunBalance) -> BalanceOut:
        """Return the balance of a run."""
        return BalanceOut(**balance.as_dict())


class RunOut(Schema):
    """One execution of a campaign. seconds_late: null before the start. to_send: null before it is sealed."""

    id: UUID
    campaign_id: UUID
    kind: RunKind
    occurrence: int
    state: RunState
    reason: str
    due_at: datetime
    latest_start_at: datetime | None
    latest_finish_at: datetime | None
    sealed_at: datetime | None
    pre_sealed: bool
    awaits_approval: bool
    started_at: datetime | None
    finished_at: datetime | None
    seconds_late: float | None
    cause: str
    to_send: int | None
    source_run_id: UUID | None
    balance: BalanceOut

    @staticmethod
    def of(row: RunRow) -> RunOut:
        """Return a run."""
        return RunOut(
            id=row.id,
            campaign_id=row.campaign_id,
            kind=row.kind,
            occurrence=row.occurrence,
            state=row.state,
            reason=row.reason,
            due_at=row.due_at_utc,
            latest_start_at=row.latest_start_at_utc,
            latest_finish_at=row.latest_finish_at_utc,
            sealed_at=row.sealed_at_utc,
            pre_sealed=row.pre_sealed,
            awaits_approval=row.awaits_approval,
            started_at=row.started_at_utc,
            finished_at=row.finished_at_utc,
            seconds_late=row.seconds_late,
            cause=row.cause,
            to_send=row.to_send,
            source_run_id=row.source_run_id,
            balance=BalanceOut.of(row.balance),
        )


class AudienceDoc(Schema):
    """Whom a campaign goes to; everything left out means everybody who agreed."""

    min_visits: int | None = None
    max_visits: int | None = None
    last_visit_on_or_after: date | None = None
    last_visit_before: date | None = None
    sites: tuple[str, ...] = ()
    shop_codes: tuple[str, ...] = ()

    @staticmethod
    def of(audience: Audience) -> AudienceDoc:
        """Return an audience."""
        return AudienceDoc(
            min_visits=audience.min_visits,
            max_visits=audience.max_visits,
            last_visit_on_or_after=audience.last_visit_on_or_after,
            last_visit_before=audience.last_visit_before,
            sites=audience.sites,
            shop_codes=audience.shop_codes,
        )

    def to_audience(self) -> Audience:
        """Return what the rooms call an audience."""
        return Audience(
            min_visits=self.min_visits,
            max_visits=self.max_visits,
            last_visit_on_or_after=self.last_visit_on_or_after,
            last_visit_before=self.last_visit_before,
            sites=self.sites,
            shop_codes=self.shop_codes,
        )


class RepeatDoc(Schema):
    """When a repeating campaign leaves, by the clock of time_zone. at: "10:30", null for cron; month_day -1 = last."""

    kind: Literal["daily", "weekly", "monthly", "cron"]
    at: str | None = None
    every: int = 1
    weekdays: tuple[int, ...] = ()
    month_day: int = 1
    cron: str = ""
    time_zone: str = ""
    until: date | None = None
    count: int | None = None
    holidays: Literal["send", "skip", "before", "after"] = "send"

    @staticmethod
    def of(repeat: Repeat) -> RepeatDoc:
        """Return a repetition."""
        return RepeatDoc(
            kind=repeat.kind.value,
            at=None if repeat.at_minute is None else minute_text(repeat.at_minute),
            every=repeat.every,
            weekdays=repeat.weekdays,
            month_day=repeat.month_day,
            cron=repeat.cron,
            time_zone=repeat.time_zone,
            until=repeat.until,
            count=repeat.count,
            holidays=repeat.holidays.value,
        )


class QuietDoc(Schema):
    """Hours in which nothing leaves; from later than until spans midnight."""

    begin: str
    end: str


class LateDoc(Schema):
    """What happens to a run that can't start on time."""

    start_within_seconds: float = 14_400.0
    then: Literal["ask", "skip"] = "ask"
    pile_up: Literal["newest", "all", "ask"] = "newest"
    older_seal: bool = True


class PlanDoc(Schema):
    """How a campaign leaves. repeat null: once. pace_per_second 0: no limit. guard_factor 0: no guard."""

    repeat: RepeatDoc | None = None
    late: LateDoc = LateDoc()
    quiet: QuietDoc | None = None
    recipient_zone: bool = False
    pace_per_second: float = 0.0
    transport: str = ""
    guard_factor: float = 2.0

    @staticmethod
    def of(plan: Plan) -> PlanDoc:
        """Return a plan."""
        quiet, late = plan.quiet, plan.late
        return PlanDoc(
            repeat=None if plan.repeat is None else RepeatDoc.of(plan.repeat),
            late=LateDoc(
                start_within_seconds=late.start_within_seconds,
                then=late.then.value,
                pile_up=late.pile_up.value,
                older_seal=late.older_seal,
            ),
            quiet=None
            if quiet is None
            else QuietDoc(begin=minute_text(quiet.begin_minute), end=minute_text(quiet.end_minute)),
            recipient_zone=plan.recipient_zone,
            pace_per_second=plan.pace_per_second,
            transport=plan.transport,
            guard_factor=plan.guard_factor,
        )


class ApprovalOut(Schema):
    """A second person's word, where the project asks for it."""

    asked_by: str
    asked_at: datetime
    given_by: str
    given_at: datetime | None


class CampaignOut(Schema):
    """One campaign, with the run that matters now."""

    id: UUID
    name: str
    state: CampaignState
    version: int
    due_at: datetime | None
    next_due_at: datetime | None
    created_by: str
    subject: str
    html: str
    text: str
    audience: AudienceDoc
    plan: PlanDoc
    approval: ApprovalOut | None
    run: RunOut | None

    @staticmethod
    def of(row: CampaignRow) -> CampaignOut:
        """Return a campaign."""
        asked = row.approval
        return CampaignOut(
            id=row.id,
            name=row.name,
            state=row.state,
            version=row.version,
            due_at=row.due_at_utc,
            next_due_at=row.next_due_at_utc,
            created_by=row.created_by,
            subject=row.content.subject,
            html=row.content.html,
            text=row.content.text,
            audience=AudienceDoc.of(row.audience),
            plan=PlanDoc.of(row.plan),
            approval=None
            if asked is None
            else ApprovalOut(
                asked_by=asked.asked_by,
                asked_at=asked.asked_at_utc,
                given_by=asked.given_by,
                given_at=asked.given_at_utc,
            ),
            run=None if row.run is None else RunOut.of(row.run),
        )


class ObstacleOut(Schema):
    """One thing that speaks against sending, in both languages."""

    code: str
    message: str
    message_ja: str
    part: str
    line: int

    @staticmethod
    def of(one: Obstacle) -> ObstacleOut:
        """Return an obstacle."""
        return ObstacleOut(code=one.code, message=one.message, message_ja=one.message_ja, part=one.part, line=one.line)


class TimelineOut(Schema):
    """One moment in the life of a run."""

    at: datetime
    what: str
    detail: str
    by: str

    @staticmethod
    def of(one: TimelineEntry | AuditLine) -> TimelineOut:
        """Return a moment, of a run's timeline or of a campaign's audit log."""
        what = one.what if isinstance(one, TimelineEntry) else one.action
        return TimelineOut(at=one.at_utc, what=what, detail=one.detail, by=one.by)


class CalendarOut(Schema):
    """One start, past or to come; run_id null and state "expected": an occurrence that has no run yet."""

    campaign_id: UUID
    run_id: UUID | None
    name: str
    due_at: datetime
    state: str
    planned: int | None

    @staticmethod
    def of(one: CalendarEntry) -> CalendarOut:
        """Return an entry of the calendar."""
        return CalendarOut(
            campaign_id=one.campaign_id,
            run_id=one.run_id,
            name=one.name,
            due_at=one.due_at_utc,
            state=one.state,
            planned=one.planned,
        )


class AwayOut(Schema):
    """One run that somebody should know of, and what may be done with it."""

    what: str
    campaign_name: str
    remedies: list[str]
    run: RunOut

    @staticmethod
    def of(one: AwayRow) -> AwayOut:
        """Return a late, held or missed run."""
        return AwayOut(
            what=one.what, campaign_name=one.campaign_name, remedies=list(one.remedies), run=RunOut.of(one.run)
        )


class RemedyOut(Schema):
    """What became of one run of a remedy; problem "": it was done."""

    run_id: UUID
    new_run_id: UUID | None
    problem: str

    @staticmethod
    def of(one: RemedyResult) -> RemedyOut:
        """Return one result."""
        return RemedyOut(run_id=one.run_id, new_run_id=one.new_run_id, problem=one.problem)


class RecipientOut(Schema):
    """One name behind a number."""

    guest_id: UUID | None
    address: str
    state: RecipientState
    answer: str
    at: datetime
    message_id: str

    @staticmethod
    def of(row: DeliveryRow) -> RecipientOut:
        """Return one line of the ledger."""
        return RecipientOut(
            guest_id=row.guest_id,
            address=row.address,
            state=RecipientState(row.state),
            answer=row.answer,
            at=row.at_utc,
            message_id=row.message_id,
        )


def minute_text(minute: int) -> str:
    """Write a minute of the day: 630 is 10:30."""
    return f"{minute // 60:02d}:{minute % 60:02d}"
