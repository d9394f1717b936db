"""What the books say of an outage that was caught up: imported, late, doubled, to be looked at by a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, F, Max, Q

from todoku.intake.models import IncomingMail
from todoku.intake.types import MailState
from todoku.sources.outages import Outage

NEED_A_PERSON = (MailState.UNKNOWN_LAYOUT, MailState.QUARANTINED, MailState.UNREADABLE)


@dataclass(frozen=True, slots=True)
class BackfillReport:
    """An outage as its source's process saw it, and what the books have of the mails that it delayed.

    states: of those mails. late_by: how long the latest of them took from the source to us, None where the source tells
    no times.
    """

    outage: Outage
    states: Mapping[MailState, int]
    late_by: timedelta | None

    @property
    def imported(self) -> int:
        """Return how many mails that had waited have a state in the books."""
        return sum(self.states.values())

    @property
    def duplicates(self) -> int:
        """Return how many of them had been there before and changed nothing."""
        return self.states.get(MailState.DUPLICATE, 0)

    @property
    def need_a_person(self) -> int:
        """Return how many of them somebody has to look at."""
        return sum(self.states.get(state, 0) for state in NEED_A_PERSON)


def report(project_id: str, source: str, outage: Outage, now_utc: datetime) -> BackfillReport:
    """Return the report of one outage, counted anew from the books; one statement."""
    if outage.recovered_utc is None:
        return BackfillReport(outage, {}, None)
    until_utc = outage.caught_up_utc or now_utc
    delayed = Q(at_source__lt=outage.recovered_utc) | Q(at_source=None)
    mails = IncomingMail.objects.filter(
        delayed, project_id=project_id, source=source, arrived_at__gte=outage.recovered_utc, arrived_at__lte=until_utc
    )
    rows = (
        mails.exclude(cursor="")
        .order_by()
        .values_list("state")
        .annotate(count=Count("arrival_id"), late_by=Max(F("arrived_at") - F("at_source")))
    )
    found = [(MailState(state), count, late_by) for state, count, late_by in rows]
    return BackfillReport(
        outage,
        {state: count for state, count, _ in found},
        max((late_by for _, _, late_by in found if late_by is not None), default=None),
    )
