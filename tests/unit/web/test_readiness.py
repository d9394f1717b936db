"""How ready a campaign is, and who comes first in the list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.utils import timezone, translation

from todoku.campaigns.types import (
    Approval,
    CampaignContent,
    CampaignRow,
    CampaignState,
    RunRow,
    RunState,
    TimelineEntry,
)
from todoku.delivery.types import RunBalance
from todoku.guests.types import Audience
from todoku.kernel.clock import VirtualClock
from todoku.web import ports
from todoku.web.readiness import Group, group_of, in_groups, late_by, run_sentence
from todoku.web.timeline_words import detail_words, told

NOW = datetime(2026, 11, 22, 2, 50, tzinfo=UTC)  # 11:50 in Tokyo
DUE = NOW + timedelta(minutes=10)
TOMORROW = NOW + timedelta(days=1)


@pytest.fixture(autouse=True)
def in_tokyo() -> Iterator[None]:
    made = ports.Ports(
        clock=VirtualClock(NOW), nats_url=lambda: "", open_vault=lambda: pytest.fail("no vault"), public_url=""
    )
    ports.connect(made)
    with timezone.override("Asia/Tokyo"), translation.override("en"):
        yield


def _run(state: RunState, **changes: object) -> RunRow:
    run = RunRow(uuid4(), uuid4(), state, "", DUE, None, None, None, None, RunBalance(planned=12_400, suppressed=60))
    return replace(run, **changes)  # type: ignore[arg-type]


def _campaign(state: CampaignState, run: RunRow | None = None, **changes: object) -> CampaignRow:
    row = CampaignRow(
        uuid4(), "p", "冬の鍋", state, CampaignContent("s", "h", "t"), Audience(), DUE, run, "x", 1, next_due_at_utc=DUE
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def test_sealed_says_how_many_and_when() -> None:
    run = _run(RunState.SEALED, to_send=12_340)
    assert run_sentence(run, NOW) == "Sealed, 12,340 recipients, leaves 12:00"
    with translation.override("ja"):
        assert run_sentence(run, NOW) == "確定済み 12,340人・12:00に配信"


def test_late_says_why() -> None:
    late = DUE + timedelta(minutes=3, seconds=5)
    run = _run(RunState.SEALED, to_send=1, cause="no sender was running", cause_ja="送信プロセスが止まっています")
    assert "no sender was running" in run_sentence(run, late)
    assert late_by(run, late) == "+3 min 5 s"
    with translation.override("ja"):
        assert "送信プロセスが止まっています" in run_sentence(run, late)
        assert late_by(run, late) == "3分5秒遅れ"
    assert late_by(run, NOW) == "", "not due yet"
    assert late_by(_run(RunState.SENDING, seconds_late=0.2), NOW) == "", "on its second"


def test_who_says_now_hears_of_no_lateness_while_the_list_is_frozen() -> None:
    run = _run(RunState.PLANNED, sent_at_once=True)
    moment = DUE + timedelta(seconds=5)
    assert late_by(run, moment) == ""
    assert run_sentence(run, moment) == "Leaves in a moment, as soon as its list is frozen."
    assert late_by(replace(run, state=RunState.FINISHED, seconds_late=5.0), moment) == ""
    assert late_by(run, DUE + timedelta(seconds=61)) == "+1 min 1 s"
    assert "Late" in run_sentence(run, DUE + timedelta(seconds=61))


@pytest.mark.parametrize(
    ("row", "group"),
    [
        (_campaign(CampaignState.DRAFT), Group.DRAFT),
        (_campaign(CampaignState.SCHEDULED, _run(RunState.SEALED)), Group.SOON),
        (_campaign(CampaignState.SCHEDULED, _run(RunState.PLANNED), next_due_at_utc=TOMORROW), Group.SCHEDULED),
        (_campaign(CampaignState.SCHEDULED, _run(RunState.HELD)), Group.NEEDS_YOU),
        (_campaign(CampaignState.SCHEDULED, _run(RunState.PLANNED), approval=Approval("a", NOW)), Group.NEEDS_YOU),
        (_campaign(CampaignState.ACTIVE, _run(RunState.SENDING)), Group.SENDING),
        (_campaign(CampaignState.PAUSED, _run(RunState.PAUSED)), Group.PAUSED),
        (_campaign(CampaignState.FINISHED, _run(RunState.FINISHED)), Group.OVER),
        (_campaign(CampaignState.STOPPED, _run(RunState.STOPPED)), Group.OVER),
    ],
)  # fmt: skip
def test_each_campaign_has_its_group(row: CampaignRow, group: Group) -> None:
    assert group_of(row, NOW) is group


def test_what_nobody_has_answered_comes_first_whatever_its_state() -> None:
    over = _campaign(CampaignState.FINISHED, _run(RunState.MISSED))
    groups = in_groups([_campaign(CampaignState.DRAFT), over], NOW, {over.id})
    assert [one.row.id for one in groups[Group.NEEDS_YOU]] == [over.id]
    assert next(iter(groups)) is Group.NEEDS_YOU


@pytest.mark.parametrize("state", list(RunState))
@pytest.mark.parametrize("language", ["ja", "en"])
def test_every_state_has_its_sentence(state: RunState, language: str) -> None:
    with translation.override(language):
        assert run_sentence(_run(state), NOW)
        assert run_sentence(_run(state), DUE + timedelta(hours=1))


@pytest.mark.parametrize(
    ("detail", "said"),
    [
        ("due 2026-11-22T03:00:00+00:00", "for 12:00"),
        ("due 2026-11-22T03:00:00.301141+00:00, waits for approval", "for 12:00"),
        ("seal 1: 12,340 to send", "seal 1: 12,340 to send"),
        ("seal 2: 228 to send, 18 not sendable", "228 to send, 18 left out"),
        ("3 runs, the last due 2026-11-24T01:30:00+00:00", "3 runs, the last due Tue 24 Nov 10:30"),
        ("wrong menu", "wrong menu"),
    ],
)
def test_details_of_the_log_are_read_by_our_clock(detail: str, said: str) -> None:
    assert detail_words(detail) == said


def test_a_timeline_says_each_thing_once() -> None:
    names = ("run.first_message", "run.started", "run.last_message", "run.finished", "campaign.finished")
    entries = [TimelineEntry(DUE, name, "planned 1, sent 1", "planner") for name in names]
    run = _run(RunState.FINISHED, started_at_utc=DUE, finished_at_utc=DUE, seconds_late=0.2)
    assert [(one.text, one.detail, one.by) for one in told(entries, run)] == [
        ("Began to leave", "+0.2 s", ""),
        ("Finished", "", ""),
    ]
