"""Side by side or one by one: the same octets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from todoku.content.errors import TemplateInvalid
from todoku.content.rendering import make_renderer
from todoku.delivery.engine.preparing import MessageMaker
from todoku.delivery.types import Recipient, RunOrder
from todoku.mail.compose import Composer, SenderIdentity
from todoku.mail.compose_columns import MessageColumns, compose_columns
from todoku.mail.filled_bodies import BodyLayout, FilledColumns

NOON = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
RUN = "0198c0ffee"
HTML = "<p>{{ guest_name }} 様 {{ visits }}</p>\n{{ shop_name }}<a href='{{ unsubscribe_url }}'>停止</a>\n"
TEXT = "{{ guest_name }}\n.{{ visits }}\n{% if shop_name %}{{ shop_name }} から{% endif %}\n{{ unsubscribe_url }}\n"


def maker(subject: str = "{{ guest_name }} 様へ", html: str = HTML, text: str = TEXT, **changes: Any) -> MessageMaker:
    order = RunOrder(
        "shop", RUN, 1, "sealed", NOON, NOON, subject, html, text, "店", "a@b.example", "", "https://x.example/u/",
        1, 1, 0, "hash", **changes,
    )  # fmt: skip
    return MessageMaker(order, make_renderer(subject, html, text))


def person(place: int, name: str = "見本 太郎", address: str = "", **values: Any) -> Recipient:
    given_values = {"guest_name": name, "visits": place, "shop_name": "店", "unsubscribe_token": f"t{place}"} | values
    return Recipient(place, "g", address or f"g{place}@example.com", name, given_values)


names = st.sampled_from(
    [
        "見本 太郎",
        "山田　花子",
        "",
        "Taro Yamada",
        'O\'Neil "x" <y>',
        "a\nb",
        "\ud800",
        ".点",
        "--=_" + RUN,
        "長い名前" * 12,
        "␟",
        "x" * 70,
        "é",
    ]
)
addresses = st.sampled_from(["", "taro..y@docomo.example", "太郎@b.example", "no address", f"{'x' * 60}@example.com"])
odd_values = st.fixed_dictionaries(
    {},
    optional={
        "visits": st.sampled_from([0, 3, 2**70, True, "五"]),
        "shop_name": st.sampled_from(["", "店", "&", 0, None, []]),
        "unsubscribe_url": st.sampled_from(["", "http://x.example/", "https://x.example/" + "y" * 60, "not a > link"]),
    },
)
people = st.lists(st.tuples(names, addresses, odd_values), min_size=1, max_size=8)


@settings(deadline=None)
@given(people, st.booleans())
@example([("見本", "", {}), ("", "", {}), ("見本", "", {"shop_name": 0}), ("見本", "", {"shop_name": ""})], True)
def test_many_are_made_as_each_is_made_alone(rows: list[tuple[str, str, dict[str, Any]]], eight_bit: bool) -> None:
    audience = [person(place, name, address, **values) for place, (name, address, values) in enumerate(rows)]
    together = maker()
    for _ in range(2):  # the second time the shared values are part of the literals
        made = together.make_many(3, audience, NOON, eight_bit=eight_bit)
        assert len(made) == len(audience)
        for one, recipient in zip(made, audience, strict=True):
            alone = maker().make(3, recipient, NOON, eight_bit=eight_bit)
            if one is not None:
                assert (one.place, one.content, one.outcome) == (alone.place, alone.content, None)
                assert one.dot_lines or b"\n." not in one.content


@pytest.mark.parametrize("name", ["見本 太郎", "山田　花子", "Taro", "é", "<花子>", "長い名前" * 12])
def test_usual_people_go_the_quick_way(name: str) -> None:
    audience = [person(place, name) for place in range(5)]
    together = maker()
    together.make_many(0, audience, NOON, eight_bit=True)
    assert all(one is not None for one in together.make_many(0, audience, NOON, eight_bit=True))


def test_shared_values_are_everybodys_unless_they_have_their_own() -> None:
    together = maker(shared_values={"shop_name": "みんなの店"})
    audience = [person(place) for place in range(4)]
    for one in audience[:3]:
        del one.values["shop_name"]  # type: ignore[attr-defined]
    contents = [together.make(0, one, NOON, eight_bit=True).content for one in audience]
    assert ["みんなの店".encode() in content for content in contents] == [True, True, True, False]
    made = together.make_many(0, audience, NOON, eight_bit=True)
    assert [one.content for one in made if one is not None] == contents


@settings(deadline=None)
@given(st.lists(st.sampled_from(["-", "--=_", RUN, "--=_" + RUN, "x", "\r\n", ""]), min_size=2, max_size=6))
def test_no_value_can_make_a_line_that_ends_the_message(pieces: list[str]) -> None:
    composer = Composer(
        SenderIdentity("店", "a@b.example", "", "b.example"), run_key=RUN, feedback_id="", eight_bit=True
    )
    literals = [piece.encode() for piece in pieces]
    for value in (b"", b"-", b"--", b"--=_" + RUN.encode(), b"=_" + RUN.encode(), b"x", RUN[1:].encode()):
        layout = BodyLayout(tuple(literals), (b"<p>", b"</p>"))
        holes = [[value]] * len(literals[1:]) + [[b"y"]]
        columns = MessageColumns(["n"], ["g@example.com"], ["s"], f"{RUN}.0.", [0], [""])
        [content] = compose_columns(composer, columns, FilledColumns(layout, holes), NOON)
        if content is not None:
            lines = content.split(b"\r\n")
            assert sum(line.startswith(b"--=_" + RUN.encode()) for line in lines) == 3


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["{{ guest_name }}", "x", "{{ visits }}{{ guest_name }}", " {{ shop_name }} "]), people)
def test_subjects_of_all_kinds(subject: str, rows: list[tuple[str, str, dict[str, Any]]]) -> None:
    try:
        together = maker(subject)
    except TemplateInvalid:
        return
    audience = [person(place, name, address, **values) for place, (name, address, values) in enumerate(rows)]
    for one, recipient in zip(together.make_many(0, audience, NOON), audience, strict=True):
        if one is not None:
            assert one.content == maker(subject).make(0, recipient, NOON).content
