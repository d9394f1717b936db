from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from uuid import uuid4

from django.utils import translation

from todoku.campaigns.types import CampaignContent, CampaignRow, CampaignState, RunRow, RunState
from todoku.delivery.types import RunBalance
from todoku.guests.types import Audience
from todoku.intake.types import IntakeBalance, MailState
from todoku.web.overview import add_up, judge, mail_lines, run_lines

DUE = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


def _campaign(state: RunState) -> CampaignRow:
    run = RunRow(uuid4(), uuid4(), state, "", DUE, None, None, None, None, RunBalance(planned=10))
    content = CampaignContent("s", "h", "t")
    return CampaignRow(run.campaign_id, "p", "冬の鍋", CampaignState.ACTIVE, content, Audience(), DUE, run, "x", 1)


def _balance(arrived: int, applied: int) -> IntakeBalance:
    return IntakeBalance(arrived, {MailState.APPLIED: applied})


def test_all_is_well_when_everything_adds_up() -> None:
    with translation.override("ja"):
        verdict = judge(_balance(5, 5), [_campaign(RunState.SENDING)], Counter(), counted=True)
        assert (verdict.tone, verdict.sentence) == ("well", "すべて順調です。")


def test_a_campaign_that_waits_for_a_person_comes_first() -> None:
    verdict = judge(_balance(5, 5), [_campaign(RunState.HELD)], Counter([MailState.UNREADABLE]), counted=True)
    assert verdict.tone == "bad"
    assert "冬の鍋" in verdict.more


def test_mails_for_eyes_lead_to_the_list() -> None:
    verdict = judge(_balance(5, 5), [], Counter([MailState.UNKNOWN_LAYOUT]), counted=True)
    assert (verdict.tone, verdict.state) == ("look", "unknown_layout")


def test_not_counted_is_never_called_well() -> None:
    assert judge(_balance(5, 5), [], Counter(), counted=False).tone == "look"


def test_more_results_than_mails_is_said() -> None:
    assert judge(_balance(4, 5), [], Counter(), counted=True).tone == "bad"


def test_the_lines_of_a_balance_add_up_to_it() -> None:
    lines = mail_lines(IntakeBalance(10, {MailState.APPLIED: 6, MailState.HELD: 1}))
    assert sum(line.count for line in lines) == 10
    assert lines[-1].key == "pending"
    balance = RunBalance(planned=100, sent=90, refused=4, unknown=1)
    assert sum(line.count for line in run_lines(balance)) == 100


def test_balances_add_up_state_by_state() -> None:
    total = add_up([RunBalance(planned=3, sent=2), RunBalance(planned=4, sent=1, expired=3)])
    assert total == RunBalance(planned=7, sent=3, expired=3)
