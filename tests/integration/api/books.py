"""Write what became of a run into the ledger, as the projector does from the journal, and close the run."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from todoku.delivery.engine.journal import JournalMessage, pack_settled
from todoku.delivery.types import Outcome, RecipientState

_sequences = itertools.count(1)


def outcome(
    number: int,
    state: RecipientState,
    address: str = "",
    answer: str = "",
    guest_id: str = "",
    at: datetime | None = None,
) -> Outcome:
    """Return what became of one recipient."""
    return Outcome(
        number,
        guest_id or str(uuid4()),
        address or f"{state.value}{number}@example.com",
        state,
        answer,
        at or datetime(2026, 11, 21, 3, 0, tzinfo=UTC) + timedelta(seconds=number),
        f"<{number}@mail.example>",
    )


def book(project_id: str, run_id: UUID, outcomes: Sequence[Outcome]) -> None:
    """Put outcomes into the ledger."""
    from todoku.delivery.ledger.packing import pack_line
    from todoku.delivery.ledger.store import LedgerStore

    settled = pack_settled([one.index for one in outcomes])
    line = JournalMessage(project_id, str(run_id), 1, "0", "test", 0, tuple(outcomes), (), settled, None)
    LedgerStore().apply([pack_line(next(_sequences), line)])


def set_run(run_id: UUID, **changes: Any) -> None:
    """Bring a run into a state that takes engines to reach otherwise."""
    from todoku.campaigns.models import Run

    assert Run.objects.filter(id=run_id).update(**changes) == 1


def finish(project_id: str, run_id: UUID, outcomes: Sequence[Outcome], *, planned: int | None = None) -> None:
    """Book the outcomes and let the run, and its campaign, be over; whoever has none is left pending."""
    from todoku.campaigns.models import Campaign, Run
    from todoku.delivery.ledger import queries as ledger

    book(project_id, run_id, outcomes)
    total = len(outcomes) if planned is None else planned
    first, last = min(one.at_utc for one in outcomes), max(one.at_utc for one in outcomes)
    state = "finished" if total == len(outcomes) else "stopped"
    tallies = ledger.tallies(project_id, [run_id])[run_id]
    set_run(
        run_id,
        state=state,
        planned=total,
        tallies=tallies,
        sealed_at=first,
        started_at=first,
        finished_at=last,
        closed_at=last,
    )
    campaign_id = Run.objects.get(id=run_id).campaign_id
    Campaign.objects.filter(id=campaign_id).update(state=state)
