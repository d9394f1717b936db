"""The pre-flight says exactly what rendering would say, and sees links that lead nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todoku.campaigns.types import CampaignContent
from todoku.content.preflight import EMPTY_LINK, Preflight
from todoku.content.rendering import make_renderer
from todoku.delivery.types import Unrenderable

SHARED = {
    "project_name": "Group",
    "sender_name": "とどく食堂",
    "postal_address": "A & B 1-2",
    "contact": "03-0000-0000",
}
PARTS = (
    "{{ guest_name }}",
    " 様 ",
    "{% if guest_name and visits %}{{ visits }} 回{% else %}初めて{% endif %}",
    "{{ shop_name }}",
    "{{ sender_name }}",
    "<a href='{{ unsubscribe_url }}'>x</a>",
    "{{ last_visit_on_ja | default('') }}",
    "{{ visits + 1 }}",
    "&",
)
VALUES = st.fixed_dictionaries(
    {
        "guest_name": st.sampled_from(["", " ", "山田", "a\nb", "<&>", "x" * 499, "y" * 30_000, "\ud800", "\x00"]),
        "shop_name": st.sampled_from(["", "渋谷店", "\t", "z" * 131_000]),
        "visits": st.sampled_from([0, 3, -1, 2**63, 1.5]),
        "last_visit_on_ja": st.sampled_from(["", "2026年1月9日"]),
        "unsubscribe_url": st.just("https://x.example/u/abc"),
    }
)


def test_what_can_be_made_passes_and_what_cannot_is_named() -> None:
    content = CampaignContent("{{ guest_name }} 様", "<p>{{ visits }}</p>{{ sender_name }}", "{{ shop_name }}")
    preflight = Preflight(content, SHARED)
    assert preflight.names == ("guest_name", "shop_name", "visits")
    fine: dict[str, Any] = {"guest_name": "山田", "visits": 3, "shop_name": "渋谷店"}
    assert preflight.fault(fine) == ""
    assert preflight.fault(fine | {"guest_name": "a\r\nBcc: x"}) == "guest_name"
    assert preflight.fault(fine | {"visits": None}) == "visits"
    assert preflight.fault({"guest_name": "山田", "visits": 3}) == "shop_name"


@given(
    subject=st.lists(st.sampled_from(PARTS), max_size=3).map("".join),
    html=st.lists(st.sampled_from(PARTS), max_size=5).map("".join),
    text=st.lists(st.sampled_from(PARTS), max_size=3).map("".join),
    values=VALUES,
)
def test_it_says_what_the_engine_says(subject: str, html: str, text: str, values: dict[str, Any]) -> None:
    preflight = Preflight(CampaignContent(subject, html, text), SHARED)
    try:
        make_renderer(subject, html, text).render(SHARED | values)
        expected = ""
    except Unrenderable as error:
        expected = error.variable
    assert preflight.fault(values) == expected
    assert preflight.fault(values) == expected  # and again, with what it remembers


@given(values=st.lists(VALUES, min_size=1, max_size=4), parts=st.lists(st.sampled_from(PARTS), max_size=5))
def test_what_is_certain_of_many_is_true_of_each(values: list[dict[str, Any]], parts: list[str]) -> None:
    content = CampaignContent("{{ guest_name }} 様", "".join(parts), "t")
    longest = {"unsubscribe_url": "https://x.example/u/" + "x" * 500}
    preflight = Preflight(content, SHARED, longest)
    if preflight.all_certain({name: [one[name] for one in values] for name in preflight.names}):
        assert {Preflight(content, SHARED).fault(one) for one in values} == {""}


def test_ordinary_people_are_certain_together() -> None:
    content = CampaignContent(*("{% if guest_name %}{{ guest_name }}{% endif %}様{{ visits }}",) * 3)
    columns: dict[str, Sequence[Any]] = {"guest_name": ["山田　花子", "", "O'Neil"], "visits": [0, 3, 7]}
    assert Preflight(content, {}).all_certain(columns)
    assert not Preflight(content, {}).all_certain(columns | {"guest_name": ["a", "b\n", "c"]})


@pytest.mark.parametrize(
    ("html", "values", "fault"),
    [
        ('<a href="{{ shop_name }}">', {"shop_name": ""}, EMPTY_LINK),
        ("<a HREF = '{{ shop_name }}'>", {"shop_name": "  "}, EMPTY_LINK),
        ('<a href="{{ shop_name }}">', {"shop_name": "https://a.example"}, ""),
        ('<a href="https://a.example/{{ shop_name }}">', {"shop_name": ""}, ""),
        ('<a href="{% if shop_name %}https://a.example{% endif %}">', {"shop_name": ""}, EMPTY_LINK),
        ('<a href="{% if shop_name %}https://a.example{% endif %}">', {"shop_name": "x"}, ""),
        ('<a href="{{ shop_name | lower }}">', {"shop_name": ""}, EMPTY_LINK),
        ('<a href="">{{ shop_name }}', {"shop_name": "x"}, EMPTY_LINK),
    ],
)
def test_a_link_that_leads_nowhere_is_seen(html: str, values: dict[str, Any], fault: str) -> None:
    assert Preflight(CampaignContent("s", html, "t"), {}).fault(values) == fault
