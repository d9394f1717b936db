"""Templates: what is refused before anybody is mailed, and what filling one can't do."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from todoku.content.errors import TemplateInvalid
from todoku.content.rendering import SAMPLE_VALUES, VARIABLES, check, make_renderer
from todoku.content.starters import LANGUAGES, load_starter
from todoku.delivery.types import Unrenderable

FOOT = "{{ sender_name }} {{ postal_address }} {{ contact }} {{ unsubscribe_url }}"


@dataclass(frozen=True)
class Source:
    subject: str = "Hello"
    html: str = FOOT
    text: str = FOOT


def found(source: Source) -> list[tuple[str, int, str]]:
    return [(problem.part, problem.line, problem.message) for problem in check(source, SAMPLE_VALUES)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_starter_has_no_problems_and_greets_guests_with_and_without_a_name(language: str) -> None:
    source = load_starter(language)
    assert check(source, SAMPLE_VALUES) == []
    renderer = make_renderer(source.subject, source.html, source.text)
    stranger = renderer.render({**SAMPLE_VALUES, "guest_name": "", "visits": 0, "shop_name": "", "last_visit_on": ""})
    assert "山田 花子" not in stranger.html + stranger.text + stranger.subject
    assert str(SAMPLE_VALUES["unsubscribe_url"]) in stranger.html
    assert "山田 花子" in renderer.render(SAMPLE_VALUES).subject


def test_vendor_characters_reach_every_part() -> None:
    rendered = make_renderer("{{ guest_name }}", "{{ guest_name }}", "{{ guest_name }}").render(
        {"guest_name": "髙﨑①㈱"}
    )
    assert (rendered.subject, rendered.html, rendered.text) == ("髙﨑①㈱",) * 3


def test_an_unknown_variable_is_named_with_its_line() -> None:
    assert found(Source(html=FOOT + "\n\n{{ guest_nmae }}")) == [("html", 3, "unknown variable `guest_nmae`")]


def test_a_syntax_error_is_named_with_its_line() -> None:
    ((part, line, message),) = found(Source(text=FOOT + "\n{{ guest_name visits }}"))
    assert (part, line) == ("text", 2)
    assert message.startswith("syntax: ")


@pytest.mark.parametrize("name", ["sender_name", "postal_address", "contact", "unsubscribe_url"])
def test_what_the_law_asks_for_must_be_visible_in_both_parts(name: str) -> None:
    hidden = FOOT.replace("{{ " + name + " }}", "{% if visits > 999 %}{{ " + name + " }}{% endif %}")
    assert [(part, name in message) for part, _, message in found(Source(html=hidden, text=hidden))] == [
        ("html", True),
        ("text", True),
    ]


@pytest.mark.parametrize(
    ("source", "part"), [(Source(subject=" "), "subject"), (Source(html=""), "html"), (Source(text="\n"), "text")]
)
def test_an_empty_part_is_a_problem(source: Source, part: str) -> None:
    assert [name for name, _, _ in found(source)] == [part]


def test_a_line_break_in_the_subject_template_is_a_problem() -> None:
    assert found(Source(subject="Hello\nBcc: x@example.com")) == [("subject", 1, "the subject has a line break")]


@pytest.mark.parametrize("breaker", ["\r\n", "\n", "\r", "\x00"])
def test_a_value_that_would_write_headers_is_refused_and_named(breaker: str) -> None:
    renderer = make_renderer("Dear {{ shop_name }} {{ guest_name }}", "x", "x")
    with pytest.raises(Unrenderable) as caught:
        renderer.render({"shop_name": "a", "guest_name": f"Taro{breaker}Bcc: x@example.com"})
    assert caught.value.variable == "guest_name"


def test_a_missing_value_is_named_and_none_counts_as_missing() -> None:
    renderer = make_renderer("Hi", "{{ visits }}", "x")
    for values in ({}, {"visits": None}):
        with pytest.raises(Unrenderable) as caught:
            renderer.render(values)
        assert caught.value.variable == "visits"


@pytest.mark.parametrize(
    "endless",
    [
        "{% for i in range(1000000000) %}x{% endfor %}",
        "{% for i in range(90000) %}{% for k in range(90000) %}x{% endfor %}{% endfor %}",
    ],
)
def test_a_loop_without_end_runs_out_of_fuel(endless: str) -> None:
    with pytest.raises(Unrenderable) as caught:
        make_renderer("Hi", endless, "x").render({})
    assert caught.value.variable == "fuel"
    assert "fuel" in check(Source(html=FOOT + endless), SAMPLE_VALUES)[0].message


def test_a_loop_over_a_large_text_stays_small() -> None:
    with pytest.raises(Unrenderable) as caught:
        make_renderer("Hi", "{% for i in range(400) %}" + "x" * 50_000 + "{% endfor %}", "x").render({})
    assert caught.value.variable in {"fuel", "size"}


def test_values_are_escaped_in_html_only_and_links_stay_readable() -> None:
    rendered = make_renderer("{{ guest_name }}", "{{ guest_name }} {{ unsubscribe_url }}", "{{ guest_name }}").render(
        {"guest_name": "<b>&", "unsubscribe_url": "https://example.com/u/a?b=c&d"}
    )
    assert rendered.html == "&lt;b&gt;&amp; https://example.com/u/a?b=c&amp;d"
    assert (rendered.subject, rendered.text) == ("<b>&", "<b>&")


@pytest.mark.parametrize(
    "refused",
    [
        "{{ 'x' * 1000000000 }}",
        "{{ guest_name ** 9 }}",
        "{% set a = 'x' %}",
        "{%- set a = 'x' -%}",
        "{% macro a() %}{% endmacro %}",
        "{% include 'body.txt' %}",
        "{% extends 'body.txt' %}",
        "{% autoescape false %}{{ guest_name }}{% endautoescape %}",
        "{% filter upper %}{% endfilter %}",
        "{% raw %}{% endraw %}",
        "{{ guest_name | safe }}",
        "{{ guest_name|replace('a', 'b') }}",
        "{{ '%99999999d'|format(1) }}",
        "{{ guest_name.join('a') }}",
        "{{ debug() }}",
        "{{ lipsum() }}",
        "{{ guest_name['join']('a') }}",
        "{{ ('a')('b') }}",
        "{{ {'a': 1} }}",
        "{{ '}}' ~ {'a': {}} * 9 }}",
        "{# {{ #}{{ 'x' * 9 }}",
        '{{ "\\"}}" * 9 }}',
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% if true }}{% endif %}",
    ],
)
def test_what_can_grow_or_reach_out_is_not_in_the_language(refused: str) -> None:
    with pytest.raises(TemplateInvalid):
        make_renderer("Hi", refused, "x")
    assert found(Source(html=FOOT + refused))


@pytest.mark.parametrize(
    ("allowed", "output"),
    [
        ("{% if (visits > 1 and not (visits == 9)) %}a{% elif visits %}b{% else %}c{% endif %}", "a"),
        ("{{ guest_name|default('-')|upper }}", "TARO"),
        ("{%- for n in range(3) -%}{{ n + 1 }}{% endfor %}", "123"),
        ("{# {% set %} #}{{ '}}' ~ \"*\" }}", "}}*"),
        ("{% if guest_name is defined %}y{% endif %}", "y"),
        ("{% for x in ['a', 'b'] %}{{ loop.index }}{{ x }}{% endfor %}", "1a2b"),
        ("a { color: red } * b", "a { color: red } * b"),
    ],
)
def test_what_templates_may_say(allowed: str, output: str) -> None:
    assert make_renderer("Hi", allowed, "x").render({"visits": 3, "guest_name": "Taro"}).html == output


def test_half_a_character_does_not_reach_the_message() -> None:
    html = make_renderer("Hi", "{{ guest_name }}", "x").render({"guest_name": "a\ud800b"}).html
    assert html.encode("utf-8").startswith(b"a")


def test_too_large_a_message_is_unrenderable_by_size() -> None:
    with pytest.raises(Unrenderable) as caught:
        make_renderer("Hi", "{{ guest_name }}", "x").render({"guest_name": "x" * 300_000})
    assert caught.value.variable == "size"


def test_a_template_too_large_is_a_problem() -> None:
    assert [part for part, _, _ in found(replace(Source(), html=FOOT + "x" * 300_000))] == ["html"]


WORDS = (
    "{{ }} {% %} {# #} ' \" \\ * ( ) | if for x in range 9 { } [ ] . ~ safe endfor endif set = , - guest_name 999999999"
)
TEMPLATE_SOUP = st.lists(st.sampled_from([*WORDS.split(" "), "\n", " "]), max_size=14).map("".join)


@settings(max_examples=300, deadline=None)
@given(TEMPLATE_SOUP)
def test_any_soup_of_tokens_is_refused_or_rendered_within_bounds(soup: str) -> None:
    try:
        rendered = make_renderer("Hi", soup, "x").render(SAMPLE_VALUES)
    except (TemplateInvalid, Unrenderable):
        return
    assert len(rendered.html) < 10_000
    assert isinstance(check(Source(html=soup), SAMPLE_VALUES), list)


def test_every_variable_is_explained_in_both_languages() -> None:
    assert all(variable.explanation_ja and variable.explanation_en for variable in VARIABLES.values())
    assert VARIABLES.keys() == SAMPLE_VALUES.keys()
