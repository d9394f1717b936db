"""The values that reach a template."""

from __future__ import annotations

from datetime import date
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from todoku.campaigns import audiences
from todoku.campaigns.audience_feed import member_values
from todoku.campaigns.readiness import project_values
from todoku.content.rendering import VARIABLES
from todoku.guests.types import Audience, AudienceMember
from todoku.projects.types import ProjectInfo

GUEST = UUID("0199c0de-0000-7000-8000-000000000002")
PROJECT = ProjectInfo("p", "Group", "Asia/Tokyo", "Sender", "s@example.com", "Street 1", "03-0000-0000")


def test_a_recipient_has_a_value_for_every_variable_there_is() -> None:
    member = AudienceMember(GUEST, "a@example.com", "髙橋", 4, date(2026, 1, 9), "渋谷店", "")
    values = member_values(member) | project_values(PROJECT)
    assert values.keys() | {"unsubscribe_url"} == VARIABLES.keys()
    assert (values["last_visit_on"], values["last_visit_on_ja"]) == ("2026-01-09", "2026年1月9日")


def test_a_guest_who_never_came_has_empty_texts_not_missing_ones() -> None:
    values = member_values(AudienceMember(GUEST, "a@example.com", "", 0, None, "", ""))
    assert values == {"guest_name": "", "shop_name": "", "visits": 0, "last_visit_on": "", "last_visit_on_ja": ""}


@given(
    st.builds(
        Audience,
        min_visits=st.none() | st.integers(0, 9),
        max_visits=st.none() | st.integers(0, 9),
        last_visit_on_or_after=st.none() | st.dates(),
        last_visit_before=st.none() | st.dates(),
        sites=st.lists(st.text(max_size=5), max_size=3).map(tuple),
        shop_codes=st.lists(st.text(max_size=5), max_size=3).map(tuple),
    )
)
def test_an_audience_is_kept_as_it_is(audience: Audience) -> None:
    assert audiences.from_json(audiences.to_json(audience)) == audience
