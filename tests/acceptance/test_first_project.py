"""From an empty home to a person who signs in and a mail in the book, by the commands of docs/running.md."""

from __future__ import annotations

import http.cookiejar
import json
import re
import smtplib
import time
import urllib.parse
import urllib.request
from importlib import resources

import pytest
from tests.acceptance.conftest import Todoku

SAMPLE = next(
    one
    for one in (resources.files("todoku.extraction") / "sites" / "tabelog" / "samples").iterdir()
    if "booked" in one.name
)


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    monkeypatch.setenv("TODOKU_WEB_LISTEN", "127.0.0.1:18190")
    monkeypatch.setenv("TODOKU_SMTP_LISTEN", "127.0.0.1:18125")
    return "http://127.0.0.1:18190", 18125


def test_a_new_owner_signs_in_and_finds_the_first_booking(todoku: Todoku, ports: tuple[str, int]) -> None:
    url, smtp_port = ports
    with todoku.start("serve") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Pages")
        todoku.run("project", "create", "minato", "--name", "みなと食堂")
        todoku.run("project", "shop", "minato", "honten", "みなと食堂 本店", "--also", "abcd101")
        made = json.loads(todoku.run("project", "address", "minato", "--shop", "honten", "--site", "tabelog", "--json"))
        member = json.loads(
            todoku.run("project", "member", "minato", "you@minato.example", "港 あかり", "owner", "--json")
        )
        again = json.loads(
            todoku.run("project", "member", "minato", "you@minato.example", "港 あかり", "manager", "--json")
        )
        assert again["password"] is None, "a known person keeps the password"
        assert todoku.run("project", "create", "Not A Token", "--name", "x", expect=2) == ""
        assert "minato" in todoku.run("project", "list", "--json")

        _mail_in(smtp_port, made["address"])
        browser = _signed_in(url, member["email"], member["password"])
        deadline = time.monotonic() + 90
        while "みなと食堂 本店" not in (page := _page(browser, url + "/online")):
            assert time.monotonic() < deadline, page[-2000:]


def _mail_in(port: int, rcpt_to: str) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            with smtplib.SMTP("127.0.0.1", port, timeout=10) as door:
                door.sendmail("notice@example.com", [rcpt_to], SAMPLE.read_bytes())
            return
        except (OSError, smtplib.SMTPException):
            if time.monotonic() > deadline:
                raise


def _signed_in(url: str, email: str, password: str) -> urllib.request.OpenerDirector:
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    form = _page(browser, url + "/sign-in")
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)
    assert found is not None
    fields = {"csrfmiddlewaretoken": found[1], "email": email, "password": password}
    request = urllib.request.Request(  # noqa: S310 - our own loopback pages
        url + "/sign-in", urllib.parse.urlencode(fields).encode(), headers={"Origin": url}
    )
    with browser.open(request, timeout=10) as answer:
        assert answer.status == 200
    return browser


def _page(browser: urllib.request.OpenerDirector, url: str) -> str:
    """Return the page, waiting for the doors of a program that has just started."""
    deadline = time.monotonic() + 90
    while True:
        try:
            with browser.open(url, timeout=10) as answer:
                text: str = answer.read().decode()
                return text
        except OSError:
            if time.monotonic() > deadline:
                raise
