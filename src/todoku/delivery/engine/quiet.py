"""Quiet hours by a wall clock somewhere, in terms of UTC. Pure; right on days on which clocks are changed."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from todoku.delivery.types import QuietHours

_DAY_MINUTES = 24 * 60
_MINUTE = timedelta(minutes=1)
_LARGEST_CHANGE = timedelta(hours=26)  # an island that moved over the date line


def quiet_until(quiet: QuietHours | None, time_zone: str, now_utc: datetime) -> datetime | None:
    """Return the end of the quiet hours that hold now, in UTC; None when a message may leave.

    time_zone: IANA name; one that nobody knows counts as UTC. Hours that a change of clocks skips are not waited for,
    and hours that come twice are quiet twice.
    """
    if quiet is None or quiet.begin_minute == quiet.end_minute:
        return None
    zone = zone_of(time_zone)
    local = now_utc.astimezone(zone)
    if not _is_quiet(quiet, local):
        return None
    minutes = (
        quiet.end_minute - (local.hour * 60 + local.minute)
    ) % _DAY_MINUTES or _DAY_MINUTES  # quiet all day: ask again tomorrow
    end = now_utc.replace(second=0, microsecond=0) + timedelta(minutes=minutes)
    if end.astimezone(zone).utcoffset() == local.utcoffset():
        return end
    # clocks are changed in between: the first minute that is not quiet may be one that the change jumps to
    moment = now_utc.replace(second=0, microsecond=0) + _MINUTE
    while moment < end + _LARGEST_CHANGE and _is_quiet(quiet, moment.astimezone(zone)):
        moment += _MINUTE
    return moment


@lru_cache(maxsize=1024)
def zone_of(time_zone: str) -> ZoneInfo:
    """Return the zone, UTC for a name that is none."""
    try:
        return ZoneInfo(time_zone)
    except (ValueError, OSError, KeyError):  # KeyError: ZoneInfoNotFoundError; OSError: a folder's name
        return ZoneInfo("UTC")


def _is_quiet(quiet: QuietHours, local: datetime) -> bool:
    minute = local.hour * 60 + local.minute
    if quiet.begin_minute < quiet.end_minute:
        return quiet.begin_minute <= minute < quiet.end_minute
    return minute >= quiet.begin_minute or minute < quiet.end_minute
