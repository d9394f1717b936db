"""Every state of every room has a word, and says itself by shape and word, not by colour alone."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from todoku import web
from todoku.campaigns.types import CampaignState, RunState
from todoku.delivery.types import RecipientState
from todoku.extraction.types import Event
from todoku.intake.types import MailState
from todoku.projects.types import Role
from todoku.reservations.types import Effect, ReservationState
from todoku.web import words

ICONS = (Path(web.__file__).parent / "static" / "web" / "icons.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("states", "named"),
    [
        (Event, words.EVENTS),
        (ReservationState, words.RESERVATIONS),
        (Effect, words.EFFECTS),
        (MailState, words.MAILS),
        (CampaignState, words.CAMPAIGNS),
        (RunState, words.RUNS),
        (RecipientState, words.RECIPIENTS),
    ],
)
def test_every_state_has_a_word_and_a_shape(states: type[StrEnum], named: Mapping[Any, words.Word]) -> None:
    assert set(named) == set(states)
    for word in named.values():
        assert str(word.text)
        assert f'id="{word.icon}"' in ICONS


def test_every_role_has_a_word() -> None:
    assert set(words.ROLES) == set(Role)
