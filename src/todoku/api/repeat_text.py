"""A repetition as one types it: "weekly mon,thu 10:30 until 2027-03-31"; for the command line."""

from __future__ import annotations

from datetime import date

from todoku.api.errors import RequestInvalid
from todoku.api.shapes import RepeatDoc

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
FORMS = 'daily 10:30 | weekly mon,thu 10:30 | monthly 25 10:30 | monthly last 10:30 | cron "30 10 * * 1"'
_ENDS = ("until", "times", "every", "holidays")


def parse_repeat(text: str, time_zone: str) -> RepeatDoc:
    """Return what the text says; may end in `every 2`, `until 2027-03-31`, `times 12`, `holidays skip|before|after`.

    Raises RequestInvalid, which names the forms there are.
    """
    words = text.replace(",", " ").split() if not text.strip().startswith("cron") else text.split()
    ends = _take_ends(words)
    if not words:
        raise _odd("it says no days")
    kind, rest = words[0], words[1:]
    base = {"time_zone": time_zone, **ends}
    if kind == "cron" and len(rest) == 5:
        return _made(kind="cron", cron=" ".join(rest), **base)
    if kind == "daily" and len(rest) == 1:
        return _made(kind="daily", at=rest[0], **base)
    if kind == "weekly" and len(rest) >= 2 and all(day[:3].casefold() in WEEKDAYS for day in rest[:-1]):
        weekdays = tuple(sorted({WEEKDAYS.index(day[:3].casefold()) for day in rest[:-1]}))
        return _made(kind="weekly", weekdays=weekdays, at=rest[-1], **base)
    if kind == "monthly" and len(rest) == 2 and (rest[0] == "last" or rest[0].isdecimal()):
        return _made(kind="monthly", month_day=-1 if rest[0] == "last" else int(rest[0]), at=rest[1], **base)
    raise _odd(f"{text!r} is not understood")


def _take_ends(words: list[str]) -> dict[str, object]:
    found: dict[str, object] = {}
    while len(words) >= 2 and words[-2] in _ENDS:
        value = words.pop()
        name = words.pop()
        try:
            if name == "until":
                found["until"] = date.fromisoformat(value)
            elif name == "holidays":
                found["holidays"] = value
            else:
                found["count" if name == "times" else "every"] = int(value)
        except ValueError as error:
            raise _odd(f"{name} {value!r} is not understood") from error
    return found


def _made(**values: object) -> RepeatDoc:
    try:
        return RepeatDoc.model_validate(values)
    except ValueError as error:
        raise _odd("a part of it is not understood") from error


def _odd(what: str) -> RequestInvalid:
    return RequestInvalid("repeat", f"{what}; the forms are: {FORMS}")
