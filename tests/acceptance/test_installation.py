"""The whole program at work: doors open, nothing stays behind, however it ends."""

from __future__ import annotations

import json
import signal
import smtplib
import time
import urllib.request
from collections.abc import Callable
from email.message import EmailMessage
from importlib import resources
from typing import Any

import psutil
import pytest
from tests.acceptance.conftest import Todoku, ready

GONE_WITHIN_SECONDS = 60.0


def _page(url: str) -> int:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own loopback pages
        status: int = answer.status
        return status


def _send_mail(document: dict[str, Any], rcpt_to: str) -> None:
    host, _, port = document["smtp"].rpartition(":")
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "somebody@example.com", rcpt_to, "hello"
    mail.set_content("no booking at all")
    with smtplib.SMTP(host, int(port), timeout=10) as door:
        door.send_message(mail, to_addrs=[rcpt_to])


def _wait_until_nothing_is_left(todoku: Todoku) -> None:
    deadline = time.monotonic() + GONE_WITHIN_SECONDS
    while todoku.left_behind() and time.monotonic() < deadline:
        continue
    assert todoku.left_behind() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_behind(todoku: Todoku, number: signal.Signals) -> None:
    with todoku.start("demo", "--json", "--no-evening") as process:
        document = ready(process)
        assert _page(document["url"] + "/healthz") == 200
        assert todoku.left_behind() != []

        process.send_signal(number)

        process.communicate(timeout=120)
        _wait_until_nothing_is_left(todoku)


def test_two_homes_side_by_side_do_not_meet(make_todoku: Callable[[], Todoku]) -> None:
    first, second = make_todoku(), make_todoku()
    with (
        first.start("demo", "--json", "--no-evening") as one,
        second.start("demo", "--json", "--no-evening") as two,
    ):
        documents = [ready(one), ready(two)]
        assert documents[0]["url"] != documents[1]["url"]
        for document in documents:
            assert _page(document["url"] + "/sign-in") == 200
            _send_mail(document, f"demo-ginza-tabelog@{document['mail_domain']}")


def test_a_killed_role_comes_back(todoku: Todoku) -> None:
    with todoku.start("demo", "--json", "--no-evening") as process:
        document = ready(process)
        web = next(child for child in psutil.Process(process.pid).children() if child.cmdline()[-2:] == ["run", "web"])
        web.kill()
        assert _comes_back(document["url"] + "/healthz")


def test_an_import_reaches_the_book(todoku: Todoku) -> None:
    samples = resources.files("todoku.extraction") / "sites" / "tabelog" / "samples"
    with todoku.start("demo", "--json", "--no-evening") as process:
        ready(process)
        report = json.loads(todoku.run("import", str(samples), "--json"))
        assert report["found"] == report["arrived"] > 10
        assert report["failed"] == []
        assert todoku.run("import", str(todoku.home / "nowhere"), expect=1) == ""


def _comes_back(url: str) -> bool:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            return _page(url) == 200
        except OSError:
            continue
    return False
