"""Old months leave for the archive by themselves: the part of the role `book` that nobody has to remember.

Purpose     `todoku ledger archive` every few hours, on every machine that plays `book`; one of them does the work.
Reads       delivery and the sums of months that ended long ago.
Writes      what `archive.Archiver` writes.
Guarantees  no failure ends the role: a month that does not add up stays where it is and is named in the log each time,
            a database or vault that is away is tried again at the next look.
Settings    TODOKU_LEDGER_MONTHS: how long a month stays in the database after its end; 0 = nothing moves by itself
"""

from __future__ import annotations

import asyncio

import structlog
from django.db import Error as DatabaseError
from django.db import connection

from todoku.delivery.ledger import services
from todoku.delivery.ledger.errors import ArchiveBusy
from todoku.delivery.ledger.types import ArchivedMonth
from todoku.kernel.clock import Clock
from todoku.kernel.errors import TodokuError

log = structlog.get_logger(__name__)

LOOK_SECONDS = 6 * 3600.0
FIRST_LOOK_SECONDS = 300.0  # a start has better things to do


class ArchiveKeeper:
    """Moves months that are due, look after look."""

    def __init__(
        self,
        months_in_database: int,
        clock: Clock,
        *,
        look_seconds: float = LOOK_SECONDS,
        first_look_seconds: float = FIRST_LOOK_SECONDS,
    ) -> None:
        """months_in_database: 3 at least, or 0 for never."""
        self._months = months_in_database
        self._clock = clock
        self._look_seconds = look_seconds
        self._next_look_seconds = first_look_seconds

    async def run(self, stop: asyncio.Event) -> None:
        """Look again and again until `stop` is set; raises nothing for what is away or does not add up."""
        while not stop.is_set():
            try:
                async with asyncio.timeout(self._next_look_seconds):
                    await stop.wait()
            except TimeoutError:
                if self._months:
                    await asyncio.to_thread(self.look)
                self._next_look_seconds = self._look_seconds

    def look(self) -> list[ArchivedMonth]:
        """Move what is due now; return it. Not in an event loop; a kill at any moment loses and doubles nothing."""
        try:
            return services.archive(self._months, clock=self._clock)
        except ArchiveBusy as error:
            log.info("ledger.archive_put_off", why=error.what)
        except (TodokuError, DatabaseError) as error:
            log.error(
                "ledger.month_not_archived",
                error=str(error).strip(),
                kept="every row, where it was",
                todo="look at `todoku ledger status`; it is tried again in a few hours",
            )
        finally:
            connection.close()
        return []
