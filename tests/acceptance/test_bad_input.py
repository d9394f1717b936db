"""Whatever comes through the SMTP door ends in a named state or a clear refusal, and the next mail is read."""

from __future__ import annotations

import hashlib
import re
import smtplib
import time
from collections.abc import Iterator
from importlib import resources

import psycopg
import pytest
from tests.acceptance.conftest import Todoku, ready

HEAD = (
    b"From: info@mail.tabelog.com\r\nTo: shop@in.todoku.example\r\nSubject: hello\r\n"
    b"Date: Sat, 21 Nov 2026 12:00:00 +0900\r\n"
)
READ_WITHIN_SECONDS = 60.0


def _nested(depth: int) -> bytes:
    opened = b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (level, level) for level in range(depth)
    )
    return HEAD + b"MIME-Version: 1.0\r\n" + opened + b"Content-Type: text/plain\r\n\r\nx\r\n"


BAD = {
    "rubbish bytes": (bytes(range(256)) * 40, "unreadable"),
    "two megabytes of headers": (HEAD + b"X-Filler: abcdefgh\r\n" * 100_000 + b"\r\nbody\r\n", "unreadable"),
    "300 nested parts": (_nested(300), "unreadable"),
    "NUL bytes": (HEAD + b"\r\n\x00\x00nothing\x00\r\n", "unknown_layout"),
    "a broken charset": (
        HEAD + b"Content-Type: text/plain; charset=no-such-thing\r\n\r\n\xff\xfe\xfd\r\n",
        "unknown_layout",
    ),
    "an empty mail": (b"\r\n", "unreadable"),
    "only headers": (HEAD + b"\r\n", "unknown_layout"),
}


@pytest.fixture
def running(todoku: Todoku) -> Iterator[tuple[Todoku, str, int, str]]:
    with todoku.start("demo", "--json", "--no-evening") as process:
        said = ready(process)
        host, _, port = said["smtp"].rpartition(":")
        yield todoku, host, int(port), said["mail_domain"]


def _states(todoku: Todoku, digests: dict[str, str]) -> dict[str, str]:
    """Return the state of each mail, once all of them have one; keys are the mails' names."""
    url = (todoku.home / "run" / "postgres.url").read_text(encoding="utf-8").strip()
    deadline = time.monotonic() + READ_WITHIN_SECONDS
    with psycopg.connect(url, autocommit=True) as connection:
        while True:
            rows = connection.execute(
                "SELECT sha256, state FROM intake_incomingmail WHERE sha256 = ANY(%s)", [list(digests)]
            ).fetchall()
            if len(rows) >= len(digests) or time.monotonic() > deadline:
                return {digests[sha256]: state for sha256, state in rows}


def _kept(todoku: Todoku, content: bytes) -> str:
    """Return the name under which the vault keeps exactly these bytes: hash, project and content in one record."""
    digest = hashlib.sha256(content)
    record = re.compile(re.escape(digest.digest()) + rb"[a-z0-9_-]{1,64}" + re.escape(content))
    packs = (todoku.home / "vault" / "packs").glob("*.*")
    assert any(record.search(path.read_bytes()) for path in packs), "the raw mail is not in the vault"
    return digest.hexdigest()


def test_each_ends_in_its_named_state_and_the_raw_mail_stays(running: tuple[Todoku, str, int, str]) -> None:
    todoku, host, port, domain = running
    good = (resources.files("todoku.extraction") / "sites" / "gnavi" / "samples").iterdir()
    last = next(one for one in good if "booked" in one.name).read_bytes() + b"\r\n"
    mails = {name: content for name, (content, _state) in BAD.items()} | {"unknown address": HEAD + b"\r\nlost\r\n"}
    digests: dict[str, str] = {}
    with smtplib.SMTP(host, port, timeout=20) as door:
        door.ehlo()
        for name, content in {**mails, "the next good mail": last}.items():
            local_part = "nobody-knows-this" if name == "unknown address" else "demo-ginza-tabelog"
            assert door.mail("notice@example.com")[0] == 250, name
            assert door.rcpt(f"{local_part}@{domain}")[0] == 250, name
            assert door.data(content)[0] == 250, name
            digests[_kept(todoku, _as_received(content))] = name
        code, reason = door.docmd("MAIL FROM:<a@example.com>")
        assert code == 250
        assert door.rcpt("somebody@elsewhere.example")[0] == 550, reason

    states = _states(todoku, digests)

    assert states.pop("unknown address") == "quarantined"
    assert states.pop("the next good mail") in {"applied", "duplicate"}
    assert states == {name: state for name, (_content, state) in BAD.items()}


def _as_received(content: bytes) -> bytes:
    """Return what the door is handed: the content, its last line ended."""
    return content if content.endswith(b"\r\n") else content + b"\r\n"
