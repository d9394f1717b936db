"""What a person wants to see over many runs: what happened while away, the calendar, one run's timeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import F, OuterRef, Q, Subquery

from todoku.campaigns import plans
from todoku.campaigns.models import Audit, Campaign, Run
from todoku.campaigns.occurrences import occurrences_between
from todoku.campaigns.policies import NOTEWORTHY_LATE, leaves_at_utc
from todoku.campaigns.remedies import NOT_REACHED
from todoku.campaigns.run_rows import light, rows_of_project, run_rows
from todoku.campaigns.transitions import OVER, WAITING, find_run
from todoku.campaigns.types import (
    AwayRow,
    CalendarEntry,
    CampaignState,
    RunKind,
    RunRow,
    RunState,
    TimelineEntry,
)
from todoku.delivery.ledger import queries as ledger
from todoku.kernel.clock import Clock
from todoku.projects import queries as project_queries

LOOK_BACK = timedelta(days=7)
LATE_AFTER = timedelta(seconds=30)
EXPECTED = "expected"
MOST_EXPECTED = 1_000  # of one campaign in one calendar: more is a page that nobody reads


def while_away(project_id: str, *, clock: Clock) -> list[AwayRow]:
    """Return the runs that somebody should know of and nobody has dealt with yet, the most urgent first.

    held: waits for a person. late: due and not begun, nor told to go within the last half minute (else whoever sends
    one and skips all others would skip it too). missed and started_late: of the last seven days, until acknowledged
    or sent. Three statements.
    """
    now_utc = clock.now_utc()
    zone = project_queries.get_project(project_id).time_zone
    since = now_utc - LOOK_BACK
    late = Q(state__in=WAITING, due_at__lt=now_utc - LATE_AFTER)
    missed = Q(state=RunState.MISSED, due_at__gte=since)
    started_late = Q(started_at__gte=since, started_at__gt=F("due_at") + NOTEWORTHY_LATE)
    rows = rows_of_project(project_id).filter(
        Q(state=RunState.HELD) | ((late | missed | started_late) & Q(acknowledged_at__isnull=True))
    )
    told = Audit.objects.filter(project_id=project_id, run_id=OuterRef("id"), action="run.sent_now")
    rows = rows.annotate(told_at=Subquery(told.order_by("-at").values("at")[:1]))
    found = list(rows.select_related("campaign").order_by("-due_at", "-id"))
    seen: list[AwayRow] = []
    for run, row in zip(found, run_rows(project_id, found), strict=True):
        # inside quiet hours it is not late yet
        leaves_at = leaves_at_utc(plans.from_json(run.campaign.plan).quiet, zone, run.due_at)
        what = _what(row, leaves_at, max(leaves_at, run.told_at or leaves_at), now_utc)
        if what:
            seen.append(AwayRow(row, run.campaign.name, what, _remedies(what, row)))
    order = ("held", "late", "missed", "started_late")
    return sorted(seen, key=lambda one: order.index(one.what))


def calendar(project_id: str, first: date, last: date, *, clock: Clock) -> list[CalendarEntry]:
    """Return all starts from the first day to the last, both included, by the project's clock; by time.

    Runs there are, and what repeating campaigns will do beyond them (run_id None, state "expected").
    """
    zone = ZoneInfo(project_queries.get_project(project_id).time_zone)
    begin = datetime.combine(first, time(), zone)
    end = datetime.combine(last + timedelta(days=1), time(), zone)
    rows = rows_of_project(project_id).filter(due_at__gte=begin, due_at__lt=end)
    entries = [
        CalendarEntry(run.campaign_id, run.id, run.campaign.name, run.due_at, run.state, _planned(run))
        for run in rows.exclude(state=RunState.STOPPED, started_at__isnull=True).select_related("campaign")
    ]
    repeating = Campaign.objects.filter(
        project_id=project_id,
        scheduled_through__isnull=False,
        scheduled_through__lt=end,
        state__in=(CampaignState.SCHEDULED, CampaignState.ACTIVE),
    )
    for campaign in repeating:
        entries += _expected(campaign, max(begin - timedelta(microseconds=1), clock.now_utc()), end)
    return sorted(entries, key=lambda entry: (entry.due_at_utc, entry.name))


def timeline(project_id: str, run_id: UUID) -> list[TimelineEntry]:
    """Return what happened to the run, oldest first; raises CampaignMissing. Three statements.

    Its own lines of the audit log, those of its campaign while it was not over, the campaign's creation, the due time,
    and first and last message as the ledger has them.
    """
    run = find_run(project_id, run_id)
    begin = run.created_at
    end = run.finished_at or (run.changed_at if run.state in OVER else None)
    of_run = Q(run_id=run.id) | Q(campaign_id=run.campaign_id, action="campaign.created")
    of_campaign = Q(run_id__isnull=True, campaign_id=run.campaign_id, at__gte=begin)
    if end is not None:
        of_campaign &= Q(at__lte=end)
    if run.kind == RunKind.TEST:
        of_campaign = Q(pk__in=[])
    lines = Audit.objects.filter(of_run | of_campaign, project_id=project_id).order_by("at", "id")
    entries = [TimelineEntry(line.at, line.action, line.detail, line.by) for line in lines]
    entries.append(TimelineEntry(run.due_at, "run.due", "", ""))
    span = ledger.span(project_id, run_id)
    if span is not None:
        entries.append(TimelineEntry(span[0], "run.first_message", "", ""))
        entries.append(TimelineEntry(span[1], "run.last_message", "", ""))
    return sorted(entries, key=lambda entry: entry.at_utc)


def names_of_runs(project_id: str, run_ids: Iterable[UUID]) -> dict[UUID, str]:
    """Return for each of these runs the name of its campaign; one statement, unknown ones are left out."""
    rows = Run.objects.filter(project_id=project_id, id__in=set(run_ids))
    return dict(rows.values_list("id", "campaign__name"))


def test_runs(project_id: str, campaign_id: UUID) -> list[RunRow]:
    """Return the campaign's test messages, newest first."""
    rows = Run.objects.filter(project_id=project_id, campaign_id=campaign_id, kind=RunKind.TEST)
    return run_rows(project_id, list(light(rows).order_by("-created_at", "-id")))


def _what(row: RunRow, leaves_at: datetime, told_at: datetime, now_utc: datetime) -> str:
    if row.state is RunState.HELD:
        return "held"
    if row.state is RunState.MISSED:
        return "missed"
    if row.started_at_utc is not None:
        return "started_late" if row.started_at_utc > leaves_at + NOTEWORTHY_LATE else ""
    return "late" if now_utc > told_at + LATE_AFTER else ""


def _remedies(what: str, row: RunRow) -> tuple[str, ...]:
    """Return what may help, the most likely first."""
    if what == "held":
        begun = row.started_at_utc is not None
        approval = ("send_now",) if not row.awaits_approval and not begun else ()
        return (*approval, *(() if begun else ("skip",)))
    if what == "missed":
        return ("send_now", "acknowledge")
    if what == "late":
        return ("skip", "acknowledge")
    over = row.state in (RunState.FINISHED, RunState.STOPPED)
    left = sum(row.balance.as_dict()[state.value] for state in NOT_REACHED)
    return (*(("resend",) if over and left > 0 else ()), "acknowledge")


def _expected(campaign: Campaign, begin: datetime, end: datetime) -> Iterator[CalendarEntry]:
    repeat = plans.from_json(campaign.plan).repeat
    through = campaign.scheduled_through
    if repeat is None or through is None:
        return
    for due in occurrences_between(repeat, max(begin, through), end)[:MOST_EXPECTED]:
        if due < end:
            yield CalendarEntry(campaign.id, None, campaign.name, due, EXPECTED, None)


def _planned(run: Run) -> int | None:
    return run.planned if run.sealed_at is not None or run.pre_sealed_at is not None else run.expected_planned
