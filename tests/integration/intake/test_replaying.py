"""Reading again: the differences first, then the change; nothing that is right moves, however often it is done."""

from __future__ import annotations

from datetime import timedelta

import pytest

from todoku.intake import queries
from todoku.intake.extracting import ReadOutcome
from todoku.intake.replaying import Chosen, replay
from todoku.intake.types import MailState

from .conftest import Office, write_gnavi


async def _states(office: Office) -> dict[MailState, int]:
    balance = await office.ask(queries.balance, office.mine, None)
    return {state: count for state, count in balance.states.items() if count}


async def test_what_a_mended_rule_reads_is_told_first_and_then_applied_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    from todoku.intake import extracting

    with monkeypatch.context() as broken:
        broken.setattr(extracting, "read_one", lambda _mail: ReadOutcome(None, "reader_error"))
        await office.arrive(write_gnavi("A1"), write_gnavi("A2", minute=1), write_gnavi("A1", "キャンセル", minute=9))
        await office.reader().drain()
    assert await _states(office) == {MailState.UNREADABLE: 3}
    await office.arrive(write_gnavi("B1", minute=20))
    await office.reader().drain()

    dry = await replay(office.vault, office.mine, Chosen(), apply=False)
    assert (dry.read, dry.same, dry.differing, dry.amended) == (4, 1, 3, 0)
    assert {(one.before, one.after) for one in dry.different} == {(MailState.UNREADABLE, MailState.APPLIED)}
    assert sorted(one.reference for one in dry.different) == ["A1", "A1", "A2"]
    assert await _states(office) == {MailState.UNREADABLE: 3, MailState.APPLIED: 1}

    wet = await replay(office.vault, office.mine, Chosen(state=MailState.UNREADABLE), apply=True)
    assert (wet.read, wet.amended) == (3, 3)
    assert await _states(office) == {MailState.APPLIED: 4}
    again = await replay(office.vault, office.mine, Chosen(state=MailState.UNREADABLE), apply=True)
    assert (again.read, again.amended) == (0, 0)
    everything = await replay(office.vault, office.mine, Chosen(), apply=True)
    assert (everything.read, everything.same, everything.amended) == (4, 4, 0)


async def test_mails_are_chosen_by_time_source_site_and_state(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    from todoku.intake import extracting

    with monkeypatch.context() as broken:
        broken.setattr(extracting, "read_one", lambda _mail: ReadOutcome(None, "reader_error"))
        (arrival,) = await office.arrive(write_gnavi("C1"))
        await office.reader().drain()
    now_utc = arrival.received_at_utc
    for chosen, count in (
        (Chosen(since_utc=now_utc + timedelta(hours=1)), 0),
        (Chosen(until_utc=now_utc - timedelta(hours=1)), 0),
        (Chosen(source="imap"), 0),
        (Chosen(site="tabelog"), 0),
        (Chosen(shop_code="nowhere"), 0),
        (Chosen(state=MailState.UNKNOWN_LAYOUT), 0),
        (Chosen(source="smtp", since_utc=now_utc - timedelta(hours=1), state=MailState.UNREADABLE), 1),
    ):
        assert (await replay(office.vault, office.mine, chosen, apply=False)).read == count, chosen


async def test_bytes_that_can_not_be_had_now_are_left_as_they_are(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    from todoku.intake import extracting
    from todoku.vault.errors import VaultUnavailable

    with monkeypatch.context() as broken:
        broken.setattr(extracting, "read_one", lambda _mail: ReadOutcome(None, "reader_error"))
        await office.arrive(write_gnavi("D1"))
        await office.reader().drain()

    async def away(keys: list[str]) -> list[VaultUnavailable]:
        return [VaultUnavailable("no answer") for _ in keys]

    with monkeypatch.context() as patch:
        patch.setattr(office.vault, "get_many", away)
        report = await replay(office.vault, office.mine, Chosen(), apply=True)
    assert (report.read, report.unread, report.amended) == (1, 1, 0)
    assert await _states(office) == {MailState.UNREADABLE: 1}
