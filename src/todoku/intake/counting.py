"""The other side of the balance: how many mails have arrived, as the bus counts them."""

from __future__ import annotations

from todoku.bus.connection import Bus
from todoku.bus.streams import MAIL
from todoku.kernel.ids import require_subject_token


async def arrived_count(bus: Bus, project_id: str) -> int:
    """Return how many mails for this project the MAIL stream holds. Raises BusUnavailable."""
    counts = await bus.subject_counts(MAIL, f"mail.{require_subject_token(project_id)}.*")
    return sum(counts.values())
