"""Campaigns and their runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from todoku.delivery.types import QuietHours, RunBalance
from todoku.guests.types import Audience


class CampaignState(StrEnum):
    """draft -> scheduled -> active -> finished, with paused and stopped."""

    DRAFT = "draft"
    SCHEDULED = "scheduled"
    ACTIVE = "active"
    PAUSED = "paused"
    STOPPED = "stopped"
    FINISHED = "finished"


class RunState(StrEnum):
    """planned -> sealing -> sealed -> sending -> finished; held waits for a person, stopped was a person.

    missed: its latest start passed and the campaign's policy, or a person, let it go.
    """

    PLANNED = "planned"
    SEALING = "sealing"
    SEALED = "sealed"
    SENDING = "sending"
    FINISHED = "finished"
    PAUSED = "paused"
    HELD = "held"
    STOPPED = "stopped"
    MISSED = "missed"


class RunKind(StrEnum):
    """campaign: an occurrence; resend: to those whom another run did not reach; test: to typed addresses."""

    CAMPAIGN = "campaign"
    RESEND = "resend"
    TEST = "test"


class LateChoice(StrEnum):
    """What becomes of a run whose latest start has passed: ask a person (held), or skip it (missed)."""

    ASK = "ask"
    SKIP = "skip"


class PileUp(StrEnum):
    """Which of several overdue occurrences of a repeating campaign still leave."""

    NEWEST = "newest"
    ALL = "all"
    ASK = "ask"


class HolidayRule(StrEnum):
    """What an occurrence on a Japanese public holiday does: leave, be left out, move to the day before or after."""

    SEND = "send"
    SKIP = "skip"
    BEFORE = "before"
    AFTER = "after"


class RepeatKind(StrEnum):
    """How the days of a repeating campaign are named."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    CRON = "cron"


@dataclass(frozen=True, slots=True)
class Repeat:
    """When a repeating campaign leaves, by the wall clock of time_zone.

    at_minute: minute of the day, None only for CRON. every: each N days, weeks (from Monday) or months, counted from
    the first occurrence. weekdays: 0 = Monday. month_day: 1-31, -1 = the last day; months without a 29th, 30th or 31st
    are left out. cron: five fields, as crontab(5). until: the last local day. count: that many occurrences.
    starts_at_utc: none is earlier; every and count begin there. None until it is scheduled.
    """

    kind: RepeatKind
    at_minute: int | None = None
    every: int = 1
    weekdays: tuple[int, ...] = ()
    month_day: int = 1
    cron: str = ""
    time_zone: str = "Asia/Tokyo"
    until: date | None = None
    count: int | None = None
    holidays: HolidayRule = HolidayRule.SEND
    starts_at_utc: datetime | None = None


@dataclass(frozen=True, slots=True)
class LatePolicy:
    """What happens to a run that can't start on time.

    It starts as soon as it can for start_within_seconds after its due time (quiet hours don't count); then `then`.
    pile_up: for several overdue occurrences. older_seal: whether yesterday's audience may be used when today's can't
    be read.
    """

    start_within_seconds: float = 14_400.0
    then: LateChoice = LateChoice.ASK
    pile_up: PileUp = PileUp.NEWEST
    older_seal: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """How a campaign leaves. repeat None: once, at its due time.

    quiet: hours in which nothing leaves. recipient_zone: at the same wall-clock time of each recipient's own zone.
    pace_per_second: 0 = no limit. transport: name of the way out, "" = the default. guard_factor: hold the run when
    its audience is so many times larger or smaller than when it was scheduled; 0 = never.
    """

    repeat: Repeat | None = None
    late: LatePolicy = LatePolicy()
    quiet: QuietHours | None = None
    recipient_zone: bool = False
    pace_per_second: float = 0.0
    transport: str = ""
    guard_factor: float = 2.0


@dataclass(frozen=True, slots=True)
class Approval:
    """A second person's word. given_by "": not given yet."""

    asked_by: str
    asked_at_utc: datetime
    given_by: str = ""
    given_at_utc: datetime | None = None

    @property
    def given(self) -> bool:
        """Tell whether the campaign may leave."""
        return self.given_at_utc is not None


@dataclass(frozen=True, slots=True)
class CampaignContent:
    """The words of a campaign: minijinja templates."""

    subject: str
    html: str
    text: str


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One thing that speaks against scheduling. code: stable; part, line: where in the templates, else "" and 0."""

    code: str
    message: str
    message_ja: str
    part: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that a person should know before scheduling, though it speaks against nothing. code: stable."""

    code: str
    message: str
    message_ja: str


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a run waits for a person, in both languages."""

    en: str
    ja: str


@dataclass(frozen=True, slots=True)
class AuditLine:
    """Who did what to a campaign, when. by: a person, or "planner". action: stable, e.g. "campaign.paused"."""

    at_utc: datetime
    by: str
    action: str
    detail: str


@dataclass(frozen=True, slots=True)
class RunRow:
    """One execution of a campaign, with its balance and its lateness.

    seconds_late: start minus due, 0.0 when on time, None before the start. order_confirmed: the senders have the
    newest wish (pause, stop, ...) in hand; False for the moments until the planner has passed it on. reason_ja: the
    reason in Japanese when the planner gave it; "" when it is a person's own words. occurrence: its number within the
    campaign, from 1; 0 for resend and test. cause: why it is or was late, as far as that can be known.
    to_send: None until sealed. source_run_id: whose unreached it goes to. pre_sealed: the audience of the day before
    is frozen, a fresh one will replace it. awaits_approval: sealed or not, it waits for a second person. sent_at_once:
    it was due when it was made, so it leaves as soon as its audience is frozen.
    """

    id: UUID
    campaign_id: UUID
    state: RunState
    reason: str
    due_at_utc: datetime
    sealed_at_utc: datetime | None
    started_at_utc: datetime | None
    finished_at_utc: datetime | None
    seconds_late: float | None
    balance: RunBalance
    order_confirmed: bool = True
    reason_ja: str = ""
    kind: RunKind = RunKind.CAMPAIGN
    occurrence: int = 0
    latest_start_at_utc: datetime | None = None
    latest_finish_at_utc: datetime | None = None
    cause: str = ""
    cause_ja: str = ""
    to_send: int | None = None
    source_run_id: UUID | None = None
    pre_sealed: bool = False
    awaits_approval: bool = False
    sent_at_once: bool = False


@dataclass(frozen=True, slots=True)
class CampaignRow:
    """One campaign as a list shows it, with the run that matters now.

    run: the one under way, else the next that is due, else the latest. next_due_at_utc: of the next start, None when
    there is none. approval: None where none is asked for.
    """

    id: UUID
    project_id: str
    name: str
    state: CampaignState
    content: CampaignContent
    audience: Audience
    due_at_utc: datetime | None
    run: RunRow | None
    created_by: str
    version: int
    plan: Plan = field(default_factory=Plan)
    approval: Approval | None = None
    next_due_at_utc: datetime | None = None


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One moment in the life of a run. what: stable, e.g. "run.sealed"; detail: figures or a person's words."""

    at_utc: datetime
    what: str
    detail: str
    by: str


@dataclass(frozen=True, slots=True)
class CalendarEntry:
    """One start, past or to come. run_id None: an occurrence that has no run yet; state then "expected"."""

    campaign_id: UUID
    run_id: UUID | None
    name: str
    due_at_utc: datetime
    state: str
    planned: int | None


@dataclass(frozen=True, slots=True)
class AwayRow:
    """One run that somebody should know of. what: late, held, missed or started_late.

    remedies: what `services.remedy` may do with it, the most likely first: send_now, resend, skip, acknowledge.
    """

    run: RunRow
    campaign_name: str
    what: str
    remedies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RemedyResult:
    """What became of one run of a remedy for many. new_run_id: of a resend. problem "": it was done."""

    run_id: UUID
    new_run_id: UUID | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class RecipientRow:
    """One name behind a number of the balance."""

    guest_id: UUID
    address: str
    state: str
    answer: str
    at_utc: datetime
    message_id: str


@dataclass(frozen=True, slots=True)
class SampleGuest:
    """Whose values a test message shows; the names are those of the merge values."""

    name: str
    visits: int
    last_visit_on: date | None
    last_shop_name: str


Tallies = Mapping[str, int]
