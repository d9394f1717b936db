"""What the ledger shows others beside `delivery.types`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class MinuteCount:
    """How many recipients of a run were decided in one minute; others: refused, unrenderable, expired, unknown."""

    minute_utc: datetime
    sent: int
    others: int


@dataclass(frozen=True, slots=True)
class Amendment:
    """A row of the archive that says something else by now."""

    run_id: UUID
    line: int
    place: int
    state: str
    answer: str


@dataclass(frozen=True, slots=True)
class ArchivedMonth:
    """One month that left PostgreSQL. rows: moved by this call; files and size_bytes: of Parquet in the vault."""

    month: date
    rows: int
    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class MonthStatus:
    """Where the rows of one month are. state: kept, archived, or late_rows (archived, and more came afterwards)."""

    month: date
    state: str
    rows_in_database: int
    rows_archived: int
    archived_bytes: int


@dataclass(frozen=True, slots=True)
class Difference:
    """Two counts of the same thing that should be equal. of: a state of the run."""

    of: str
    journal: int | None
    tally: int
    rows: int


@dataclass(frozen=True, slots=True)
class RunAudit:
    """The books of one run looked at from all sides.

    journal: outcomes by state as the bus holds them, None when the bus has let the run go. tally, rows: the same by the
    ledger's sums and by its rows, archived ones included. settled: `unknown` that evidence moved, which the journal
    can't know. waiting: outcomes of the journal that the ledger has not applied yet.
    """

    run_id: UUID
    journal: dict[str, int] | None
    tally: dict[str, int]
    rows: dict[str, int]
    settled: dict[str, int]
    waiting: int
    differences: tuple[Difference, ...]

    @property
    def known(self) -> bool:
        """Tell whether any side has anything of this run."""
        return bool(self.waiting or self.journal or any(self.tally.values()) or any(self.rows.values()))

    @property
    def equal(self) -> bool:
        """Tell whether nothing is missing and nothing is too much."""
        return not self.differences
