"""The table plan on the page: a day, a week, the shops, and what does not fit together."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from todoku.extraction.types import Event, Facts, GuestFacts
from todoku.projects.types import Role
from todoku.reservations import services
from todoku.reservations.types import Notification

from .conftest import House

EVENING = datetime(2026, 11, 28, 9, 0, tzinfo=UTC)  # 18:00 in Tokyo


def _book(house: House, reference: str, minutes: int, seat: str | None, phone: str | None = None) -> None:
    facts = Facts(
        event=Event.BOOKED,
        reference=reference,
        shop="届屋",
        start=EVENING + timedelta(minutes=minutes),
        party_size=3,
        guest=GuestFacts(name=f"<b>{reference}</b>", phone=phone),
        seat=seat,
    )
    told = Notification(uuid4(), "tabelog", facts, EVENING, EVENING, uuid4().hex * 2)
    services.apply_many(house.project_id, [told])


@pytest.fixture
def client(house: House, sign_in: Callable[[str], Client]) -> Client:
    client = sign_in(house.email(Role.VIEWER))
    client.post("/language", {"language": "en"})
    return client


def test_a_day_shows_tables_hours_people_and_what_does_not_fit(house: House, client: Client) -> None:
    _book(house, "T1", 0, "A1 (テーブル)")
    _book(house, "T2", 60, "A1", phone="+819000000001")
    _book(house, "T3", 90, None, phone="+819000000001")
    page = client.get("/book/tables?day=2026-11-28").content.decode()
    assert "3 reservations, 9 people" in page
    assert "2 things do not fit together" in page
    assert "Two parties at A1:" in page
    assert "Perhaps one guest, booked twice:" in page
    assert "No table yet" in page
    assert "&lt;b&gt;T1&lt;/b&gt;" in page
    assert "<b>T1</b>" not in page
    assert '<td class="most">9</td>' in page
    assert client.get("/book/tables?day=2026-11-27").content.decode().count("Nobody is booked for this day") == 1


def test_a_week_begins_with_the_day_and_leads_to_each(house: House, client: Client) -> None:
    _book(house, "W1", 0, "A1")
    page = client.get("/book/tables?day=2026-11-25&view=week").content.decode()
    assert "W1" in page
    assert 'href="?day=2026-11-28"' in page
    assert page.count("No reservations") == 6


def test_rubbish_in_the_address_shows_today(house: House, client: Client) -> None:
    for query in ("day=2026-13-77", "day=0001-01-01", "day=x&shop=nowhere&view=year", "day=9999-12-31"):
        assert client.get(f"/book/tables?{query}").status_code == 200, query
    today = timezone.localtime().date()
    assert f"?day={today - timedelta(days=1)}" in client.get("/book/tables?day=x").content.decode()


def test_only_the_plan_comes_when_the_page_follows(house: House, client: Client) -> None:
    answer = client.get("/book/tables", headers={"HX-Request": "true", "HX-Target": "plan"}).content.decode()
    assert "<html" not in answer
    assert "<h1>" in answer
