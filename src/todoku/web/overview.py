"""Home: is all well? One sentence, two balances, and what it rests on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from todoku.campaigns import queries as campaigns
from todoku.campaigns.types import AwayRow, CampaignRow, CampaignState, RunState
from todoku.delivery.types import RecipientState, RunBalance
from todoku.intake import queries as intake
from todoku.intake.types import END_STATES, IntakeBalance, MailState
from todoku.projects.types import ProjectInfo
from todoku.reservations import queries as reservations
from todoku.web import words
from todoku.web.letters import count_on_bus
from todoku.web.ports import ports
from todoku.web.readiness import Standing, standing
from todoku.web.schedule_words import never

NEEDS_EYES = (MailState.UNKNOWN_LAYOUT, MailState.QUARANTINED, MailState.UNREADABLE)
_NEEDS_PERSON = ("held", "missed")
_AHEAD = (CampaignState.SCHEDULED, CampaignState.ACTIVE, CampaignState.PAUSED)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One calm sentence. tone: well, look or bad. more: what it rests on, or what to do.

    state: the mails to look at, for the link behind the sentence; away: the runs to look at.
    """

    tone: str
    icon: str
    sentence: str
    more: str = ""
    state: str = ""
    away: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One number of a balance. key: the state; part: its share of the total in thousandths, for the bar."""

    key: str
    word: words.Word
    count: int
    part: int
    offset: int


def mail_lines(balance: IntakeBalance) -> list[Line]:
    """Return the states of the mails that arrived, the usual ones even when they are 0."""
    counts: dict[MailState, int] = {state: balance.states.get(state, 0) for state in END_STATES}
    if balance.pending:
        counts[MailState.PENDING] = balance.pending
    return _lines([(state.value, words.MAILS[state], count) for state, count in counts.items()], balance.arrived)


def run_lines(balance: RunBalance) -> list[Line]:
    """Return the states of a run's recipients."""
    numbers = balance.as_dict()
    states = [RecipientState(name) for name in numbers if name != "planned"]
    return _lines([(one.value, words.RECIPIENTS[one], numbers[one.value]) for one in states], balance.planned)


def look_around(project: ProjectInfo, now_utc: datetime) -> dict[str, Any]:
    """Return everything Home shows."""
    on_bus = count_on_bus(project.id)
    balance = intake.balance(project.id, on_bus)
    rows = campaigns.list_campaigns(project.id)
    away = campaigns.while_away(project.id, clock=ports().clock)
    total = add_up([row.run.balance for row in rows if row.run is not None])
    today = _today(project, now_utc)
    return {
        "away": len(away),
        "verdict": judge(balance, away, today["eyes"], counted=on_bus is not None),
        "counted": on_bus is not None,
        "mail": balance,
        "mail_lines": mail_lines(balance),
        "out": total,
        "out_lines": run_lines(total),
        "today": today,
        "next_runs": _next(rows, now_utc),
        "unhandled": reservations.count_unhandled(project.id),
    }


def judge(balance: IntakeBalance, away: list[AwayRow], eyes: Counter[MailState], *, counted: bool) -> Verdict:
    """Say whether all is well; the worst thing decides the sentence. away: runs that somebody should know of."""
    waiting = [one for one in away if one.what in _NEEDS_PERSON]
    late = [one for one in away if one.what == "late"]
    if balance.pending < 0:
        return Verdict(
            "bad", "warn", _("The books do not balance."), _("There are more results than mails. Call the operator.")
        )
    if waiting:
        sentence = ngettext("%(n)d campaign waits for you.", "%(n)d campaigns wait for you.", len(waiting))
        return Verdict("bad", "warn", sentence % {"n": len(waiting)}, _names(waiting), away=True)
    if late:
        sentence = ngettext("%(n)d campaign is late.", "%(n)d campaigns are late.", len(late))
        return Verdict("bad", "clock", sentence % {"n": len(late)}, _names(late), away=True)
    if eyes:
        sentence = ngettext(
            "%(n)d mail of today needs your eyes.", "%(n)d mails of today need your eyes.", eyes.total()
        )
        most = eyes.most_common(1)[0][0]
        return Verdict("look", "warn", sentence % {"n": eyes.total()}, _("Nothing is lost."), most.value)
    if not counted:
        return Verdict(
            "look",
            "unknown",
            _("Arrivals can't be counted now."),
            _("What has arrived is kept; the connection returns."),
        )
    if balance.pending:
        sentence = ngettext("Reading %(n)d mail just now.", "Reading %(n)d mails just now.", balance.pending)
        return Verdict("well", "clock", sentence % {"n": balance.pending}, _("Nothing is lost."))
    return Verdict("well", "done", _("All is well."), _("Every mail has its place, and every message too."))


def _names(rows: list[AwayRow]) -> str:
    return "、".join(dict.fromkeys(one.campaign_name for one in rows))


def _next(rows: list[CampaignRow], now_utc: datetime) -> list[Standing]:
    waiting = [row for row in rows if row.state in _AHEAD and (row.run is None or row.run.state is not RunState.MISSED)]
    ahead = [standing(row, now_utc) for row in waiting]
    return sorted(ahead, key=lambda one: one.at_utc or never())[:5]


def add_up(balances: list[RunBalance]) -> RunBalance:
    """Return the sum of several balances."""
    names = ("planned", "sent", "refused", "suppressed", "unrenderable", "expired", "unknown")
    return RunBalance(**{name: sum(getattr(one, name) for one in balances) for name in names})


def _today(project: ProjectInfo, now_utc: datetime) -> dict[str, Any]:
    midnight = timezone.localtime(now_utc).replace(hour=0, minute=0, second=0, microsecond=0)
    counts = intake.counts_since(project.id, midnight)
    came: Counter[str | None] = Counter()
    eyes: Counter[MailState] = Counter()
    for (site, state), count in counts.items():
        came[site] += count
        if state in NEEDS_EYES:
            eyes[state] += count
    last = intake.last_arrival_per_site(project.id)
    sites = [
        {"site": site, "count": came.get(site, 0), "last": last.get(site)}
        for site in sorted({*last, *filter(None, came)})
    ]
    return {
        "count": came.total(),
        "sites": sorted(sites, key=lambda one: -one["count"]),
        "eyes": eyes,
    }


def _lines(counts: list[tuple[str, words.Word, int]], total: int) -> list[Line]:
    lines, offset = [], 0
    for key, word, count in counts:
        part = round(1000 * count / total) if total > 0 else 0
        lines.append(Line(key, word, count, part, offset))
        offset += part
    return lines
