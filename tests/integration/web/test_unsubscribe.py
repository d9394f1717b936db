"""Stopping the mails: GET shows, POST acts, and senders hear of it at once."""

from __future__ import annotations

from uuid import uuid4

from django.test import Client

from todoku.guests import queries as guests
from todoku.web import live

from .conftest import House

ADDRESS = "tsumugi@example.com"


def _link(house: House) -> str:
    from todoku.campaigns.unsubscribe import make_token

    return f"/unsubscribe/{make_token(house.project_id, uuid4(), house.guest_id, ADDRESS)}"


def _may_be_mailed(house: House) -> bool:
    return guests.get(house.project_id, house.guest_id).row.may_be_mailed


def test_looking_changes_nothing(house: House) -> None:
    answer = Client().get(_link(house))
    assert answer.status_code == 200
    assert ADDRESS in answer.content.decode()
    assert "sessionid" not in answer.cookies
    assert _may_be_mailed(house), "link scanners fetch links; they must not unsubscribe anybody"


def test_one_click_acts_without_cookies(house: House) -> None:
    """RFC 8058 section 3.1: the mailbox provider posts `List-Unsubscribe=One-Click`."""
    strict = Client(enforce_csrf_checks=True)
    answer = strict.post(_link(house), {"List-Unsubscribe": "One-Click"})
    assert answer.status_code == 200
    row = guests.get(house.project_id, house.guest_id).row
    assert (row.may_be_mailed, row.why_not) == (False, "unsubscribed")


def test_doing_it_twice_is_fine(house: House) -> None:
    link = _link(house)
    assert Client().post(link).status_code == Client().post(link).status_code == 200


def test_a_changed_link_stops_nobody(house: House) -> None:
    link = _link(house)
    for broken in (link[:-3], link + "A", "/unsubscribe/x", link.replace(link[20], "~", 1)):
        assert Client().post(broken).status_code == 404, broken
    assert _may_be_mailed(house)


def test_senders_hear_of_it_at_once(house: House) -> None:
    from todoku.bus.streams import STOPS_BUCKET
    from todoku.delivery.engine.runs import stop_key

    Client().post(_link(house))
    entry = live.hub.ask_bus(lambda bus: bus.bucket(STOPS_BUCKET).get(stop_key(house.project_id, ADDRESS)))
    assert entry is not None
    assert entry.value == b"unsubscribed"
