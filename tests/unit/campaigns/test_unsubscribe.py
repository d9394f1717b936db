"""Unsubscribe links: they speak for one address and can't be made by others."""

from __future__ import annotations

import re
from uuid import UUID

import pytest
from django.conf import settings
from hypothesis import given
from hypothesis import strategies as st

from todoku.campaigns.errors import TokenInvalid
from todoku.campaigns.tokens import make_old_token, old_token_key
from todoku.campaigns.unsubscribe import UnsubscribeClaim, make_token, verify_token

RUN = UUID("0199c0de-0000-7000-8000-000000000001")
GUEST = UUID("0199c0de-0000-7000-8000-000000000002")
ADDRESS = "taro@example.com"


@given(st.text(min_size=1, max_size=100).filter(lambda text: text.isprintable()))
def test_a_token_speaks_for_the_address_it_was_made_for(address: str) -> None:
    token = make_token("p", RUN, GUEST, address)
    assert verify_token(token) == UnsubscribeClaim("p", RUN, GUEST, address)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", token)


def test_a_link_of_an_earlier_version_still_speaks_for_its_address() -> None:
    token = make_old_token(old_token_key(settings.SECRET_KEY), "p", RUN, GUEST, ADDRESS)
    assert verify_token(token) == UnsubscribeClaim("p", RUN, GUEST, ADDRESS)
    with pytest.raises(TokenInvalid):
        verify_token(make_old_token(b"another key", "p", RUN, GUEST, ADDRESS))


def test_a_token_stays_short_enough_for_a_header() -> None:
    assert len(make_token("x" * 64, RUN, GUEST, "y" * 254)) < 560


@given(st.integers(min_value=0, max_value=170), st.characters(codec="ascii"))
def test_a_changed_token_is_refused(place: int, letter: str) -> None:
    token = make_token("p", RUN, GUEST, ADDRESS)
    place %= len(token) - 1  # the last letter carries bits that mean nothing
    if token[place] == letter:
        return
    with pytest.raises(TokenInvalid):
        verify_token(token[:place] + letter + token[place + 1 :])


@pytest.mark.parametrize("odd", ["", "a", "é", "=", "A" * 50, "A" * 5_000, "../..", "\x00"])
def test_rubbish_is_refused(odd: str) -> None:
    with pytest.raises(TokenInvalid):
        verify_token(odd)
