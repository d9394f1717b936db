"""When a source could not be looked at, and how what had waited meanwhile was caught up.

An outage begins with the last look that fetched and is over with the next one; it is caught up when a look leaves
nothing behind. That nobody looked, because no process ran, is an outage too.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from todoku.sources.types import Fetch, Look

MOST_KEPT: Final = 20


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """One outage of a source. missed = arrived + vanished + failed, once it is caught up.

    began_utc: the last look before it that fetched. why: of the first look that could not, "" when nobody looked.
    recovered_utc: when the look began that could fetch again. caught_up_utc: when nothing was left. missed: mails that
    this look found waiting. arrived, vanished, failed: what became of them; failed ones are tried again at each look.
    """

    began_utc: datetime
    why: str = ""
    recovered_utc: datetime | None = None
    caught_up_utc: datetime | None = None
    missed: int = 0
    arrived: int = 0
    vanished: int = 0
    failed: int = 0

    @property
    def waiting(self) -> int:
        """Return how many of the missed mails are still at the source only."""
        return self.missed - self.arrived - self.vanished


def after_look(
    outages: tuple[Outage, ...], look: Look, fetched_at_utc: datetime | None, *, unseen: bool
) -> tuple[Outage, ...]:
    """Return the outages as they stand after a look, oldest first. Pure.

    fetched_at_utc: the end of the last look that fetched. unseen: nobody looked for longer than a look may be late.
    """
    lasting = outages[-1] if outages and outages[-1].caught_up_utc is None else None
    earlier = outages[:-1] if lasting is not None else outages
    if lasting is None and (look.outcome is Fetch.COULD_NOT or (unseen and fetched_at_utc is not None)):
        why = look.why if look.outcome is Fetch.COULD_NOT and not unseen else ""
        lasting = Outage(began_utc=fetched_at_utc or look.began_at_utc, why=why)
    if lasting is None:
        return outages
    if look.outcome is Fetch.FETCHED:
        lasting = _caught_up_by(lasting, look)
    return (*earlier, lasting)[-MOST_KEPT:]


def _caught_up_by(outage: Outage, look: Look) -> Outage:
    first = outage.recovered_utc is None
    removed = 0 if first else max(0, outage.waiting - look.fresh)  # at the source, by others, between two looks
    return msgspec.structs.replace(
        outage,
        recovered_utc=look.began_at_utc if first else outage.recovered_utc,
        missed=look.fresh if first else outage.missed + max(0, look.fresh - outage.waiting),
        arrived=outage.arrived + look.arrived,
        vanished=outage.vanished + look.vanished + removed,
        failed=len(look.failed),
        caught_up_utc=look.ended_at_utc if look.left == 0 else None,
    )
