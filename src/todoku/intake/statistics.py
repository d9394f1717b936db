"""What PostgreSQL believes of its tables, kept true while they grow quickly.

Autovacuum counts once a minute at best. In an empty installation that takes in a mailbox, the planner meanwhile walks
all rows of a project for each batch: at 3,000 mails a batch of 200 read 16,000 rows instead of 200, and PostgreSQL took
0.6 ms for a mail instead of 0.25.
"""

from __future__ import annotations

import structlog
from django.db import Error as DatabaseFailure

from todoku.guests import services as guest_services
from todoku.intake import store
from todoku.reservations import services as reservation_services

log = structlog.get_logger(__name__)

FEWEST_ROWS = 400


class FreshStatistics:
    """Looks again whenever the mails have doubled since the last look; of one thread."""

    def __init__(self) -> None:
        self._since_last = 0
        self._due_at = FEWEST_ROWS

    def grown_by(self, mails: int) -> None:
        """Count mails that were recorded; raises nothing: a plan that is slow is still right."""
        self._since_last += mails
        if self._since_last < self._due_at:
            return
        self._since_last = 0
        try:
            known = store.counted_rows()
            if known > self._due_at:  # somebody else looked, or there were many before
                self._due_at = known
                return
            store.analyze()
            reservation_services.refresh_statistics()
            guest_services.refresh_statistics()
            self._due_at = max(FEWEST_ROWS, store.counted_rows())
        except DatabaseFailure as error:
            log.info("mail.statistics_not_refreshed", error=type(error).__name__)
