"""The life of a run, and the audit log, as people read it: figures of the planner in words, moments by our clock."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _t
from django.utils.translation import ngettext

from todoku.campaigns.types import RunRow, RunState, TimelineEntry
from todoku.web.readiness import late_by
from todoku.web.schedule_words import lateness_words, reason_words
from todoku.web.templatetags.todoku import act_name, day_and_time

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[+-]\d\d:\d\d|Z)")
_DUE = re.compile(rf"due ({_MOMENT.pattern})(, waits for approval)?")
_SEALED = re.compile(r"(?:.*: )?(\d+) to send, (\d+) not sendable.*")
_PLANNER = "planner"


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a timeline. by: a person, "" when it happened by itself."""

    at_utc: datetime
    text: str
    detail: str
    by: str


def told(entries: Sequence[TimelineEntry], run: RunRow) -> list[Moment]:
    """Return a run's timeline in words; what another line says better is left out."""
    names = {one.what for one in entries}
    doubled = set()
    if "run.started" in names:
        doubled.add("run.first_message")
    if run.finished_at_utc is not None:
        doubled |= {"run.last_message", "campaign.finished"}
    return [
        Moment(one.at_utc, act_name(one.what), _of_run(one, run), "" if one.by == _PLANNER else one.by)
        for one in entries
        if one.what not in doubled
    ]


def detail_words(detail: str) -> str:
    """Return the detail of an audit line: moments by our clock, the planner's figures in the reader's language."""
    due = _DUE.fullmatch(detail)
    if due is not None:
        return _t("for %(at)s") % {"at": _local(due[1])}
    sealed = _SEALED.fullmatch(detail)
    if sealed is not None:
        number, left_out = int(sealed[1]), int(sealed[2])
        text = ngettext("%(n)s to send, %(left_out)s left out", "%(n)s to send, %(left_out)s left out", number)
        return text % {"n": f"{number:,}", "left_out": f"{left_out:,}"}
    return _MOMENT.sub(lambda found: _local(found[0]), detail)


def _of_run(one: TimelineEntry, run: RunRow) -> str:
    if one.what == "run.started" and run.seconds_late is not None:
        return late_by(run, one.at_utc) if run.sent_at_once else lateness_words(run.seconds_late)
    if (one.what == "run.finished" and one.by == _PLANNER) or one.what == "campaign.created":
        return ""
    its_reason = {"run.held": RunState.HELD, "run.missed": RunState.MISSED}.get(one.what)
    if its_reason is run.state and one.by == _PLANNER:
        return reason_words(run.reason, run.reason_ja)
    return detail_words(one.detail)


def _local(text: str) -> str:
    return day_and_time(datetime.fromisoformat(text.replace("Z", "+00:00")))
