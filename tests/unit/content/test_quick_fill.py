"""The quick way says octet for octet what the engine says, or leaves it to the engine."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from todoku.content.errors import TemplateInvalid
from todoku.content.rendering import SAMPLE_VALUES, MiniJinjaRenderer, make_renderer
from todoku.delivery.types import Unrenderable
from todoku.mail.compose import body_octets

_CONTROLS = ["\n", "\r", "\r\n", "\n.", "\t", "\x00", "\u2028"]
_NEAR_ENTITIES = ["&", "&#", "&#x2", "f;", "&#x2f;", "/", "<b>", '"']
_WORDS = ["a", "山", ".", " ", "=_", "q0", "{# note #}", "x" * 600, "’"]
LITERALS = st.sampled_from([*_CONTROLS, *_NEAR_ENTITIES, *_WORDS])
EXPRESSIONS = st.sampled_from(
    ["{{ guest_name }}", "{{ visits }}", "{{ shop_name }}", "{{- contact -}}", "{{unsubscribe_url}}"]
)
CONDITIONS = st.sampled_from(
    ["guest_name", "not visits", "visits and shop_name", "not (guest_name or visits)", "shop_name or not contact"]
)


def conditional(condition: str, pieces: tuple[str, str]) -> str:
    return f"{{% if {condition} %}}{pieces[0]}{{% elif visits -%}}\n {pieces[1]}{{% else %}}{pieces[1]}{{% endif %}}"


TEMPLATES = st.lists(
    st.recursive(
        LITERALS | EXPRESSIONS,
        lambda inner: (
            st.builds(conditional, CONDITIONS, st.tuples(inner, inner)) | st.tuples(inner, inner).map("".join)
        ),
        max_leaves=6,
    ),
    max_size=8,
).map("".join)


class Markup(str):
    """A str that says of itself that it is safe HTML, as some libraries have it."""

    def __html__(self) -> str:
        return str(self)


VALUES: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(
        ["", 0, "山田 花子", "山田　花子", "<b>&'\"/", ".", "\n.\n", "a\r\nb", "\x00", "\ud800", "2f;", "#x2f;", "\x7f"]
    ),
    st.sampled_from(
        [None, True, False, 1.0, -0.0, 10**19, -(2**63), 2**63 - 1, [1], {"a": 1}, b"x", Markup("<i>"), "1", 1]
    ),
    st.text(max_size=8),
    st.integers(),
    st.floats(allow_nan=True),
)
NAMES = ("guest_name", "visits", "shop_name", "contact", "unsubscribe_url")
GUESTS = st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, VALUES)), min_size=1, max_size=4)


def by_engine(renderer: MiniJinjaRenderer, values: dict[str, Any]) -> tuple[str, bytes, bytes] | None:
    try:
        words = renderer.render(values)
    except Unrenderable:
        return None
    return words.subject, body_octets(words.html), body_octets(words.text)


@settings(max_examples=150, deadline=None)
@given(TEMPLATES, TEMPLATES, TEMPLATES, GUESTS)
@example("Hi", "&#{{ guest_name }}", "x", [{"guest_name": "x2f;"}])
@example(
    "Hi", "{{ visits }}", "\r{{ guest_name }}\n", [{"guest_name": "", "visits": 1}, {"guest_name": "", "visits": True}]
)
@example("{{ guest_name }}", "x", "x", [{"guest_name": " "}, {"guest_name": "a\nb"}, {"guest_name": "x" * 501}, {}])
@example("Hi", "{% if visits %}{{ visits }}{% else %}{{ visits }}{% endif %}", "x", [{"visits": 0}, {"visits": ""}])
def test_it_is_the_engine_to_the_octet(subject: str, html: str, text: str, guests: list[dict[str, Any]]) -> None:
    try:
        renderer = make_renderer(subject, html, text)
    except TemplateInvalid:
        return
    for values in guests * 2:
        quick = renderer.render_octets(values)
        if quick is not None:
            assert (quick.subject, quick.bodies.html(), quick.bodies.text()) == by_engine(renderer, values)
            assert quick.bodies.dot_lines or b"\n." not in b"\n".join((b"", quick.bodies.html(), quick.bodies.text()))


@pytest.mark.parametrize(
    "html",
    [
        "<p>{{ guest_name }} 様 {{visits}}</p>\n.\n",
        "{% if guest_name %}{{ guest_name }} 様{% else %}お客様{% endif %}",
        "{%- if not guest_name and (visits or shop_name) -%} {{ contact }} {%- endif %}",
        "no name at all",
    ],
)
def test_plain_names_and_conditions_go_the_quick_way(html: str) -> None:
    renderer = make_renderer("{{ guest_name }} 様へ", html, "{{ unsubscribe_url }}\n")
    for values in (SAMPLE_VALUES, {**SAMPLE_VALUES, "guest_name": "<花子>&'\"/", "visits": 0, "shop_name": "山　田"}):
        quick = renderer.render_octets(values)
        assert quick is not None
        assert (quick.subject, quick.bodies.html(), quick.bodies.text()) == by_engine(renderer, dict(values))


@pytest.mark.parametrize(
    "html",
    [
        "{{ guest_name | upper }}",
        "{% if visits > 3 %}x{% endif %}",
        "{% for i in range(3) %}x{% endfor %}",
        "{{ 'a' }}",
        "{% if 'a' %}x{% endif %}",
        "{{ a_name_that_nobody_knows }}",
        "&#x2{{ guest_name }}",
    ],
)
def test_all_else_is_the_engines(html: str) -> None:
    assert make_renderer("Hi", html, "x").render_octets(SAMPLE_VALUES) is None


@pytest.mark.parametrize(
    "value", ["a\nb", "a\x00b", "\ud800", None, True, 1.5, 2**63, ["a"], Markup("<b>"), "x" * 200_000]
)
def test_values_that_need_care_are_the_engines(value: Any) -> None:
    renderer = make_renderer("Hi", "{{ guest_name }}", "x")
    assert renderer.render_octets({"guest_name": value}) is None
    assert renderer.render_octets({}) is None
    assert renderer.render_octets({"guest_name": "b"}) is not None


def test_patterns_of_conditions_beyond_a_bound_are_the_engines() -> None:
    names = [name for name in SAMPLE_VALUES if name != "visits"][:7]
    renderer = make_renderer("Hi", "".join(f"{{% if {name} %}}{name}{{% endif %}}" for name in names), "x")
    ways = [
        renderer.render_octets({name: "x" * (pattern >> place & 1) for place, name in enumerate(names)})
        for pattern in range(128)
    ]
    assert sum(way is None for way in ways) == 64
