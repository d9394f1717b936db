"""What a campaign's policy says about a run, and how a plan is kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todoku.campaigns import plans
from todoku.campaigns.plan_check import notices, plan_problems
from todoku.campaigns.policies import (
    NOT_APPROVED,
    LateFacts,
    Verdict,
    cause_of_lateness,
    late_decision,
    left_behind,
    times,
)
from todoku.campaigns.types import HolidayRule, LateChoice, LatePolicy, PileUp, Plan, Repeat, RepeatKind
from todoku.delivery.types import QuietHours

DUE = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)  # 18:00 in Tokyo
HOUR = timedelta(hours=1)
NIGHT = QuietHours(1320, 480)


@dataclass
class Waiting:
    due_at: datetime = DUE
    latest_start_at: datetime = DUE + 4 * HOUR
    late_then: str = "ask"
    awaits_approval: bool = False


@pytest.mark.parametrize(
    ("run", "minutes", "verdict"),
    [
        (Waiting(), -1, Verdict.GO),
        (Waiting(awaits_approval=True), -1, Verdict.GO),
        (Waiting(), 0, Verdict.GO),
        (Waiting(), 240, Verdict.GO),
        (Waiting(), 241, Verdict.HOLD),
        (Waiting(late_then="skip"), 240, Verdict.GO),
        (Waiting(late_then="skip"), 241, Verdict.MISS),
        (Waiting(awaits_approval=True), 0, Verdict.HOLD),
        (Waiting(awaits_approval=True, late_then="skip"), 241, Verdict.HOLD),
    ],
)
def test_late_decisions(run: Waiting, minutes: int, verdict: Verdict) -> None:
    decision = late_decision(run, DUE + timedelta(minutes=minutes))
    assert decision.verdict is verdict
    assert (decision.reason is None) == (verdict is Verdict.GO)
    assert (decision.reason == NOT_APPROVED) == (verdict is not Verdict.GO and run.awaits_approval)


@given(st.sampled_from(PileUp), st.integers(0, 9))
def test_the_newest_of_a_pile_is_never_let_go(policy: PileUp, number: int) -> None:
    verdicts = left_behind(policy, [DUE + HOUR * place for place in range(number)])
    assert len(verdicts) == number
    if number:
        assert verdicts[-1] is not Verdict.MISS
    if number < 2:
        assert Verdict.MISS not in verdicts
        assert Verdict.HOLD not in verdicts


@given(st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 86_400), st.booleans())
def test_the_three_moments_of_a_run_are_in_order(begin: int, end: int, due: int, within: int, zones: bool) -> None:
    plan = Plan(late=LatePolicy(start_within_seconds=within), quiet=QuietHours(begin, end), recipient_zone=zones)
    moments = times(plan, DUE + timedelta(minutes=due), "Asia/Tokyo")
    assert moments.due_at <= moments.latest_start_at < moments.latest_finish_at
    assert moments.latest_finish_at - moments.due_at >= timedelta(hours=24)


def test_quiet_hours_move_the_latest_start_with_them() -> None:
    late = datetime(2026, 11, 21, 14, 0, tzinfo=UTC)  # 23:00 in Tokyo
    assert times(Plan(quiet=NIGHT), late, "Asia/Tokyo").latest_start_at == datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
    assert times(Plan(quiet=NIGHT), DUE, "Asia/Tokyo").latest_start_at == DUE + 4 * HOUR


def cause(**facts: object) -> str:
    kept = {"due_at_utc": DUE, "now_utc": DUE + HOUR, "time_zone": "Asia/Tokyo"} | facts
    found = cause_of_lateness(LateFacts(**kept))  # type: ignore[arg-type]
    assert found.ja
    return found.en


def test_causes_of_lateness() -> None:
    ready = DUE - HOUR
    assert "no sender began it" in cause(ready_at_utc=ready)
    assert cause(ready_at_utc=ready, waited_for="paused", waited_until_utc=DUE + HOUR).endswith("2026-11-21 19:00:00")
    assert "approval" in cause(ready_at_utc=ready, waited_for="approval", waited_until_utc=DUE + HOUR)
    assert "no sender" in cause(ready_at_utc=ready, waited_for="paused", waited_until_utc=DUE - HOUR)
    assert "could not be read yet" in cause()
    assert "sealing took long" in cause(ready_at_utc=DUE + HOUR)
    away = (DUE - 2 * HOUR, DUE + HOUR / 2)
    assert "from 2026-11-21 16:00:00 to 2026-11-21 18:30:00" in cause(ready_at_utc=DUE + HOUR, away=away)
    assert "sealing took long" in cause(ready_at_utc=DUE + HOUR, away=(DUE - 9 * HOUR, DUE - 8 * HOUR))
    assert cause(quiet=QuietHours(1020, 1200), ready_at_utc=ready).startswith("quiet hours until 2026-11-21 20:00")


plans_of_all_kinds = st.builds(
    Plan,
    repeat=st.none()
    | st.builds(
        Repeat,
        kind=st.sampled_from(RepeatKind),
        at_minute=st.none() | st.integers(0, 1439),
        every=st.integers(1, 366),
        weekdays=st.lists(st.integers(0, 6)).map(tuple),
        month_day=st.integers(-1, 31),
        cron=st.text(max_size=20),
        time_zone=st.sampled_from(["Asia/Tokyo", "Europe/Berlin"]),
        until=st.none() | st.dates(),
        count=st.none() | st.integers(1, 1000),
        holidays=st.sampled_from(HolidayRule),
        starts_at_utc=st.none() | st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    ),
    late=st.builds(
        LatePolicy,
        start_within_seconds=st.floats(0, 1e6),
        then=st.sampled_from(LateChoice),
        pile_up=st.sampled_from(PileUp),
        older_seal=st.booleans(),
    ),
    quiet=st.none() | st.builds(QuietHours, st.integers(0, 1439), st.integers(0, 1439)),
    recipient_zone=st.booleans(),
    pace_per_second=st.floats(0, 1e6),
    transport=st.text(max_size=10),
    guard_factor=st.floats(0, 100),
)


@given(plans_of_all_kinds)
def test_a_plan_comes_back_from_the_database_as_it_was(plan: Plan) -> None:
    assert plans.from_json(json.loads(json.dumps(plans.to_json(plan)))) == plan


def test_a_campaign_from_before_there_were_plans_leaves_once() -> None:
    assert plans.from_json({}) == Plan()


def test_the_default_plan_has_no_problem_and_nothing_to_know() -> None:
    assert plan_problems(Plan()) == []
    assert list(notices(Plan(), DUE, "Asia/Tokyo")) == []


def test_figures_that_are_no_figures_are_refused() -> None:
    bad = Plan(
        late=LatePolicy(start_within_seconds=float("nan")),
        pace_per_second=float("inf"),
        guard_factor=float("nan"),
        quiet=QuietHours(0, 1440),
    )
    assert [one.code for one in plan_problems(bad)] == ["start_within", "pace", "guard_factor", "quiet"]


def test_a_31st_is_worth_knowing_about() -> None:
    monthly = Plan(repeat=Repeat(RepeatKind.MONTHLY, 600, month_day=31, until=date(2027, 1, 1)))
    assert [one.code for one in notices(monthly, DUE, "Asia/Tokyo")] == ["short_months"]
