"""Who signed: names are for people, addresses decide."""

from __future__ import annotations

import pytest

from todoku.projects.signatures import LONGEST, address_in, same_person, shown_name, sign


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (sign("佐藤", "a@shop.example"), sign("佐藤", "b@shop.example"), False),
        (sign("佐藤", "a@shop.example"), sign("Sato", "A@Shop.example"), True),
        (sign("佐藤", "a@shop.example"), "a@shop.example", True),
        (sign("佐藤", "a@shop.example"), " A@shop.example ", True),
        (sign("佐藤", "a@shop.example"), "佐藤", False),
        ("api: till", "api: till", True),
        (sign("api: till", "a@shop.example"), sign("佐藤", "a@shop.example"), True),
        ("cli: root", "planner", False),
        (sign("x <b@shop.example>", "a@shop.example"), "b@shop.example", False),
    ],
)
def test_one_person_is_known_by_the_address(one: str, other: str, same: bool) -> None:
    assert same_person(one, other) is same
    assert same_person(other, one) is same


def test_pages_show_the_name() -> None:
    assert shown_name(sign("佐藤 花子", "a@shop.example")) == "佐藤 花子"
    assert shown_name(sign("", "a@shop.example")) == "a@shop.example"
    assert shown_name("a@shop.example") == "a@shop.example"
    assert shown_name("planner") == "planner"
    assert shown_name(sign("前 <山@x>", "a@shop.example")) == "前 (山@x)"


def test_programs_have_no_address() -> None:
    assert [address_in(one) for one in ("planner", "cli: root", "api: till", "")] == [""] * 4
    assert sign("api: till", "") == "api: till"


def test_the_longest_signature_fits() -> None:
    assert len(sign("名" * 100, "a" * 254)) <= LONGEST
