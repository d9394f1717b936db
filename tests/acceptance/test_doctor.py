"""`todoku doctor` says what is wrong, and what to do about it."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

from tests.acceptance.conftest import Todoku, ready


def _facts(printed: str) -> dict[str, dict[str, Any]]:
    return {fact["name"]: fact for fact in json.loads(printed)["facts"]}


def test_a_fresh_machine_is_healthy(todoku: Todoku) -> None:
    facts = _facts(todoku.run("doctor", "--json"))
    assert facts["home.writable"]["state"] == "ok"
    assert facts["disk.free"]["state"] == "ok"
    assert facts["settings.relay"]["state"] == "late"
    assert facts["settings.relay"]["todo"]


def test_a_running_installation_is_looked_at(todoku: Todoku) -> None:
    with todoku.start("demo", "--json", "--no-evening") as process:
        ready(process)
        facts = _facts(todoku.run("doctor", "--json"))
        for name in ("postgres.version", "postgres.durable", "nats.version", "nats.durable"):
            assert facts[name]["state"] == "ok", facts[name]


def test_a_taken_port_is_named(make_todoku: Callable[[], Todoku], monkeypatch: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("TODOKU_WEB_LISTEN", f"127.0.0.1:{taken.getsockname()[1]}")
        facts = _facts(make_todoku().run("doctor", "--json", expect=1))
    assert facts["port.web"]["state"] == "failing"
    assert facts["port.web"]["todo"]


def test_a_wrong_setting_ends_the_call(todoku: Todoku, monkeypatch: Any) -> None:
    monkeypatch.setenv("TODOKU_SMTP_LISTEN", "here")
    assert todoku.run("doctor", expect=2) == ""
