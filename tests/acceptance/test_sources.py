"""Sources as an operator uses them: named by command, collected by the running program, called by a provider."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from tests.acceptance.conftest import Todoku, ready

PROJECT = "todoku-demo"
WITHIN_SECONDS = 60.0  # only a guard against hanging


def _mail(number: int) -> bytes:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "somebody@example.com", "shop@example.com", f"number {number}"
    mail.set_content("no booking at all")
    return mail.as_bytes()


def _source(todoku: Todoku, name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(todoku.run("source", "list", "-p", PROJECT, "--json"))
    return next(one for one in found if one["source"] == name)


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_SECONDS
    while not true():
        assert time.monotonic() < deadline, "it does not come true"


def _call(url: str, document: dict[str, Any]) -> int:
    body = json.dumps(document).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - loopback
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        return error.code


def test_a_folder_and_a_webhook_bring_mails_into_the_running_program(todoku: Todoku, tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    for part in ("new", "cur", "tmp"):
        (folder / part).mkdir(parents=True)
    with todoku.start("demo", "--json", "--no-evening") as process:
        ready(process)
        (folder / "new" / "1.host").write_bytes(_mail(1))
        todoku.run("source", "add", "-p", PROJECT, "maildir-ginza", "--kind", "maildir", "--set", f"folder={folder}")
        _until(lambda: _source(todoku, "maildir-ginza")["mail_at"] is not None)
        assert _source(todoku, "maildir-ginza")["truth"] == "fetched"
        todoku.run("source", "pause", "-p", PROJECT, "maildir-ginza")
        assert _source(todoku, "maildir-ginza")["truth"] == "paused"

        said = todoku.run("source", "add", "-p", PROJECT, "hook", "--kind", "webhook", "--set", "provider=postmark")
        url = said.split()[-1]
        call = {"MessageID": "0001", "RawEmail": _mail(2).decode(), "From": "somebody@example.com"}
        _until(lambda: _call(url, call) == 200)  # the source is known within a moment; until then the provider waits
        assert _call(url, call) == 200, "the same call again is the same mail"
        assert _call(url[:-3] + "xxx", call) == 503, "nobody's address: a provider must not drop the mail"
        assert _source(todoku, "hook")["truth"] == "ready for calls"


def test_odd_commands_are_answered_clearly(todoku: Todoku, tmp_path: Path) -> None:
    with todoku.start("demo", "--json", "--no-evening") as process:
        ready(process)
        for words in (
            ("source", "add", "-p", "nobody", "x", "--kind", "maildir", "--set", "folder=/x"),
            ("source", "add", "-p", PROJECT, "A B", "--kind", "maildir", "--set", "folder=/x"),
            ("source", "add", "-p", PROJECT, "x", "--kind", "pigeon"),
            ("source", "add", "-p", PROJECT, "x", "--kind", "maildir", "--set", "folda=/x"),
            ("source", "pause", "-p", PROJECT, "nobody"),
            ("credential", "add", "-p", PROJECT, "x", "--kind", "password", "--set", "username=a"),
            ("credential", "remove", "-p", PROJECT, "nobody"),
        ):
            todoku.run(*words, expect=1)
        secret = tmp_path / "password"
        secret.write_text("hush-hush-1\n", encoding="utf-8")
        credential = ("credential", "add", "-p", PROJECT, "imap-1", "--kind", "password", "--set", "username=a")
        todoku.run(*credential, "--secret", f"password={secret}")
        listed = todoku.run("credential", "list", "-p", PROJECT, "--json")
        assert json.loads(listed)[0]["condition"] == "unproven"
        assert "hush" not in listed
        todoku.run(
            "source",
            "add",
            "-p",
            PROJECT,
            "imap-1",
            "--kind",
            "imap",
            "--set",
            "host=127.0.0.1",
            "--set",
            "port=1",
            "-c",
            "imap-1",
        )
        listed = todoku.run("credential", "list", "-p", PROJECT, "--json")
        assert json.loads(listed)[0]["used_by"] == ["imap-1"]
        tried = todoku.run("source", "test", "-p", PROJECT, "imap-1", expect=1)
        assert "FAIL  imap-1: unreachable: 127.0.0.1:1" in tried
