from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from django.utils import timezone, translation

from todoku.extraction.types import Event, Facts, GuestFacts
from todoku.kernel.clock import VirtualClock
from todoku.reservations.types import Effect, HistoryEntry, ReservationRow, ReservationState
from todoku.vault.types import Vault
from todoku.web import ports
from todoku.web.present import fields, money, party, visit
from todoku.web.templatetags import todoku as tags

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
ROW = ReservationRow(
    id=uuid4(), project_id="p", site="tabelog", reference="R1", shop_code="ginza", shop_name="届屋",
    last_event=Event.CHANGED,
    state=ReservationState.BOOKED, start=datetime(2026, 11, 27, 10, 0, tzinfo=UTC), end=None, party_size=4,
    guest_name="髙橋", guest_kana=None, guest_phone="+819000001234", guest_email=None, course="鍋コース", seat=None,
    requests=None, amount_minor=12_000, currency="JPY", cancel_reason=None, link="https://site.example/r/1",
    changed=("party_size", "course"), previous_start=None, previous_party_size=2, handled_at_utc=None, handled_by="",
    last_arrival_id=uuid4(), last_arrived_at_utc=NOW, version=2,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _japanese_evening() -> None:
    def nowhere() -> str:
        raise AssertionError("no bus in a unit test")

    def no_vault() -> Vault:
        raise AssertionError("no vault in a unit test")

    ports.connect(ports.Ports(VirtualClock(NOW), nats_url=nowhere, open_vault=no_vault, public_url="http://test"))
    timezone.activate("Asia/Tokyo")
    translation.activate("ja")


def test_old_values_stand_beside_new_ones() -> None:
    earlier = Facts(event=Event.BOOKED, reference="R1", course="会席コース", guest=GuestFacts(name="髙橋"))
    entry = HistoryEntry(uuid4(), Event.BOOKED, Effect.APPLIED, NOW, NOW, earlier)
    found = {line.name: line for line in fields(ROW, (entry,))}
    assert (found["party_size"].was, found["party_size"].value) == ("2名", "4名")
    assert (found["course"].was, found["course"].value) == ("会席コース", "鍋コース")
    assert found["guest.name"].was == ""
    assert not found["start"].changed


def test_what_is_missing_is_left_out() -> None:
    names = {line.name for line in fields(replace(ROW, guest_phone=None, amount_minor=None, changed=()))}
    assert {"guest.phone", "amount", "guest.email", "seat"}.isdisjoint(names)


def test_only_web_links_become_links() -> None:
    by_name = {line.name: line for line in fields(replace(ROW, link="javascript:alert(1)"))}
    assert by_name["link"].href == ""


@pytest.mark.parametrize(("minor", "currency", "shown"), [(12_000, "JPY", "¥12,000"), (1050, "USD", "10.50 USD")])
def test_money(minor: int, currency: str, shown: str) -> None:
    assert money(minor, currency) == shown


def test_days_are_written_for_people() -> None:
    assert visit(ROW.start) == "11月27日(金) 19:00"
    assert tags.near_day(NOW) == "今日"
    assert tags.day(datetime(2027, 1, 3, tzinfo=UTC)) == "2027年1月3日(日)"
    with translation.override("en"):
        assert visit(ROW.start) == "Fri 27 Nov 19:00"
        assert party(1) == "1 person"
        assert tags.near_day(NOW) == "today"


def test_phones_are_written_as_people_write_them() -> None:
    assert tags.phone("+819000001234") == "090-0000-1234"
    assert tags.phone("たぶんない") == "たぶんない"
