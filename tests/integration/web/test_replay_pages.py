"""Reading again on the pages: choose, see the differences, apply them; nothing moves before that."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from django.test import Client
from django.utils import timezone

from todoku.bus.connection import Bus
from todoku.intake import extracting
from todoku.intake.extracting import ReadOutcome
from todoku.projects.types import Role
from todoku.vault import open_vault

from .conftest import CLOCK, House, booking_mail, deliver, read_all

LOOK = "See what would change"


@pytest.fixture
def client(house: House, sign_in: Callable[[str], Client]) -> Client:
    client = sign_in(house.email(Role.OWNER))
    client.post("/language", {"language": "en"})
    return client


@pytest.fixture
def misread(house: House, web_nats_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UUID:
    """One mail that no rule could read when it came."""
    with monkeypatch.context() as broken:
        broken.setattr(extracting, "read_one", lambda _mail: ReadOutcome(None, "reader_error"))
        raw = booking_mail("AGAIN-1", name="小鳥遊 渚")
        arrival_id = asyncio.run(deliver(web_nats_url, tmp_path / "vault", house.project_id, raw))
        asyncio.run(read_all(web_nats_url, tmp_path / "vault"))
    return arrival_id


@pytest.fixture
def work_off(web_nats_url: str, tmp_path: Path) -> Callable[[], None]:
    """Let a worker carry out what was asked for."""

    async def worked() -> None:
        from todoku.intake.replays import ReplayWorker

        bus = await Bus.connect(web_nats_url, name="test-replay")
        try:
            worker = ReplayWorker(bus, open_vault("", tmp_path / "vault"), CLOCK)
            while await worker.step():
                pass
        finally:
            await bus.close()

    return lambda: asyncio.run(worked())


def test_a_mail_that_could_not_be_read_goes_into_the_book_by_two_touches(
    client: Client, misread: UUID, work_off: Callable[[], None]
) -> None:
    assert "/mails/again?state=unreadable" in client.get("/mails?state=unreadable").content.decode()
    answer = client.post("/mails/again", {"state": "unreadable"})
    assert answer.status_code == 302
    page = client.get(answer["Location"]).content.decode()
    assert "Begins in a moment" in page
    assert "every 2s" in page
    work_off()
    page = client.get(answer["Location"]).content.decode()
    assert "every 2s" not in page
    assert "Nothing has been changed yet." in page
    assert "Goes into the book" in page
    assert f"/mails/{misread}" in page
    assert "Change 1 mail" in page
    assert "Broken mail" in client.get(f"/mails/{misread}").content.decode()

    answer = client.post(f"{answer['Location']}/apply")
    assert answer.status_code == 302
    work_off()
    page = client.get(answer["Location"]).content.decode()
    assert "Read again and entered" in page
    mail = client.get(f"/mails/{misread}").content.decode()
    assert "Entered in the book" in mail
    assert "today&#x27;s rules" in mail
    listed = client.get("/mails/again").content.decode()
    assert listed.index("1 changed") < listed.index("1 would change")


def test_values_that_read_otherwise_are_shown_side_by_side(
    client: Client, house: House, work_off: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = extracting.read_one

    def mended(mail: extracting.RawMail) -> ReadOutcome:
        outcome = real(mail)
        assert outcome.reading is not None
        assert outcome.reading.facts is not None
        facts = msgspec.structs.replace(outcome.reading.facts, party_size=14, course="<b>冬の鍋</b>")
        return dataclasses.replace(outcome, reading=msgspec.structs.replace(outcome.reading, facts=facts))

    monkeypatch.setattr(extracting, "read_one", mended)
    answer = client.post("/mails/again", {"site": "schema-org"})
    work_off()
    page = client.get(answer["Location"]).content.decode()
    (people,) = re.findall(r"<dt>People</dt><dd>(.*?)</dd>", page)
    assert re.sub("<[^>]+>", "", people) == "before: 4 → now: 14"
    assert "&lt;b&gt;冬の鍋" in page
    assert "Other values" in page


def test_a_choice_that_makes_no_sense_is_said_beside_its_field(client: Client) -> None:
    answer = client.post("/mails/again", {"since": "2026-11-05T18:00", "until": "2026-11-05T17:00", "state": "nowhere"})
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "This is not after the beginning." in page
    assert 'value="2026-11-05T18:00"' in page


def test_the_page_of_a_mail_leads_to_just_this_mail(
    client: Client, house: House, misread: UUID, work_off: Callable[[], None]
) -> None:
    page = client.get(f"/mails/{misread}").content.decode()
    assert "rules of an earlier version" in page
    (query,) = re.findall(r'href="/mails/again\?([^"]+)"', page)
    form = client.get(f"/mails/again?{query}".replace("&amp;", "&")).content.decode()
    begin = timezone.localtime(CLOCK.now_utc()) - timedelta(minutes=2)
    (since,) = re.findall(r'name="since" value="([^"]+)"', form)
    assert f"{begin:%Y-%m-%dT%H:%M}" <= since
    assert '<option value="unreadable" selected>' in form


def test_one_at_a_time_and_it_can_be_stopped(client: Client, misread: UUID, work_off: Callable[[], None]) -> None:
    running = client.post("/mails/again", {})["Location"]
    second = client.post("/mails/again", {}, follow=True).content.decode()
    assert "being read again already" in second
    assert client.post(f"{running}/apply").status_code == 404
    client.post(f"{running}/stop")
    page = client.get(running).content.decode()
    assert "Stopped" in page
    work_off()
    assert client.get(running, headers={"HX-Request": "true"}).content.decode().count("<html") == 0
