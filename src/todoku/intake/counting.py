"""The other side of the balance: how many mails have arrived, as the bus counts them."""

from __future__ import annotations

from todoku.bus.connection import Bus
from todoku.bus.streams import MAIL
from todoku.intake.types import OnTheBus
from todoku.kernel.ids import require_subject_token


async def count_on_bus(bus: Bus, project_id: str) -> OnTheBus:
    """Return how many mails for this project the MAIL stream holds, and where it begins. Raises BusUnavailable."""
    census = await bus.census(MAIL, f"mail.{require_subject_token(project_id)}.*")
    return OnTheBus(sum(census.counts.values()), census.first_sequence)
