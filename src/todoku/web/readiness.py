"""How ready each campaign is, in one sentence, and which of them need a person first."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from django.utils.functional import Promise
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from todoku.campaigns.types import CampaignRow, CampaignState, RunRow, RunState
from todoku.content.rendering import SAMPLE_VALUES
from todoku.content.rendering import check as check_content
from todoku.web import words
from todoku.web.schedule_words import lateness_words, never, reason_words
from todoku.web.templatetags.todoku import clock, day_and_time

SOON = timedelta(hours=1)
NOTEWORTHY_SECONDS = 1.0
NOTEWORTHY_AT_ONCE_SECONDS = 60.0  # who says "now" knows that the list has to be frozen first


class Group(StrEnum):
    """Where a campaign stands in the list, the most urgent first."""

    NEEDS_YOU = "needs"
    SENDING = "sending"
    SOON = "soon"
    SCHEDULED = "scheduled"
    PAUSED = "paused"
    DRAFT = "draft"
    OVER = "over"


GROUPS: dict[Group, str | Promise] = {
    Group.NEEDS_YOU: _("Needs you"),
    Group.SENDING: _("On its way"),
    Group.SOON: _("Leaves within the hour"),
    Group.SCHEDULED: _("Scheduled"),
    Group.PAUSED: _("Paused"),
    Group.DRAFT: _("Drafts"),
    Group.OVER: _("Over"),
}
_WAITS = (RunState.HELD, RunState.MISSED)
_TELLING = (*_WAITS, RunState.SEALED, RunState.SEALING, RunState.SENDING)


@dataclass(frozen=True, slots=True)
class Standing:
    """One campaign as the list shows it. late: how late it is or began, "" when on time."""

    row: CampaignRow
    group: Group
    word: words.Word
    sentence: str
    late: str
    at_utc: datetime | None


def standing(row: CampaignRow, now_utc: datetime, unanswered: Collection[UUID] = ()) -> Standing:
    """Return where a campaign stands. unanswered: campaigns with a held or missed run that nobody has answered."""
    due_utc = row.run.due_at_utc if row.run is not None else row.due_at_utc
    return Standing(
        row=row,
        group=Group.NEEDS_YOU if row.id in unanswered else group_of(row, now_utc),
        word=word_of(row),
        sentence=sentence(row, now_utc),
        late=late_by(row.run, now_utc),
        at_utc=row.next_due_at_utc or due_utc,
    )


def in_groups(
    rows: list[CampaignRow], now_utc: datetime, unanswered: Collection[UUID] = ()
) -> dict[Group, list[Standing]]:
    """Return the campaigns by group, each group in the order in which one wants to see it."""
    groups: dict[Group, list[Standing]] = {group: [] for group in Group}
    for row in rows:
        one = standing(row, now_utc, unanswered)
        groups[one.group].append(one)
    for group in (Group.NEEDS_YOU, Group.SENDING, Group.SOON, Group.SCHEDULED):
        groups[group].sort(key=lambda one: one.at_utc or never())
    return groups


def group_of(row: CampaignRow, now_utc: datetime) -> Group:
    """Return the group of a campaign: held, missed or waiting for approval comes before everything else."""
    run = row.run
    if row.state is CampaignState.DRAFT:
        return Group.DRAFT
    if row.state in (CampaignState.FINISHED, CampaignState.STOPPED):
        return Group.OVER
    if (run is not None and run.state in _WAITS) or waits_for_approval(row):
        return Group.NEEDS_YOU
    if row.state is CampaignState.PAUSED:
        return Group.PAUSED
    if run is not None and run.state is RunState.SENDING:
        return Group.SENDING
    due = row.next_due_at_utc or row.due_at_utc or (run.due_at_utc if run is not None else None)
    return Group.SOON if due is not None and due <= now_utc + SOON else Group.SCHEDULED


def waits_for_approval(row: CampaignRow) -> bool:
    """Tell whether a second person's word is asked for and not given."""
    if row.state not in (CampaignState.SCHEDULED, CampaignState.ACTIVE, CampaignState.PAUSED):
        return False
    return row.approval is not None and not row.approval.given


def word_of(row: CampaignRow) -> words.Word:
    """Return the state as a shape and a word: the run's, where that says more than the campaign's."""
    if waits_for_approval(row):
        return words.Word(_("Waits for approval"), "hold", "look")
    live = row.state in (CampaignState.SCHEDULED, CampaignState.ACTIVE)
    if row.run is not None and (row.run.state is RunState.MISSED or (live and row.run.state in _TELLING)):
        return words.RUNS[row.run.state]
    return words.CAMPAIGNS[row.state]


def sentence(row: CampaignRow, now_utc: datetime) -> str:
    """Return what happens next, or what is in the way."""
    if row.state is CampaignState.DRAFT:
        return _draft(row)
    if waits_for_approval(row):
        return _t("Leaves only when a second person has approved it.")
    if row.run is None:
        return str(words.CAMPAIGNS[row.state].text)
    return run_sentence(row.run, now_utc)


def run_sentence(run: RunRow, now_utc: datetime) -> str:
    """Return how ready a run is, or how it went."""
    return _SENTENCES[run.state](run, now_utc)


def late_by(run: RunRow | None, now_utc: datetime) -> str:
    """Return how late a run began, or is by now; "" when that is nothing to speak of."""
    if run is None:
        return ""
    seconds = run.seconds_late
    if seconds is None and run.state in (RunState.PLANNED, RunState.SEALING, RunState.SEALED):
        seconds = (now_utc - run.due_at_utc).total_seconds()
    return lateness_words(seconds) if seconds is not None and seconds >= _noteworthy_seconds(run) else ""


def _noteworthy_seconds(run: RunRow) -> float:
    return NOTEWORTHY_AT_ONCE_SECONDS if run.sent_at_once else NOTEWORTHY_SECONDS


def _is_late(run: RunRow, now_utc: datetime) -> bool:
    return now_utc > run.due_at_utc + timedelta(seconds=_noteworthy_seconds(run))


def _draft(row: CampaignRow) -> str:
    problems = check_content(row.content, SAMPLE_VALUES)
    if not problems:
        return _t("Ready to be sent.")
    text = ngettext("%(n)d thing to put right in the text.", "%(n)d things to put right in the text.", len(problems))
    return text % {"n": len(problems)}


def _planned(run: RunRow, now_utc: datetime) -> str:
    if _is_late(run, now_utc):
        return reason_words(run.cause, run.cause_ja) or _t("Late; it starts as soon as it can.")
    if run.sent_at_once:
        return _t("Leaves in a moment, as soon as its list is frozen.")
    leaves = day_and_time(run.due_at_utc)
    if run.pre_sealed:
        return _t("%(people)s, list of the day before; it is made fresh shortly before, leaves %(at)s") % {
            "people": people(_to_send(run)),
            "at": leaves,
        }
    return _t("Leaves %(at)s; the list is frozen shortly before.") % {"at": leaves}


def _sealed(run: RunRow, now_utc: datetime) -> str:
    ready = _t("Sealed, %(people)s") % {"people": people(_to_send(run))}
    if _is_late(run, now_utc):
        return _t("%(ready)s; late: %(why)s") % {
            "ready": ready,
            "why": reason_words(run.cause, run.cause_ja) or _t("it starts as soon as it can"),
        }
    return _t("%(ready)s, leaves %(at)s") % {"ready": ready, "at": day_and_time(run.due_at_utc)}


def _sending(run: RunRow, _now_utc: datetime) -> str:
    return _t("%(done)s of %(planned)s have their answer; since %(at)s") % {
        "done": f"{run.balance.terminal:,}",
        "planned": f"{run.balance.planned:,}",
        "at": clock(run.started_at_utc),
    }


def _finished(run: RunRow, _now_utc: datetime) -> str:
    return _t("Left %(at)s: %(sent)s of %(planned)s sent") % {
        "at": day_and_time(run.started_at_utc or run.due_at_utc),
        "sent": f"{run.balance.sent:,}",
        "planned": f"{run.balance.planned:,}",
    }


def _reason(run: RunRow, _now_utc: datetime) -> str:
    return reason_words(run.reason, run.reason_ja) or str(words.RUNS[run.state].help or words.RUNS[run.state].text)


def _sealing(run: RunRow, _now_utc: datetime) -> str:
    return _t("Its list is being frozen; leaves %(at)s") % {"at": day_and_time(run.due_at_utc)}


def people(number: int) -> str:
    """Write how many people get it."""
    return ngettext("%(n)s recipient", "%(n)s recipients", number) % {"n": f"{number:,}"}


def _to_send(run: RunRow) -> int:
    return run.to_send if run.to_send is not None else run.balance.planned - run.balance.suppressed


_SENTENCES: dict[RunState, Callable[[RunRow, datetime], str]] = {
    RunState.PLANNED: _planned,
    RunState.SEALING: _sealing,
    RunState.SEALED: _sealed,
    RunState.SENDING: _sending,
    RunState.FINISHED: _finished,
    RunState.PAUSED: _reason,
    RunState.HELD: _reason,
    RunState.STOPPED: _reason,
    RunState.MISSED: _reason,
}
