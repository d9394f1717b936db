"""Which mails to read again: what a person picks in, a Chosen out; errors stand beside their field."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast
from zoneinfo import ZoneInfo

from django import forms
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from todoku.campaigns.occurrences import wall_clock_utc
from todoku.intake import queries
from todoku.intake.replaying import OLDER, Chosen
from todoku.intake.types import END_STATES, MailState
from todoku.projects import queries as projects
from todoku.projects.types import ProjectInfo
from todoku.web import words

_LOCAL = "%Y-%m-%dT%H:%M"


class ReplayForm(forms.Form):
    """Choose mails; every field left empty means all. `chosen` may be asked once it is valid.

    Moments are wall-clock times of the project's time zone.
    """

    since = forms.DateTimeField(required=False, label=_("Arrived from"), input_formats=[_LOCAL, f"{_LOCAL}:%S"])
    until = forms.DateTimeField(required=False, label=_("Arrived before"), input_formats=[_LOCAL, f"{_LOCAL}:%S"])
    state = forms.ChoiceField(required=False, label=_("What became of them"))
    rules = forms.ChoiceField(required=False, label=_("Read by"))
    site = forms.ChoiceField(required=False, label=_("Site"))
    shop = forms.ChoiceField(required=False, label=_("Shop"))
    source = forms.ChoiceField(required=False, label=_("Source"))

    def __init__(self, data: Any, *, project: ProjectInfo) -> None:
        super().__init__(data, auto_id="r-%s", label_suffix="", use_required_attribute=False)
        self._zone = ZoneInfo(project.time_zone)
        fields = cast(dict[str, forms.ChoiceField], self.fields)
        everything = ("", _("all"))
        sites = sorted(words.site_ids(), key=words.site_name)
        sources = sorted(queries.arrivals_per_source(project.id))
        fields["state"].choices = [everything, *((one.value, words.MAILS[one].text) for one in END_STATES)]
        fields["rules"].choices = [("", _("whatever rules")), (OLDER, _("other rules than today's"))]
        fields["site"].choices = [everything, *((one, words.site_name(one)) for one in sites)]
        fields["shop"].choices = [everything, *((one.code, one.name) for one in projects.list_shops(project.id))]
        fields["source"].choices = [everything, *((one, one) for one in sources)]
        for name, field in self.fields.items():
            field.widget.attrs["aria-describedby"] = f"e-{name}"
            if name in ("since", "until"):
                field.widget = forms.TextInput({"type": "datetime-local", **field.widget.attrs})

    def clean(self) -> dict[str, Any]:
        """Refuse a time that ends before it begins."""
        found = super().clean() or {}
        since, until = found.get("since"), found.get("until")
        if since is not None and until is not None and until <= since:
            self.add_error("until", _t("This is not after the beginning."))
        return found

    @property
    def chosen(self) -> Chosen:
        """Return what was picked; only once the form is valid."""
        found = self.cleaned_data
        return Chosen(
            since_utc=self._utc(found["since"]),
            until_utc=self._utc(found["until"]),
            source=found["source"] or None,
            site=found["site"] or None,
            shop_code=found["shop"] or None,
            state=MailState(found["state"]) if found["state"] else None,
            rules=found["rules"] or None,
        )

    def _utc(self, wall: datetime | None) -> datetime | None:
        return wall_clock_utc(wall.replace(tzinfo=None), self._zone) if wall is not None else None
