"""Intake addresses can't be guessed, can be read out, and fit into the forms of booking sites."""

from __future__ import annotations

import math
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todoku.projects.local_parts import ALPHABET, SECRET_CHARACTERS, new_local_part, require_local_part
from todoku.sources.routes import local_part_of

NAMES = st.none() | st.text(max_size=60) | st.from_regex(r"[a-zA-Z0-9_ .-]{0,50}", fullmatch=True)
FORM = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")


@given(shop_code=NAMES, site=NAMES)
def test_whatever_shop_and_site_are_called_the_form_holds(shop_code: str | None, site: str | None) -> None:
    made = new_local_part(shop_code, site)
    assert FORM.match(made)
    assert len(made.encode()) <= 64
    secret = made.rpartition("-")[2]
    assert len(secret) == SECRET_CHARACTERS
    assert set(secret) <= set(ALPHABET)
    assert require_local_part(made) == made
    assert local_part_of(f"{made.upper()}@in.example.com") == made, "case does not matter at the door"


def test_the_secret_carries_128_bits_and_no_look_alikes() -> None:
    assert SECRET_CHARACTERS * math.log2(len(ALPHABET)) >= 128
    assert len(set(ALPHABET)) == len(ALPHABET)
    assert not set(ALPHABET) & set("01ilo")


def test_no_two_are_alike_and_every_character_comes_up() -> None:
    made = [new_local_part("ginza", "tabelog") for _ in range(2_000)]
    assert len(set(made)) == len(made)
    counted = Counter("".join(one.rpartition("-")[2] for one in made))
    assert set(counted) == set(ALPHABET)
    expected = 2_000 * SECRET_CHARACTERS / len(ALPHABET)  # 1,677; a deviation of 10 % is 4 sigma for each
    assert all(abs(count - expected) < expected / 5 for count in counted.values())


@pytest.mark.parametrize(
    ("shop_code", "site", "hint"),
    [
        ("ginza", "tabelog", "ginza-tabelog-"),
        (None, None, "r-"),
        ("銀座", None, "r-"),
        ("銀座", "gnavi", "gnavi-"),
        ("2F", "gnavi", "r-2f-gnavi-"),
        ("a+b@c", None, "a-b-c-"),
        ("a-very-long-name-of-a-shop", "jalan-rentacar-and-more", "a-very-long-name-jalan-rentacar-a-"),
    ],
)
def test_the_hint_says_what_it_is_for(shop_code: str | None, site: str | None, hint: str) -> None:
    made = new_local_part(shop_code, site)
    assert made[:-SECRET_CHARACTERS] == hint


@pytest.mark.parametrize("text", ["r-any", "demo-ginza-tabelog", "a.b_c", "7", "R-ANY"])
def test_a_chosen_one_that_works_is_taken_case_folded(text: str) -> None:
    assert require_local_part(text) == text.casefold()


@pytest.mark.parametrize(
    "text", ["", "a b", "a+b", "a..b", ".a", "a.", "a@b", "店", "a\r\nb", "a\n", "a*", ">", "x" * 65, "a\x00"]
)
def test_a_chosen_one_that_would_stop_the_mirror_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="intake address"):
        require_local_part(text)
