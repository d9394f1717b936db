"""What is wrong with a repeating rule: everything at once, in both languages, before it is scheduled."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from todoku.campaigns.occurrences import next_due
from todoku.campaigns.types import Obstacle, Repeat, RepeatKind

SHORTEST_MINUTES = 5
MOST_EVERY = 366
MOST_TIMES = 100_000
_TRIED = 1_000  # firings: more than one day's worth at one a minute would be, so every gap of a day is seen
_FROM = datetime(2024, 1, 1)  # noqa: DTZ001 - a wall clock without a zone; a leap year


def problems(repeat: Repeat, begins_utc: datetime) -> list[Obstacle]:
    """Return everything that speaks against the rule when it begins at that moment; [] when nothing does."""
    found = _number_problems(repeat)
    if repeat.time_zone not in available_timezones():
        found.append(
            Obstacle(
                "time_zone",
                f"there is no time zone {repeat.time_zone!r}: write it like Asia/Tokyo",
                f"タイムゾーン「{repeat.time_zone}」はありません（例: Asia/Tokyo）",
            )
        )
    found += _cron_problems(repeat.cron) if repeat.kind is RepeatKind.CRON else _day_problems(repeat)
    return found or _end_problems(repeat, begins_utc)


def _number_problems(repeat: Repeat) -> list[Obstacle]:
    found: list[Obstacle] = []
    if not 1 <= repeat.every <= MOST_EVERY:
        found.append(
            Obstacle("every", f"every: 1 to {MOST_EVERY}, not {repeat.every}", f"間隔は1から{MOST_EVERY}までです")
        )
    elif repeat.kind is RepeatKind.CRON and repeat.every != 1:
        found.append(
            Obstacle("every", "cron text says itself how often: every must be 1", "cronの場合、間隔は指定できません")
        )
    if repeat.count is not None and not 1 <= repeat.count <= MOST_TIMES:
        found.append(
            Obstacle("count", f"{repeat.count} times: it must be 1 to {MOST_TIMES}", f"回数は1から{MOST_TIMES}までです")
        )
    return found


def _day_problems(repeat: Repeat) -> list[Obstacle]:
    found: list[Obstacle] = []
    if repeat.at_minute is None or not 0 <= repeat.at_minute < 24 * 60:
        found.append(
            Obstacle("at_minute", "a time of the day, 00:00 to 23:59, is needed", "配信時刻を指定してください")
        )
    if repeat.kind is RepeatKind.WEEKLY and not (repeat.weekdays and all(0 <= day <= 6 for day in repeat.weekdays)):
        found.append(Obstacle("weekdays", "at least one weekday is needed", "曜日を1つ以上選んでください"))
    if repeat.kind is RepeatKind.MONTHLY and repeat.month_day != -1 and not 1 <= repeat.month_day <= 31:
        found.append(
            Obstacle(
                "month_day",
                f"the day of the month is 1 to 31, or the last (-1), not {repeat.month_day}",
                "日は1から31、または末日です",
            )
        )
    return found


def _cron_problems(cron: str) -> list[Obstacle]:
    if len(cron.split()) != 5:
        return [
            Obstacle(
                "cron_syntax",
                f"cron text has five fields (minute hour day month weekday), this has {len(cron.split())}: {cron!r}",
                f"cronは5つの項目（分 時 日 月 曜日）で書きます: 「{cron}」",
            )
        ]
    try:
        firings = list(islice(CronSim(cron, _FROM), _TRIED))
    except CronSimError as error:
        if _is_missing_day(cron):
            return [_never(cron)]
        return [
            Obstacle("cron_syntax", f"cron text {cron!r}: {error}", f"cron「{cron}」を読めません（{error}）"),
        ]
    if not firings:
        return [_never(cron)]
    if any(later - earlier < timedelta(minutes=SHORTEST_MINUTES) for earlier, later in pairwise(firings)):
        return [
            Obstacle(
                "cron_too_often",
                f"cron text {cron!r} fires more often than every {SHORTEST_MINUTES} minutes",
                f"cron「{cron}」の間隔が{SHORTEST_MINUTES}分より短くなっています",
            )
        ]
    return []


def _is_missing_day(cron: str) -> bool:
    """Tell whether only the day of the month is in the way: the same text with day 1 is fine."""
    fields = cron.split()
    try:
        CronSim(" ".join((*fields[:2], "1", *fields[3:])), _FROM)
        days = [int(day) for part in fields[2].split(",") for day in part.split("-")]
    except (CronSimError, ValueError):
        return False
    return all(1 <= day <= 31 for day in days)


def _never(cron: str) -> Obstacle:
    return Obstacle(
        "cron_never",
        f"cron text {cron!r} never fires: no such day exists",
        f"cron「{cron}」にあたる日はありません",
    )


def _end_problems(repeat: Repeat, begins_utc: datetime) -> list[Obstacle]:
    begins_on = begins_utc.astimezone(ZoneInfo(repeat.time_zone)).date()
    if repeat.until is not None and repeat.until < begins_on:
        return [
            Obstacle(
                "ends_before_start",
                f"the last day {repeat.until} is before the first {begins_on}",
                f"終了日 {repeat.until} が開始日 {begins_on} より前です",
            )
        ]
    if next_due(repeat, begins_utc - timedelta(seconds=1)) is None:
        return [
            Obstacle(
                "never_leaves",
                "no start is left between the first and the last day",
                "開始日から終了日までに配信日がありません",
            )
        ]
    return []
