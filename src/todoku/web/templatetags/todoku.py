"""Template tags: icons, dates, names of sites, words for states."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from urllib.parse import urlencode

import phonenumbers
from django import template
from django.contrib.staticfiles import finders
from django.forms import BaseForm
from django.templatetags.static import static
from django.utils import timezone, translation
from django.utils.html import format_html
from django.utils.safestring import SafeString

from todoku.projects.signatures import shown_name
from todoku.web import words
from todoku.web.ports import ports

register = template.Library()

_JA_WEEKDAYS = "月火水木金土日"
_EN_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_EN_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@register.simple_tag
@lru_cache(maxsize=64)
def asset(path: str) -> str:
    """Return the URL of a static file with its content's hash, so that it may be cached for good."""
    found = finders.find(path)
    if not isinstance(found, str):
        raise template.TemplateSyntaxError(f"no static file {path!r}")
    with open(found, "rb") as file:  # noqa: PTH123 - finders speak str
        return f"{static(path)}?v={sha256(file.read()).hexdigest()[:10]}"


@register.simple_tag
def icon(name: str, extra: str = "") -> SafeString:
    """Draw an icon of icons.svg; it says nothing by itself, a word stands beside it."""
    return format_html(
        '<svg class="i {}" aria-hidden="true" focusable="false"><use href="{}#{}"/></svg>',
        extra,
        asset("web/icons.svg"),
        name,
    )


@register.simple_tag
def state(word: words.Word) -> SafeString:
    """Show a state as shape and word."""
    return format_html('<span class="state {}">{}{}</span>', word.tone, icon(word.icon), word.text)


@register.simple_tag
def stamp(word: words.Word) -> SafeString:
    """Show an event as a postage stamp."""
    return format_html('<span class="stamp {}">{}<span>{}</span></span>', word.tone, icon(word.icon), word.text)


@register.filter
def day(value: date | datetime | None) -> str:
    """Write a day with its weekday: 11月21日(金), Fri 21 Nov; with the year when it isn't this one."""
    if value is None:
        return ""
    local = timezone.localtime(value).date() if isinstance(value, datetime) else value
    other_year = local.year != _today().year
    if _japanese():
        year = f"{local.year}年" if other_year else ""
        return f"{year}{local.month}月{local.day}日({_JA_WEEKDAYS[local.weekday()]})"
    year = f" {local.year}" if other_year else ""
    return f"{_EN_WEEKDAYS[local.weekday()]} {local.day} {_EN_MONTHS[local.month - 1]}{year}"


@register.filter
def near_day(value: date | datetime | None) -> str:
    """Write today, tomorrow and yesterday as words, other days as `day`."""
    if value is None:
        return ""
    local = timezone.localtime(value).date() if isinstance(value, datetime) else value
    away = (local - _today()).days
    near = {0: words.TODAY, 1: words.TOMORROW, -1: words.YESTERDAY}.get(away)
    return str(near) if near is not None else day(local)


@register.filter
def clock(value: datetime | None) -> str:
    """Write the time of day, 19:05."""
    return f"{timezone.localtime(value):%H:%M}" if value is not None else ""


@register.filter
def day_and_time(value: datetime | None) -> str:
    """Write a moment inside a sentence: the time of day alone when it is today, else with its near day."""
    if value is None:
        return ""
    today = timezone.localtime(value).date() == _today()
    return clock(value) if today else f"{near_day(value)} {clock(value)}"


@register.filter
def when(value: datetime | None) -> SafeString | str:
    """Write a moment for people, inside <time>: near day and time of day."""
    if value is None:
        return ""
    return format_html('<time datetime="{}">{} {}</time>', value.isoformat(), near_day(value), clock(value))


@register.filter
def moment(value: datetime | None) -> SafeString | str:
    """Write a moment exactly, with seconds."""
    if value is None:
        return ""
    local = timezone.localtime(value)
    return format_html('<time datetime="{}">{} {}</time>', value.isoformat(), day(local), f"{local:%H:%M:%S}")


@register.filter
def phone(value: str | None) -> str:
    """Write an E.164 number as people in its country write it."""
    if not value:
        return ""
    try:
        number = phonenumbers.parse(value, "JP")
    except phonenumbers.NumberParseException:
        return value
    form = phonenumbers.PhoneNumberFormat
    return str(phonenumbers.format_number(number, form.NATIONAL if number.country_code == 81 else form.INTERNATIONAL))


@register.filter
def site(value: str | None) -> str:
    """Return the name of a booking site in the reader's language."""
    return words.site_name(value)


@register.filter
def number(value: int | None) -> str:
    """Write a number with separators."""
    return "" if value is None else f"{value:,}"


@register.filter
def why_not(reason: str) -> str:
    """Write why an address is not mailed; the words of a mail server are shown as they are."""
    return words.not_mailed(reason)


@register.filter
def reason(code: str) -> str:
    """Write why a mail ended as it did."""
    return words.reason(code)


@register.filter
def part_name(part: str) -> str:
    """Name a part of a message."""
    return str(words.PARTS.get(part, part))


@register.filter
def act_name(action: str) -> str:
    """Name an action of the audit log; an unknown one is shown as it is."""
    return str(words.ACTS.get(action, action))


@register.filter
def signed_by(signature: str) -> str:
    """Return the name of who did something, without the address that tells people of one name apart."""
    return shown_name(signature)


@register.filter
def field_label(name: str, form: BaseForm) -> str:
    """Return the label of a form's field."""
    return str(form.fields[name].label)


@register.filter
def iso_day(value: object) -> str:
    """Write a day as a date field wants it; what a person typed stays as typed."""
    return value.isoformat() if isinstance(value, date) else str(value or "")


@register.filter
def pace_number(per_second: float) -> str:
    """Write how many a second: 0.4, 12, 1,250."""
    return f"{per_second:.1f}" if per_second < 10 else f"{per_second:,.0f}"


@register.filter
def month_name(value: date) -> str:
    """Write a month: 2026年11月, Nov 2026."""
    return f"{value.year}年{value.month}月" if _japanese() else f"{_EN_MONTHS[value.month - 1]} {value.year}"


@register.filter
def duration(seconds: float | None) -> str:
    """Write a short duration: 0.4, 12 or 3:05."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}"
    return str(timedelta(seconds=round(seconds)))


@register.simple_tag(takes_context=True)
def query(context: template.Context, **changes: object) -> str:
    """Return this page's query string with some values changed; an empty value leaves it out."""
    values = context["request"].GET.dict() | {name: str(value) for name, value in changes.items() if value is not None}
    return "?" + urlencode({name: value for name, value in values.items() if value})


def _today() -> date:
    return timezone.localtime(ports().clock.now_utc()).date()


def _japanese() -> bool:
    return (translation.get_language() or "ja").startswith("ja")
