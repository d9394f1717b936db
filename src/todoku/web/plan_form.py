"""The scheduling form: what a person ticks and types in, a Plan and a due time out; errors stand beside their field."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from functools import cache
from typing import Any, cast
from zoneinfo import ZoneInfo, available_timezones

from django import forms
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from todoku.campaigns import repeat_check
from todoku.campaigns.occurrences import wall_clock_utc
from todoku.campaigns.types import (
    HolidayRule,
    LateChoice,
    LatePolicy,
    Obstacle,
    PileUp,
    Plan,
    Repeat,
    RepeatKind,
)
from todoku.delivery.types import QuietHours
from todoku.web import schedule_words as words

LATE_WITHIN = (900.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0, 86_400.0)
GUARDS = (1.5, 2.0, 3.0, 5.0, 0.0)
# Fields that have a place for their error on the page, and what their widgets say besides.
ATTRIBUTES: dict[str, dict[str, str]] = {
    "due": {},
    "time_zone": {"list": "zones", "autocomplete": "off", "spellcheck": "false"},
    "at": {},
    "every": {"inputmode": "numeric"},
    "weekdays": {},
    "month_day": {},
    "cron": {"spellcheck": "false", "autocomplete": "off", "placeholder": "30 10 * * 1"},
    "until": {},
    "count": {"inputmode": "numeric"},
    "holidays": {},
    "start_within": {},
    "then": {},
    "pile_up": {},
    "guard": {},
    "pace": {"step": "any"},
    "quiet_begin": {},
    "quiet_end": {},
}
INPUT_TYPES = {"due": "datetime-local", "at": "time", "until": "date", "quiet_begin": "time", "quiet_end": "time"}
# code of an obstacle -> the field beside which it is said
FIELD_OF = {
    "time_zone": "time_zone",
    "every": "every",
    "count": "count",
    "at_minute": "at",
    "weekdays": "weekdays",
    "month_day": "month_day",
    "cron_syntax": "cron",
    "cron_too_often": "cron",
    "cron_never": "cron",
    "until": "until",
    "never_leaves": "until",
    "ends_before_start": "until",
    "due_in_past": "due",
    "due_missing": "due",
    "transport": "transport",
    "pace": "pace",
    "quiet": "quiet_begin",
    "start_within": "start_within",
    "guard_factor": "guard",
}


class PlanForm(forms.Form):
    """When a campaign leaves, and how. `plan` and `due_at_utc` may be asked once it is valid."""

    when = forms.ChoiceField(choices=[("once", _("Once")), ("repeat", _("Repeating"))], widget=forms.RadioSelect)
    due = forms.CharField(required=False, label=_("Day and time"))
    time_zone = forms.CharField(label=_("Time zone"), max_length=64)
    kind = forms.ChoiceField(required=False, choices=list(words.REPEATS.items()), widget=forms.RadioSelect)
    at = forms.TimeField(required=False, label=_("Time"))
    every = forms.IntegerField(required=False, label=_("Every"), min_value=1, max_value=366)
    weekdays = forms.TypedMultipleChoiceField(
        required=False, coerce=int, choices=[(str(n), day) for n, day in enumerate(words.WEEKDAYS)], label=_("Weekdays")
    )
    month_day = forms.TypedChoiceField(
        required=False,
        coerce=int,
        choices=[*((str(n), str(n)) for n in range(1, 32)), ("-1", _("the last day"))],
        label=_("Day of the month"),
    )
    cron = forms.CharField(required=False, max_length=120, label=_("Cron text"))
    end = forms.ChoiceField(required=False, choices=list(words.ENDS.items()), widget=forms.RadioSelect)
    until = forms.DateField(required=False, label=_("Last day"))
    count = forms.IntegerField(required=False, min_value=1, max_value=100_000, label=_("How many times"))
    holidays = forms.ChoiceField(required=False, choices=list(words.HOLIDAYS.items()), label=_("On Japanese holidays"))
    start_within = forms.TypedChoiceField(coerce=float, label=_("It may start late by"))
    then = forms.ChoiceField(choices=list(words.LATE_THEN.items()), label=_("After that"))
    pile_up = forms.ChoiceField(
        required=False, choices=list(words.PILE_UPS.items()), label=_("When several starts were missed")
    )
    older_seal = forms.BooleanField(required=False)
    pace = forms.FloatField(required=False, min_value=0, max_value=100_000, label=_("Messages a second, at most"))
    quiet = forms.BooleanField(required=False)
    quiet_begin = forms.TimeField(required=False, label=pgettext_lazy("quiet hours", "From"))
    quiet_end = forms.TimeField(required=False, label=pgettext_lazy("quiet hours", "Until"))
    recipient_zone = forms.BooleanField(required=False)
    transport = forms.ChoiceField(required=False, label=_("Way out"))
    guard = forms.TypedChoiceField(coerce=float, label=_("Ask when the audience changes by a factor of"))

    def __init__(
        self, data: Any, *, project_zone: str, now_utc: datetime, transports: tuple[str, ...] = (), strict: bool = True
    ) -> None:
        super().__init__(data, auto_id="p-%s", label_suffix="", use_required_attribute=False)
        self.project_zone = project_zone
        self.now_utc = now_utc
        self.strict = strict
        self.plan = Plan()
        self.due_at_utc: datetime | None = None
        self.transports = transports
        fields = cast(dict[str, forms.ChoiceField], self.fields)
        within, guards = _with(LATE_WITHIN, data.get("start_within")), _with(GUARDS, data.get("guard"))
        fields["start_within"].choices = [(f"{one:.1f}", words.duration_words(one)) for one in within]
        fields["guard"].choices = [(f"{one:.1f}", words.guard_words(one)) for one in guards]
        for name, attributes in ATTRIBUTES.items():
            widget = self.fields[name].widget
            widget.attrs |= {"aria-describedby": f"e-{name}", **attributes}
            if isinstance(widget, forms.widgets.Input) and name in INPUT_TYPES:
                widget.input_type = INPUT_TYPES[name]
        fields["transport"].choices = [("", _("the usual one")), *((one, one) for one in transports)]

    def clean(self) -> dict[str, Any]:
        """Build the plan; what is wrong is said beside its field. Not strict: what is still empty is no error yet."""
        found = super().clean() or {}
        zone = str(found.get("time_zone") or self.project_zone)
        if zone not in known_zones():
            self.add_error("time_zone", _t("There is no such time zone; write it like Asia/Tokyo."))
            return found
        self.plan = self._plan(found, zone)
        if found.get("when") == "once":
            self.due_at_utc = self._due(str(found.get("due") or ""), zone)
        elif self.plan.repeat is not None:
            self._check_repeat(self.plan.repeat)
        return found

    @property
    def picked_days(self) -> list[str]:
        """Return the ticked weekdays as they came, also when the rest is wrong."""
        data = self.data
        return list(data.getlist("weekdays") if hasattr(data, "getlist") else data.get("weekdays", ()))

    @property
    def spoken(self) -> list[forms.BoundField]:
        """Return the fields beside which an error can stand."""
        return [self[name] for name in ATTRIBUTES] + ([self["transport"]] if self.transports else [])

    def say(self, obstacles: list[Obstacle] | tuple[Obstacle, ...], localized: Any) -> None:
        """Put each obstacle beside its field; those that belong to none, above the form."""
        for one in obstacles:
            field = FIELD_OF.get(one.code)
            self.add_error(field if field in self.fields else None, localized(one))

    def _plan(self, found: dict[str, Any], zone: str) -> Plan:
        begin, end = found.get("quiet_begin"), found.get("quiet_end")
        quiet = None
        if found.get("quiet"):
            if begin is None or end is None or begin == end:
                self._wrong("quiet_begin", begin is None or end is None, _t("Please say from when until when."))
            else:
                quiet = QuietHours(begin.hour * 60 + begin.minute, end.hour * 60 + end.minute)
        late = LatePolicy(
            start_within_seconds=float(found.get("start_within") or 14_400.0),
            then=LateChoice(found.get("then") or "ask"),
            pile_up=PileUp(found.get("pile_up") or "newest"),
            older_seal=bool(found.get("older_seal")),
        )
        guard = found.get("guard")
        return Plan(
            repeat=self._repeat(found, zone) if found.get("when") == "repeat" else None,
            late=late,
            quiet=quiet,
            recipient_zone=bool(found.get("recipient_zone")),
            pace_per_second=float(found.get("pace") or 0.0),
            transport=str(found.get("transport") or ""),
            guard_factor=2.0 if guard is None else float(guard),
        )

    def _repeat(self, found: dict[str, Any], zone: str) -> Repeat | None:
        kind = RepeatKind(found.get("kind") or "daily")
        at: time | None = found.get("at")
        end = found.get("end")
        cron = " ".join(str(found.get("cron") or "").split())
        if kind is RepeatKind.CRON and not cron:
            self._wrong("cron", True, _t("Please fill this in."))
            return None
        if kind is not RepeatKind.CRON and at is None:
            self._wrong("at", True, _t("Please fill this in."))
            return None
        if kind is RepeatKind.WEEKLY and not found.get("weekdays") and not self.strict:
            return None
        if end == "until" and found.get("until") is None:
            self._wrong("until", True, _t("Please fill this in."))
        if end == "count" and found.get("count") is None:
            self._wrong("count", True, _t("Please fill this in."))
        return Repeat(
            kind=kind,
            at_minute=None if kind is RepeatKind.CRON or at is None else at.hour * 60 + at.minute,
            every=1 if kind is RepeatKind.CRON else found.get("every") or 1,
            weekdays=tuple(found.get("weekdays") or ()) if kind is RepeatKind.WEEKLY else (),
            month_day=found.get("month_day") or 1,
            cron=cron if kind is RepeatKind.CRON else "",
            time_zone=zone,
            until=found.get("until") if end == "until" else None,
            count=found.get("count") if end == "count" else None,
            holidays=HolidayRule(found.get("holidays") or "send"),
        )

    def _due(self, text: str, zone: str) -> datetime | None:
        if not text:
            self._wrong("due", True, _t("Please say day and time."))
            return None
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self.add_error("due", _t("Please say day and time."))
            return None
        due = moment if moment.tzinfo else wall_clock_utc(moment, ZoneInfo(zone))
        if due < self.now_utc - timedelta(minutes=1):
            self.add_error("due", _t("This time is over."))
        return due

    def _check_repeat(self, repeat: Repeat) -> None:
        if set(self.errors) & {"at", "every", "weekdays", "month_day", "cron", "until", "count"}:
            return
        for one in repeat_check.problems(repeat, self.now_utc):
            self.add_error(FIELD_OF.get(one.code), words.localized(one))

    def _wrong(self, field: str, is_empty: bool, text: str) -> None:
        if self.strict or not is_empty:
            self.add_error(field, text)


def plan_values(plan: Plan, due_at_utc: datetime | None, project_zone: str) -> dict[str, Any]:
    """Return a plan as the form shows it; times by the clock of the plan's own zone."""
    repeat, quiet, late = plan.repeat, plan.quiet, plan.late
    zone = repeat.time_zone if repeat is not None else project_zone
    due = due_at_utc.astimezone(ZoneInfo(zone)) if due_at_utc is not None else None
    values: dict[str, Any] = {
        "when": "repeat" if repeat is not None else "once",
        "due": f"{due:%Y-%m-%dT%H:%M}" if due is not None else "",
        "time_zone": zone,
        "kind": "weekly",
        "at": "10:00",
        "every": 1,
        "weekdays": [str(due.weekday())] if due is not None else [],
        "month_day": "1",
        "cron": "",
        "end": "never",
        "until": "",
        "count": "",
        "holidays": "send",
        "start_within": f"{late.start_within_seconds:.1f}",
        "then": late.then.value,
        "pile_up": late.pile_up.value,
        "pace": plan.pace_per_second or "",
        "quiet_begin": _clock(quiet.begin_minute) if quiet is not None else "21:00",
        "quiet_end": _clock(quiet.end_minute) if quiet is not None else "08:00",
        "transport": plan.transport,
        "guard": f"{plan.guard_factor:.1f}",
    }
    values |= {
        name: "on"
        for name, ticked in (
            ("older_seal", late.older_seal),
            ("quiet", quiet is not None),
            ("recipient_zone", plan.recipient_zone),
        )
        if ticked
    }
    if repeat is not None:
        values |= {
            "kind": repeat.kind.value,
            "at": _clock(repeat.at_minute) if repeat.at_minute is not None else "",
            "every": repeat.every,
            "weekdays": [str(day) for day in repeat.weekdays],
            "month_day": str(repeat.month_day),
            "cron": repeat.cron,
            "end": "until" if repeat.until is not None else "count" if repeat.count is not None else "never",
            "until": repeat.until.isoformat() if repeat.until is not None else "",
            "count": repeat.count if repeat.count is not None else "",
            "holidays": repeat.holidays.value,
        }
    return values


@cache
def known_zones() -> tuple[str, ...]:
    """Return the names of all time zones, those of places only."""
    places = (one for one in available_timezones() if "/" in one and not one.startswith(("Etc/", "SystemV/")))
    return (*sorted(places), "UTC")


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _with(usual: tuple[float, ...], value: Any) -> tuple[float, ...]:
    """Return the usual choices and the one a program has set."""
    try:
        own = round(float(value), 1)
    except (TypeError, ValueError):
        return usual
    return usual if own in usual or not 0 <= own <= 30 * 86_400 else (*usual, own)
