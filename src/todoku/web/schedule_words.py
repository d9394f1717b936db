"""Words for when and how campaigns leave: repetitions, policies, what a run waits for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import get_language, ngettext, pgettext_lazy
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from todoku.campaigns.occurrences import describe
from todoku.campaigns.types import LateChoice, Plan, RunKind
from todoku.web.words import Word

Text = str | Promise

REPEATS: dict[str, Text] = {
    "daily": _("Daily"),
    "weekly": _("Weekly"),
    "monthly": _("Monthly"),
    "cron": _("Cron"),
}
WEEKDAYS: tuple[Text, ...] = (
    pgettext_lazy("weekday", "Mon"),
    pgettext_lazy("weekday", "Tue"),
    pgettext_lazy("weekday", "Wed"),
    pgettext_lazy("weekday", "Thu"),
    pgettext_lazy("weekday", "Fri"),
    pgettext_lazy("weekday", "Sat"),
    pgettext_lazy("weekday", "Sun"),
)
ENDS: dict[str, Text] = {
    "never": _("until somebody ends it"),
    "until": _("until a day"),
    "count": _("a number of times"),
}
HOLIDAYS: dict[str, Text] = {
    "send": _("send as on other days"),
    "skip": _("leave it out"),
    "before": _("send on the day before"),
    "after": _("send on the day after"),
}
LATE_THEN: dict[str, Text] = {
    "ask": _("wait and ask us"),
    "skip": _("let it go"),
}
PILE_UPS: dict[str, Text] = {
    "newest": _("newest only"),
    "all": _("all of them"),
    "ask": _("ask us"),
}
KINDS: dict[RunKind, Word] = {
    RunKind.CAMPAIGN: Word("", "campaign"),
    RunKind.RESEND: Word(_("Sent again"), "change", "busy"),
    RunKind.TEST: Word(_("Test"), "ask", "off"),
}
AWAY: dict[str, Word] = {
    "held": Word(_("Waits for you"), "hold", "look"),
    "missed": Word(_("Missed"), "cross", "bad"),
    "late": Word(_("Late"), "clock", "bad"),
    "started_late": Word(_("Started late"), "clock", "look"),
}
EXPECTED = Word(_("Planned ahead"), "clock", "off")
REMEDIES: dict[str, Text] = {
    "send_now": _("Send now"),
    "resend": _("Send to those not reached"),
    "skip": _("Skip"),
    "acknowledge": _("Seen"),
}
REMEDIES_ALL: dict[str, Text] = {
    "send_now": _("Send all of them now"),
    "resend": _("Send to all who were not reached"),
    "skip": _("Skip all of them"),
    "acknowledge": _("All seen"),
}


def japanese() -> bool:
    """Tell whether the reader reads Japanese."""
    return (get_language() or "ja").startswith("ja")


def localized(problem: Any) -> str:
    """Return the message of an obstacle or problem in the reader's language."""
    text = str(problem.message_ja if japanese() and problem.message_ja else problem.message)
    return text[:1].upper() + text[1:]


def reason_words(reason: str, reason_ja: str) -> str:
    """Return a reason in the reader's language; a person's own words are shown as they are."""
    return reason_ja if japanese() and reason_ja else reason


def duration_words(seconds: float) -> str:
    """Write a span: 15 minutes, 4 hours, 2 days."""
    if seconds < 90:
        return _t("%(n)d s") % {"n": round(seconds)}
    if seconds < 5_400:
        minutes = round(seconds / 60)
        return ngettext("%(n)d minute", "%(n)d minutes", minutes) % {"n": minutes}
    if seconds < 172_800:
        hours = round(seconds / 3_600)
        return ngettext("%(n)d hour", "%(n)d hours", hours) % {"n": hours}
    days = round(seconds / 86_400)
    return ngettext("%(n)d day", "%(n)d days", days) % {"n": days}


def lateness_words(seconds: float) -> str:
    """Write how late something began or is: +0.2 s, +3 min 5 s."""
    if seconds < 10:
        return _t("+%(n)s s") % {"n": f"{seconds:.1f}"}
    if seconds < 60:
        return _t("+%(n)s s") % {"n": f"{seconds:.0f}"}
    if seconds < 3_600:
        return _t("+%(m)d min %(s)d s") % {"m": int(seconds) // 60, "s": int(seconds) % 60}
    return _t("+%(h)d h %(m)d min") % {"h": int(seconds) // 3_600, "m": int(seconds) % 3_600 // 60}


def guard_words(factor: float) -> str:
    """Write when the guard against an absurd audience asks."""
    return _t("never") if factor == 0 else f"×{factor:g}"


def repeat_words(plan: Plan) -> str:
    """Return how a plan repeats as one line, "" when it does not."""
    return "" if plan.repeat is None else describe(plan.repeat, "ja" if japanese() else "en")


def late_words(plan: Plan) -> str:
    """Return the late policy as one sentence."""
    span = duration_words(plan.late.start_within_seconds)
    if plan.late.then is LateChoice.ASK:
        return _t(
            "If something is in the way, it starts as soon as it can for %(span)s; then it waits and asks you."
        ) % {"span": span}
    return _t("If something is in the way, it starts as soon as it can for %(span)s; then it is let go.") % {
        "span": span
    }


def plan_lines(plan: Plan) -> list[str]:
    """Return how a campaign leaves, one sentence for each thing that is not as usual; the late policy always."""
    lines = [late_words(plan)]
    if plan.repeat is not None:
        lines.append(_t("When several starts were missed: %(what)s.") % {"what": PILE_UPS[plan.late.pile_up.value]})
    if plan.quiet is not None:
        begin, end = _clock(plan.quiet.begin_minute), _clock(plan.quiet.end_minute)
        lines.append(_t("Nothing leaves from %(begin)s until %(end)s.") % {"begin": begin, "end": end})
    if plan.recipient_zone:
        lines.append(_t("Each recipient gets it at that time of their own time zone."))
    if plan.pace_per_second:
        lines.append(_t("At most %(n)s messages a second.") % {"n": f"{plan.pace_per_second:g}"})
    if plan.transport:
        lines.append(_t("It leaves by “%(name)s”.") % {"name": plan.transport})
    if not plan.late.older_seal:
        lines.append(_t("It never leaves with the audience of the day before."))
    return lines


def never() -> datetime:
    """Return a moment after all others, to sort what has no time."""
    return datetime.max.replace(tzinfo=UTC)


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"
