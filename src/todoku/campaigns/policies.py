"""What a campaign's policy says about a run: when it may leave, what becomes of a late one, why it was late. Pure.

due ──────────── latest start ───────────── latest finish
 │  late: leaves    │  ask: held, skip: missed
 └ inside quiet hours: all three count from their end
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol
from zoneinfo import ZoneInfo

from todoku.campaigns.types import LateChoice, PileUp, Plan, Reason
from todoku.delivery.engine.quiet import quiet_until
from todoku.delivery.types import QuietHours

FINISH_WITHIN = timedelta(hours=24)  # temporary answers are retried until then
ZONES_APART = timedelta(hours=26)  # from UTC+14 to UTC-12: the last recipient's morning after the first one's
NOTEWORTHY_LATE = timedelta(seconds=60)
NOT_APPROVED = Reason("nobody has approved it by its due time", "配信時刻までに承認されませんでした")


class Verdict(StrEnum):
    """go: it may leave, now or at its due time. hold: a person decides. miss: it is let go."""

    GO = "go"
    HOLD = "hold"
    MISS = "miss"


@dataclass(frozen=True, slots=True)
class LateDecision:
    """What the planner does with a run that did not start; reason is set for HOLD and MISS."""

    verdict: Verdict
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Times:
    """The three moments of a run."""

    due_at: datetime
    latest_start_at: datetime
    latest_finish_at: datetime


class LateRun(Protocol):
    """What of a run its lateness is judged by. late_then: ask or skip."""

    @property
    def due_at(self) -> datetime: ...

    @property
    def latest_start_at(self) -> datetime: ...

    @property
    def late_then(self) -> str: ...

    @property
    def awaits_approval(self) -> bool: ...


def times(plan: Plan, due_at_utc: datetime, time_zone: str) -> Times:
    """Return when a run due then may start at the latest, and when it gives up. time_zone: of the project."""
    leaves_at = leaves_at_utc(plan.quiet, time_zone, due_at_utc)
    latest_start = leaves_at + timedelta(seconds=plan.late.start_within_seconds)
    return Times(due_at_utc, latest_start, latest_finish(plan, latest_start, leaves_at))


def latest_finish(plan: Plan, latest_start_utc: datetime, from_utc: datetime) -> datetime:
    """Return until when temporary answers are retried for a run that leaves from from_utc on."""
    spread = ZONES_APART if plan.recipient_zone else timedelta(0)
    # a run that starts at its last moment still has an hour to try again
    return max(from_utc + FINISH_WITHIN, latest_start_utc + timedelta(hours=1)) + spread


def leaves_at_utc(quiet: QuietHours | None, time_zone: str, due_at_utc: datetime) -> datetime:
    """Return the first moment at or after the due time that is not inside quiet hours."""
    return quiet_until(quiet, time_zone, due_at_utc) or due_at_utc


def late_decision(run: LateRun, now_utc: datetime) -> LateDecision:
    """Return what to do with a run that has not started: nothing yet, hold it, or let it go.

    The planner asks for runs that are due and that no sender has begun. A run that waits for a second person is held
    from its due time on; approving it lets it leave within its latest start.
    """
    if now_utc < run.due_at:
        return LateDecision(Verdict.GO)
    if run.awaits_approval:
        return LateDecision(Verdict.HOLD, NOT_APPROVED)
    if now_utc <= run.latest_start_at:
        return LateDecision(Verdict.GO)
    limit = f"{run.latest_start_at:%Y-%m-%d %H:%M} UTC"
    reason = Reason(f"could not start by {limit}", f"{limit} までに開始できませんでした")
    return LateDecision(Verdict.MISS if run.late_then == LateChoice.SKIP else Verdict.HOLD, reason)


def left_behind(policy: PileUp, overdue: Sequence[datetime]) -> tuple[Verdict, ...]:
    """Return for overdue occurrences of one campaign, oldest first, which still leave: one verdict each."""
    if len(overdue) < 2 or policy is PileUp.ALL:
        return (Verdict.GO,) * len(overdue)
    if policy is PileUp.ASK:
        return (Verdict.HOLD,) * len(overdue)
    return (Verdict.MISS,) * (len(overdue) - 1) + (Verdict.GO,)


def pile_up_reason(verdict: Verdict, number: int, newest_due_utc: datetime) -> Reason:
    """Return why one of `number` overdue occurrences was held or let go."""
    newest = f"{newest_due_utc:%Y-%m-%d %H:%M} UTC"
    if verdict is Verdict.HOLD:
        return Reason(
            f"{number} starts have piled up: which should leave?",
            f"{number}回分がたまっています。送る回を選んでください",
        )
    return Reason(f"left out: the start of {newest} is newer", f"{newest} の回が新しいため、この回は送りません")


@dataclass(frozen=True, slots=True)
class LateFacts:
    """What is known about a run that is or was late; everything but due and now may be unknown.

    ready_at_utc: when its audience was frozen. waited_until_utc: when a person let it go on (or now, while one has
    not), waited_for: "paused", "held" or "approval". away: the last span in which no planner could look.
    """

    due_at_utc: datetime
    now_utc: datetime
    ready_at_utc: datetime | None = None
    waited_until_utc: datetime | None = None
    waited_for: str = ""
    away: tuple[datetime, datetime] | None = None
    quiet: QuietHours | None = None
    time_zone: str = "UTC"


_WAITED = {
    "paused": ("paused by a person until {at}", "{at} まで一時停止されていました"),
    "held": ("waited for a person's decision until {at}", "{at} まで担当者の判断を待っていました"),
    "approval": ("waited for approval until {at}", "{at} まで承認を待っていました"),
}


def cause_of_lateness(facts: LateFacts) -> Reason:
    """Return why the run is or was late, as far as that can be known; moments are told in the project's zone."""
    zone = ZoneInfo(facts.time_zone)

    def at(moment: datetime) -> str:
        return f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S}"

    if facts.waited_until_utc is not None and facts.waited_until_utc > facts.due_at_utc and facts.waited_for in _WAITED:
        en, ja = _WAITED[facts.waited_for]
        return Reason(en.format(at=at(facts.waited_until_utc)), ja.format(at=at(facts.waited_until_utc)))
    quiet_end = leaves_at_utc(facts.quiet, facts.time_zone, facts.due_at_utc)
    if quiet_end > facts.due_at_utc:
        return Reason(f"quiet hours until {at(quiet_end)}", f"{at(quiet_end)} まで配信しない時間帯でした")
    if facts.ready_at_utc is None or facts.ready_at_utc > facts.due_at_utc:
        return _not_ready(facts, at(facts.ready_at_utc) if facts.ready_at_utc is not None else "", at)
    return Reason(
        "it was ready in time, but no sender began it: none was running, or its way out did not answer",
        "準備は間に合いましたが、送信プロセスが動いていないか、中継サーバーが応答しませんでした",
    )


class _At(Protocol):
    def __call__(self, moment: datetime, /) -> str: ...


def _not_ready(facts: LateFacts, ready: str, at: _At) -> Reason:
    en = f"its audience was ready only at {ready}" if ready else "its audience could not be read yet"
    ja = f"宛先の準備ができたのは {ready} でした" if ready else "宛先の準備がまだできていません"
    if facts.away is not None and facts.away[1] > facts.due_at_utc - timedelta(hours=1):
        begin, end = at(facts.away[0]), at(facts.away[1])
        return Reason(
            f"{en}: no planner could look from {begin} to {end} (the database was away, or none was running)",
            f"{ja}（{begin} から {end} までデータベースに届かないか、計画プロセスが止まっていました）",
        )
    return Reason(f"{en}: sealing took long or began late", f"{ja}（宛先の準備に時間がかかりました）")
