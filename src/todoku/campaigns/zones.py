"""When a run leaves in the zone of each recipient. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

FIRST_OFFSET = timedelta(hours=14)  # Pacific/Kiritimati: nowhere is a wall clock further ahead


class ReleaseClock:
    """The due time's wall clock, read in every zone.

    12:00 of the project's zone is 12:00 everywhere. Where that moment is over at the time of sealing, the batch leaves
    when the run begins. A wall-clock time that a change to summer time skips is the moment the clocks jump; one that
    happens twice is the first.
    """

    def __init__(self, due_at_utc: datetime, time_zone: str, now_utc: datetime) -> None:
        self._own = time_zone
        self._wall = due_at_utc.astimezone(ZoneInfo(time_zone)).replace(tzinfo=None)
        self._due_at_utc = due_at_utc
        self._now_utc = now_utc
        self._zones: dict[str, str] = {"": time_zone}

    def zone(self, name: str) -> str:
        """Return the zone that counts for a person: theirs, or the project's when theirs is unknown here."""
        found = self._zones.get(name)
        if found is None:
            found = self._zones[name] = name if _known(name) else self._own
        return found

    def release_at_utc(self, zone: str) -> datetime:
        """Return when the batches of that zone may leave."""
        if zone == self._own:
            return self._due_at_utc
        local = self._wall.replace(tzinfo=ZoneInfo(zone))
        moment = local.astimezone(UTC)
        if moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None) != self._wall:  # skipped by summer time
            moment = _end_of_gap(local)
        return max(moment, min(self._due_at_utc, self._now_utc))


def earliest_due(due_at_utc: datetime, time_zone: str) -> datetime:
    """Return the moment at which the due time's wall clock is reached first anywhere on earth."""
    offset = due_at_utc.astimezone(ZoneInfo(time_zone)).utcoffset() or timedelta()
    return due_at_utc + min(offset - FIRST_OFFSET, timedelta())


def _end_of_gap(local: datetime) -> datetime:
    """Return when the clocks jumped over this time: in the gap, fold 0 counts by the offset before it."""
    before = local.utcoffset() or timedelta()
    after = local.replace(fold=1).utcoffset() or timedelta()
    skipped = local.astimezone(UTC)
    low, high = skipped - (after - before), skipped
    zone = local.tzinfo
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)


def _known(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
