"""The whole torture set through vault, bus, reader and PostgreSQL: one state each, and the next mail always flows."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from tests.torture.corpus import corpus
from tests.torture.writing import booking

from todoku.intake import queries
from todoku.intake.types import MailRow, MailState

if TYPE_CHECKING:
    from tests.integration.intake.conftest import Office


@pytest.mark.timeout(240)
async def test_each_torture_mail_has_its_state_and_the_booking_after_it_is_applied(office: Office) -> None:
    cases = corpus()
    bad, good = [], []
    for case in cases:
        raw = case.make()
        bad += await office.arrive(raw)
        good += await office.arrive(booking(f"after {case.name}"))
    await office.reader().drain()

    rows: dict[Any, MailRow] = {
        row.arrival_id: row for row in await office.ask(queries.list_mails, office.mine, limit=2 * len(cases) + 1)
    }
    ends = {
        case.name: (rows[arrival.arrival_id].state, rows[arrival.arrival_id].reason)
        for case, arrival in zip(cases, bad, strict=True)
    }
    assert ends == {case.name: (case.state, case.reason) for case in cases}
    assert [rows[arrival.arrival_id].state for arrival in good] == [MailState.APPLIED] * len(cases)

    counted = Counter(case.state.value for case in cases) + Counter({"applied": len(cases)})
    assert await office.balance() == {"arrived": 2 * len(cases), "pending": 0, **counted}


async def test_the_same_torture_again_changes_nothing(office: Office) -> None:
    cases = [case for case in corpus() if case.state is MailState.APPLIED and "MB" not in case.name]
    mails = [case.make() for case in cases]
    await office.arrive(*mails)
    await office.reader().drain()
    await office.arrive(*reversed(mails))
    await office.reader().drain()
    assert await office.balance() == {
        "arrived": 2 * len(mails), "pending": 0, "applied": len(mails), "duplicate": len(mails),
    }  # fmt: skip
