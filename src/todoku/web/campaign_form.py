"""The campaign editor's form: text in, CampaignContent and Audience out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext_lazy as _

from todoku.campaigns.types import CampaignContent, CampaignRow
from todoku.guests.types import Audience
from todoku.projects import queries as projects
from todoku.web import words


class CampaignForm(forms.Form):
    """What to say and to whom; what is wrong with the templates is named by `content`, not here."""

    name = forms.CharField(max_length=200, label=_("Name"))
    subject = forms.CharField(max_length=500, required=False, label=_("Subject"))
    html = forms.CharField(required=False, strip=False, label=_("HTML"))
    text = forms.CharField(required=False, strip=False, label=_("Text"))
    min_visits = forms.IntegerField(required=False, min_value=0, max_value=10_000, label=_("Visits, at least"))
    max_visits = forms.IntegerField(required=False, min_value=0, max_value=10_000, label=_("Visits, at most"))
    last_visit_on_or_after = forms.DateField(required=False, label=_("Last visit on or after"))
    last_visit_before = forms.DateField(required=False, label=_("Last visit before"))
    sites = forms.MultipleChoiceField(required=False, label=_("Booking sites"))
    shop_codes = forms.MultipleChoiceField(required=False, label=_("Shops"))

    def __init__(self, project_id: str, data: QueryDict | dict[str, Any] | None = None) -> None:
        super().__init__(data)
        self.shops = [(shop.code, shop.name) for shop in projects.list_shops(project_id)]
        self.all_sites = [(site, words.site_name(site)) for site in words.site_ids()]
        cast(forms.MultipleChoiceField, self.fields["shop_codes"]).choices = self.shops
        cast(forms.MultipleChoiceField, self.fields["sites"]).choices = self.all_sites

    def content(self) -> CampaignContent:
        """Return the words as they were typed, also when the rest of the form is wrong."""
        return CampaignContent(
            subject=str(self.data.get("subject", "")).strip(),
            html=_plain(self.data.get("html", "")),
            text=_plain(self.data.get("text", "")),
        )

    def audience(self) -> Audience:
        """Return whom it goes to; criteria that were not understood are left out and named in `errors`."""
        self.is_valid()
        found = self.cleaned_data
        return Audience(
            min_visits=found.get("min_visits"),
            max_visits=found.get("max_visits"),
            last_visit_on_or_after=found.get("last_visit_on_or_after"),
            last_visit_before=found.get("last_visit_before"),
            sites=tuple(found.get("sites") or ()),
            shop_codes=tuple(found.get("shop_codes") or ()),
        )


@dataclass(frozen=True, slots=True)
class Criterion:
    """One criterion of an audience in words."""

    label: str
    value: str


def form_values(row: CampaignRow) -> dict[str, Any]:
    """Return a campaign as the form shows it."""
    audience = row.audience
    return {
        "name": row.name,
        "subject": row.content.subject,
        "html": row.content.html,
        "text": row.content.text,
        "min_visits": "" if audience.min_visits is None else audience.min_visits,
        "max_visits": "" if audience.max_visits is None else audience.max_visits,
        "last_visit_on_or_after": audience.last_visit_on_or_after or "",
        "last_visit_before": audience.last_visit_before or "",
        "sites": list(audience.sites),
        "shop_codes": list(audience.shop_codes),
    }


def criteria(project_id: str, audience: Audience) -> list[Criterion]:
    """Return the audience in words; empty means everybody with an address."""
    labels = CampaignForm.base_fields
    shops = {shop.code: shop.name for shop in projects.list_shops(project_id)}
    found = []
    for name in ("min_visits", "max_visits", "last_visit_on_or_after", "last_visit_before"):
        value = getattr(audience, name)
        if value is not None:
            found.append(Criterion(str(labels[name].label), str(value)))
    if audience.sites:
        found.append(Criterion(str(labels["sites"].label), "、".join(map(words.site_name, audience.sites))))
    if audience.shop_codes:
        named = [shops.get(code, code) for code in audience.shop_codes]
        found.append(Criterion(str(labels["shop_codes"].label), "、".join(named)))
    return found


def _plain(text: object) -> str:
    return str(text).replace("\r\n", "\n")
