"""Mail to a replaced address is read for the overlap; afterwards it is kept and quarantined in its own project."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from todoku.intake import queries
from todoku.kernel.clock import VirtualClock
from todoku.projects import services

if TYPE_CHECKING:
    from tests.integration.intake.conftest import Office

DAY = 86_400.0


async def test_mail_is_read_until_the_end_and_quarantined_after_it(
    office: Office, clock: VirtualClock, gnavi: Callable[..., bytes]
) -> None:
    first = await office.ask(
        lambda: services.create_intake_address(office.mine, shop_code="ginza", site="gnavi", clock=clock)
    )
    turned = await office.ask(
        lambda: services.rotate_intake_address(office.mine, first.local_part, clock=clock, overlap=timedelta(days=30))
    )
    old = f"{first.local_part.upper()}+x@in.example.com"
    await office.arrive(gnavi("G1"), rcpt_to=old)
    clock.advance(30 * DAY)
    late = gnavi("G2")
    await office.arrive(late, rcpt_to=old)
    # the reader was away all the time: the moment of arrival counts, not that of reading
    assert await office.reader().drain() == 2
    assert await office.balance() == {"arrived": 2, "pending": 0, "applied": 1, "quarantined": 1}
    rows = await office.ask(queries.list_mails, office.mine)
    assert turned.old.accepted_until_utc is not None
    assert rows[0].reason == f"address_retired:{turned.old.accepted_until_utc:%Y-%m-%d}"
    # the same bytes to the new address are no duplicate of what was quarantined
    await office.arrive(late, rcpt_to=f"{turned.new.local_part}@in.example.com")
    assert await office.reader().drain() == 1
    assert (await office.balance())["applied"] == 2
