from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from django.utils import translation

from todoku.campaigns.types import AwayRow, RunRow, RunState
from todoku.delivery.types import RunBalance
from todoku.intake.types import IntakeBalance, MailState
from todoku.web.overview import add_up, judge, mail_lines, run_lines

DUE = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


def _away(what: str) -> AwayRow:
    run = RunRow(uuid4(), uuid4(), RunState.PLANNED, "", DUE, None, None, None, None, RunBalance(planned=10))
    return AwayRow(run, "冬の鍋", what, ("send_now", "skip"))


def _balance(arrived: int, applied: int) -> IntakeBalance:
    return IntakeBalance(arrived, {MailState.APPLIED: applied})


def test_all_is_well_when_everything_adds_up() -> None:
    with translation.override("ja"):
        verdict = judge(_balance(5, 5), [_away("started_late")], Counter(), counted=True)
        assert (verdict.tone, verdict.sentence) == ("well", "すべて順調です。")


@pytest.mark.parametrize("what", ["held", "missed", "late"])
def test_a_run_that_needs_a_person_comes_first(what: str) -> None:
    verdict = judge(_balance(5, 5), [_away(what)], Counter([MailState.UNREADABLE]), counted=True)
    assert (verdict.tone, verdict.away) == ("bad", True)
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
