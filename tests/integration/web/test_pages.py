"""Pages show what is, in both languages, and carry their headers."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client

from todoku.projects.types import Role
from todoku.reservations import queries as reservations

from .conftest import House


@pytest.fixture
def owner(house: House, sign_in: Callable[[str], Client]) -> Client:
    return sign_in(house.email(Role.OWNER))


def _pages(house: House) -> list[str]:
    return [
        "/", "/online", "/online?waiting=1&site=schema-org", "/book", "/book?q=髙橋", "/book?day=2026-02-31",
        f"/reservations/{house.reservation_id}", "/mails", "/mails?state=applied", "/mails?state=odd&before=odd",
        f"/mails/{house.arrival_id}", "/guests", "/guests?q=山﨑&page=0", f"/guests/{house.guest_id}", "/campaigns",
        "/campaigns/new", f"/campaigns/{house.campaign_id}", f"/campaigns/{house.campaign_id}/edit",
        f"/campaigns/{house.campaign_id}/send", "/demo/outbox", "/demo/outbox/0",
    ]  # fmt: skip


@pytest.mark.parametrize("language", ["ja", "en"])
def test_every_page_is_whole_in_both_languages(language: str, house: House, owner: Client) -> None:
    owner.post("/language", {"language": language})
    for url in _pages(house):
        answer = owner.get(url)
        page = answer.content.decode()
        assert answer.status_code == 200, url
        assert f'<html lang="{language}"' in page, url
        assert len(re.findall(r"<h1", page)) == 1, url
        assert "%(" not in page, url
        assert "default-src 'self'" in answer["Content-Security-Policy"], url
        assert "unsafe" not in answer["Content-Security-Policy"], url
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["Cache-Control"] == "no-store"


def test_a_reservation_stands_beside_its_mail(house: House, owner: Client) -> None:
    page = owner.get(f"/reservations/{house.reservation_id}").content.decode()
    assert "髙橋 美咲" in page
    assert "Reservation" in page
    assert f'src="/mails/{house.arrival_id}/html"' in page
    assert "<iframe" in page
    assert "sandbox" in page


def test_the_mail_frame_can_do_nothing(house: House, owner: Client) -> None:
    answer = owner.get(f"/mails/{house.arrival_id}/html")
    page = answer.content.decode()
    assert "tracker.example" not in page
    assert "<script" not in page
    policy = answer["Content-Security-Policy"]
    assert policy.startswith("sandbox;")
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_the_raw_mail_is_text_and_never_a_page(house: House, owner: Client) -> None:
    answer = owner.get(f"/mails/{house.arrival_id}/raw")
    assert answer["Content-Type"].startswith("text/plain")
    assert b"ld+json" in answer.content
    saved = owner.get(f"/mails/{house.arrival_id}/raw?download=1")
    assert saved["Content-Disposition"].startswith("attachment")


def test_a_mail_that_the_vault_lost_is_said_and_breaks_nothing(house: House, owner: Client, tmp_path: Path) -> None:
    for file in (tmp_path / "vault").rglob("*"):
        if file.is_file():
            file.unlink()
    page = owner.get(f"/reservations/{house.reservation_id}")
    assert page.status_code == 200
    assert "髙橋 美咲" in page.content.decode()


def test_handled_in_one_touch_and_only_once(house: House, owner: Client) -> None:
    url = f"/reservations/{house.reservation_id}/handled"
    version = reservations.get(house.project_id, house.reservation_id).row.version
    stale = owner.post(url, {"version": version - 1}, headers={"HX-Request": "true"})
    assert "toast" in stale["HX-Trigger"], "somebody who saw an older state is told"
    assert reservations.count_unhandled(house.project_id) == 1
    answer = owner.post(url, {"version": version}, headers={"HX-Request": "true"})
    assert answer.content.decode().lstrip().startswith("<li")
    row = reservations.get(house.project_id, house.reservation_id).row
    assert row.handled_by == "owner"
    assert reservations.count_unhandled(house.project_id) == 0
    assert owner.post(url).status_code == 302, "without JavaScript it is a form like any other"


def test_marks_of_a_stranger_are_text(house: House, owner: Client) -> None:
    page = owner.get("/book?q=<script>alert(1)</script>").content.decode()
    assert "<script>alert" not in page


def test_errors_have_pages_in_both_languages(house: House, owner: Client) -> None:
    for language, words in (("ja", "ページがありません"), ("en", "There is no such page")):
        owner.post("/language", {"language": language})
        answer = owner.get("/nowhere")
        assert answer.status_code == 404
        assert words in answer.content.decode()


def test_a_failure_has_a_page_that_needs_nothing(house: House, sign_in: Callable[[str], Client]) -> None:
    from todoku.web import ports

    client = sign_in(house.email(Role.OWNER))
    client.raise_request_exception = False
    kept = ports.ports()
    ports._connected.clear()  # what happens when config forgot the pages
    try:
        answer = client.get("/")
    finally:
        ports.connect(kept)
    assert answer.status_code == 500
    assert "Todoku" in answer.content.decode()


def test_health_needs_nobody() -> None:
    answer = Client().get("/healthz")
    assert (answer.status_code, answer.content) == (200, b"ok\n")
