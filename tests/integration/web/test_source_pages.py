"""The pages about sources and credentials: what is true, what can be done, and no secret anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from django.test import Client

from todoku.bus.connection import Bus
from todoku.bus.streams import LOOKS_BUCKET
from todoku.projects.types import Role
from todoku.sources.outages import Outage
from todoku.sources.standing import Standing
from todoku.sources.types import Fetch, Look
from todoku.web import live, ports

from .conftest import CLOCK, SECRET, House


@pytest.fixture
def client(house: House, sign_in: Callable[[str], Client]) -> Client:
    client = sign_in(house.email(Role.OWNER))
    client.post("/language", {"language": "en"})
    return client


def _stand(nats_url: str, house: House, standing: Standing) -> None:
    async def put() -> None:
        bus = await Bus.connect(nats_url, name="test-standing")
        key = f"{house.project_id}.{house.source}"
        await bus.bucket(LOOKS_BUCKET).put(key, msgspec.msgpack.encode(standing))
        await bus.close()

    asyncio.run(put())


def _look(house: House, at_utc: datetime, why: str = "", listed: int | None = None) -> Look:
    return Look(
        project_id=house.project_id,
        source=house.source,
        began_at_utc=at_utc,
        ended_at_utc=at_utc,
        outcome=Fetch.COULD_NOT if why else Fetch.FETCHED,
        why=why,
        listed=listed,
    )


def test_three_different_things_are_said_differently(house: House, client: Client, web_nats_url: str) -> None:
    assert "Not looked at yet" in client.get("/sources").content.decode()
    now_utc = CLOCK.now_utc()
    look = _look(house, now_utc, listed=33)
    _stand(web_nats_url, house, Standing(at_utc=now_utc, look=look, since_utc=now_utc, fetched_at_utc=now_utc))
    page = client.get("/sources").content.decode()
    assert "Mails come in" in page
    assert "33 mails at the source" in page
    look = _look(house, now_utc, why="credential: imap-1: authentication failed")
    _stand(web_nats_url, house, Standing(at_utc=now_utc, look=look, since_utc=now_utc))
    page = client.get("/sources").content.decode()
    assert "Could not look" in page
    assert "does not let us in" in page
    assert "authentication failed" in page
    assert "No mail is lost" in page
    long_ago_utc = datetime(2020, 11, 5, 8, 47, tzinfo=now_utc.tzinfo)
    _stand(web_nats_url, house, Standing(at_utc=long_ago_utc, look=_look(house, long_ago_utc), since_utc=long_ago_utc))
    page = client.get("/sources").content.decode()
    assert "Nobody looks" in page
    assert "No process collects this source" in page


def test_a_look_under_way_says_how_far_it_is(house: House, client: Client, web_nats_url: str) -> None:
    now_utc = CLOCK.now_utc()
    standing = Standing(at_utc=now_utc, fresh=1_200, done=400, under_way_since_utc=now_utc)
    _stand(web_nats_url, house, standing)
    assert "400 of 1,200 fetched" in client.get("/sources").content.decode()


def test_what_came_of_an_outage_stays_to_be_read(house: House, client: Client, web_nats_url: str) -> None:
    now_utc = CLOCK.now_utc()
    ended = Outage(
        began_utc=now_utc - timedelta(hours=9),
        why="credential: imap-1: authentication failed",
        recovered_utc=now_utc - timedelta(hours=6),
        caught_up_utc=now_utc - timedelta(hours=5),
        missed=1_199,
        arrived=1_190,
        vanished=6,
        failed=3,
    )
    lasting = Outage(began_utc=now_utc - timedelta(minutes=7))
    _stand(web_nats_url, house, Standing(at_utc=now_utc, outages=(ended, lasting)))
    page = client.get(f"/sources/{house.source}").content.decode()
    for words in (
        "Outages",
        "authentication failed",
        "1,199 mails had been waiting",
        "0 in the books",
        "6 were removed at the source",
        "3 can&#x27;t be fetched",
        "still lasting",
        "Nobody looked",
    ):
        assert words.replace("&#x27;", "'") in page.replace("&#x27;", "'"), words
    assert page.index("still lasting") < page.index("1,199"), "the newest is first"


def test_test_now_says_each_step(house: House, client: Client, tmp_path: Path) -> None:
    page = client.post(f"/sources/{house.source}/test").content.decode()
    assert "there is no folder" in page
    for part in ("new", "cur", "tmp"):
        (tmp_path / "maildir" / part).mkdir(parents=True)
    (tmp_path / "maildir" / "new" / "1.a").write_bytes(b"Subject: a\r\n\r\n")
    page = client.post(f"/sources/{house.source}/test").content.decode()
    assert "1 mail is listed." in page


def test_a_source_is_paused_and_goes_on(house: House, client: Client) -> None:
    client.post(f"/sources/{house.source}/pause")
    assert "Go on" in client.get("/sources").content.decode()
    client.post(f"/sources/{house.source}/resume")
    assert "Go on" not in client.get("/sources").content.decode()
    assert client.post(f"/sources/{house.source}/explode").status_code == 404


def test_a_source_is_added_by_form_and_odd_values_are_named(house: House, client: Client) -> None:
    assert "Folder on this server" in client.get("/sources/new").content.decode()
    for name, folder, words in (("A B", "/x", "subject token"), ("fine", "", "missing required field")):
        page = client.post("/sources/new", {"kind": "maildir", "source": name, "s-folder": folder}).content.decode()
        assert words in page
    answer = client.post("/sources/new", {"kind": "maildir", "source": "maildir-two", "s-folder": "/x"})
    assert answer.status_code == 302
    page = client.post("/sources/new", {"kind": "maildir", "source": "maildir-two", "s-folder": "/x"}).content.decode()
    assert "there is a source named maildir-two already" in page
    assert "maildir-two" in client.get("/sources").content.decode()


def test_what_has_a_few_values_is_chosen_and_stays_chosen(house: House, client: Client) -> None:
    page = client.get("/sources/new?kind=imap").content.decode()
    assert '<option value="tls" selected>TLS from the start</option>' in page
    assert '<option value="starttls">' in page
    form = {"kind": "imap", "source": "imap-one", "s-host": "", "s-encryption": "starttls"}
    page = client.post("/sources/new", form).content.decode()
    assert "missing required field" in page
    assert '<option value="starttls" selected>' in page
    page = client.post("/sources/new", {**form, "s-host": "imap.example", "s-encryption": "rot13"}).content.decode()
    assert "rot13" in page, "what is no choice is named"


def test_no_page_shows_a_secret(house: House, client: Client) -> None:
    form = {"kind": "password", "name": "second", "s-username": "a@example.com", "s-password": "hush-hush-9"}
    assert client.post("/credentials/new", form).status_code == 302
    offered = {"s-username": "a@example.com", "s-password": "hush-hush-10"}
    assert client.post("/credentials/second/replace", offered).status_code == 302
    failed = client.post("/credentials/new", form)  # the name is taken: the form comes again
    assert "named second already" in failed.content.decode()
    for url in ("/sources", "/credentials/second/replace", "/credentials/new?kind=password"):
        page = client.get(url).content.decode() + failed.content.decode()
        assert "hush-hush" not in page
        assert SECRET not in page
    assert "a new secret waits to be accepted" in client.get("/sources").content.decode()


def test_what_is_missing_in_a_credential_is_named(house: House, client: Client) -> None:
    page = client.post("/credentials/new", {"kind": "password", "name": "x", "s-username": "a"}).content.decode()
    assert "needs password" in page
    bad = {"kind": "client_certificate", "name": "x", "s-certificate_pem": "x", "s-key_pem": "y"}
    assert "can&#x27;t be read" in client.post("/credentials/new", bad).content.decode()


def test_without_the_bus_the_page_says_so(house: House, client: Client) -> None:
    live.hub.reset()
    kept = ports.ports()
    ports.connect(ports.Ports(kept.clock, lambda: "nats://127.0.0.1:1", kept.open_vault, kept.public_url))
    assert "message bus can" in client.get("/sources").content.decode()


def test_a_day_is_counted_from_both_sides_and_missing_mails_are_named(house: House, client: Client) -> None:
    from todoku.intake import source_days
    from todoku.intake.source_days import DayCount

    assert "Not compared yet" in client.get(f"/sources/{house.source}").content.decode()
    now_utc = CLOCK.now_utc()
    assert source_days.claim(house.project_id, house.source, None, now_utc)
    count = DayCount(seen=6_300, arrived=5_534, missing=[f"mail-{n}" for n in range(766)])
    source_days.save(house.project_id, house.source, {now_utc.date(): count}, now_utc)
    page = client.get("/sources").content.decode()
    assert "6,300 seen there, 5,534 in the books" in page
    assert "766 missing" in page
    page = client.get(f"/sources/{house.source}").content.decode()
    assert "5,534" in page
    assert "mail-765" in page
    source_days.save_failure(house.project_id, house.source, "nobody answers")
    assert "nobody answers" in client.get(f"/sources/{house.source}").content.decode()


def test_mails_are_brought_as_files_and_read(house: House, client: Client, web_nats_url: str, tmp_path: Path) -> None:
    from django.core.files.uploadedfile import SimpleUploadedFile

    from .conftest import booking_mail, read_all

    one = booking_mail("UP-1")
    mbox = (
        b"From a@b Thu Nov 26 00:00:00 2026\r\n"
        + booking_mail("UP-2")
        + b"\r\n\r\nFrom a@b Thu Nov 26 00:00:01 2026\r\n"
        + one
    )
    files = [SimpleUploadedFile("one.eml", one), SimpleUploadedFile("all.mbox", mbox)]
    page = client.post("/sources/upload", {"files": files}, follow=True).content.decode()
    assert "3 mails are kept" in page
    asyncio.run(read_all(web_nats_url, tmp_path / "vault"))
    page = client.get("/mails").content.decode()
    assert "Came twice" in page
    assert "upload" in client.get("/sources").content.decode()
    page = client.post("/sources/upload", {}, follow=True).content.decode()
    assert "at most 64 MB together" in page
