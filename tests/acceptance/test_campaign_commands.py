"""`todoku campaign` and the api, from a shell and over HTTP, against the whole program."""

from __future__ import annotations

import csv
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from tests.acceptance.conftest import Todoku, ready

PROJECT = ("-p", "todoku-demo")


@pytest.fixture
def demo(todoku: Todoku, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Todoku, str]]:
    monkeypatch.setenv("TODOKU_WEB_LISTEN", "127.0.0.1:18290")
    monkeypatch.setenv("TODOKU_SMTP_LISTEN", "127.0.0.1:18225")
    with todoku.start("demo", "--json", "--no-evening") as process:
        yield todoku, ready(process)["url"]


def _json(todoku: Todoku, *arguments: str, expect: int = 0) -> Any:
    return json.loads(todoku.run("campaign", *arguments, *PROJECT, "--json", expect=expect))


def _call(url: str, method: str, path: str, token: str, body: object = None, **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(  # noqa: S310 - our own loopback pages
        f"{url}/api/v1{path}",
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **headers},
        method=method,
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        document = json.loads(error.read()) if "problem+json" in str(error.headers["Content-Type"]) else {}
        return error.code, document


def _finished(todoku: Todoku, run: str) -> Any:
    deadline = time.monotonic() + 60
    while (found := _json(todoku, "run", run))["state"] != "finished":
        assert time.monotonic() < deadline, found
    return found


@pytest.mark.timeout(420)  # some forty commands, each a process of its own
def test_a_campaign_from_the_shell_and_from_a_program(demo: tuple[Todoku, str]) -> None:
    todoku, url = demo
    _plan_from_the_shell(todoku)
    run_id = _send_from_the_shell(todoku)
    _use_the_api(todoku, url, run_id)


def _plan_from_the_shell(todoku: Todoku) -> None:
    weekly = _json(todoku, "create", "--name", "weekly")["id"]
    planned = _json(todoku, "schedule", weekly, "--repeat", "weekly mon,thu 10:30 times 6")
    assert (planned["state"], planned["plan"]["repeat"]["count"]) == ("scheduled", 6)
    starts = _json(todoku, "calendar", "--days", "40")
    assert len([one for one in starts if one["campaign_id"] == weekly]) == 6
    assert _json(todoku, "reschedule", "weekly", "--repeat", "daily 9:00")["plan"]["repeat"]["kind"] == "daily"
    assert _json(todoku, "pause", weekly)["state"] == "paused"
    assert _json(todoku, "resume", weekly)["state"] == "scheduled"
    assert _json(todoku, "stop", weekly, "--reason", "test")["state"] == "stopped"
    assert _json(todoku, "back-to-draft", weekly)["state"] == "draft"
    copy = _json(todoku, "duplicate", weekly)["id"]
    assert {one["id"] for one in _json(todoku, "list", "--state", "draft")} >= {weekly, copy}
    assert _json(todoku, "away") == []
    for wrong, code in (
        (("show", "nothing of that name"), 1),
        (("schedule", copy, "--at", "tomorrow"), 2),
        (("schedule", copy, "--repeat", "sometimes"), 1),
        (("schedule", copy, "--repeat", "cron 0 10 31 2 *"), 1),
        (("stop", copy), 2),
        (("stop", copy, "--reason", "x"), 1),
        (("approve", copy), 1),
        (("list", "--state", "odd"), 2),
        (("remedy", "explode", "--all"), 2),
    ):
        assert todoku.run("campaign", *wrong, *PROJECT, expect=code) == "", wrong
    assert todoku.run("campaign", "list", "-p", "nowhere", expect=1) == ""


def _send_from_the_shell(todoku: Todoku) -> str:
    draft = _json(todoku, "create", "--name", "now")["id"]
    test = _json(todoku, "test-send", draft, "me@example.com")
    assert _finished(todoku, test["id"])["balance"]["planned"] == 1
    sent = _json(todoku, "send-now", draft)
    run = _finished(todoku, sent["run"]["id"])
    balance = run["balance"]
    assert balance["planned"] == sum(count for state, count in balance.items() if state != "planned")
    assert _json(todoku, "show", draft)["state"] == "finished"
    assert [one["id"] for one in _json(todoku, "runs", draft)] == [run["id"]]
    said = todoku.run("campaign", "names", run["id"], *PROJECT, "--state", "sent", "--language", "ja")
    rows = list(csv.reader(StringIO(said.removeprefix("\ufeff"), newline="")))
    assert rows[0][0] == "メールアドレス"
    assert len(rows) == balance["sent"] + 1
    assert todoku.run("campaign", "resend", run["id"], "--state", "expired", *PROJECT, expect=1) == ""
    assert todoku.run("campaign", "resend", run["id"], "--state", "sent", *PROJECT, expect=2) == ""
    return str(run["id"])


def _use_the_api(todoku: Todoku, url: str, run_id: str) -> None:
    made = json.loads(
        todoku.run("project", "key", "todoku-demo", "till", "--scope", "read", "--scope", "write", "--json")
    )
    token = made["token"]
    status, run = _call(url, "GET", f"/runs/{run_id}", token)
    assert (status, run["state"]) == (200, "finished")
    words = {"name": "from a program", "subject": "x", "html": "<p>x</p>", "text": "x"}
    first = _call(url, "POST", "/campaigns", token, words, **{"Idempotency-Key": "1"})
    again = _call(url, "POST", "/campaigns", token, words, **{"Idempotency-Key": "1"})
    assert first == again
    assert first[0] == 201
    status, problem = _call(url, "POST", f"/campaigns/{first[1]['id']}/send-now", token)
    assert (status, problem["code"]) == (422, "not_schedulable"), "it lacks what the law asks for"
    listed = json.loads(todoku.run("project", "keys", "todoku-demo", "--json"))
    assert [one["name"] for one in listed] == ["till"]
    assert token not in json.dumps(listed)
    todoku.run("project", "revoke-key", "todoku-demo", made["id"])
    assert _call(url, "GET", "/campaigns", token)[0] == 401
