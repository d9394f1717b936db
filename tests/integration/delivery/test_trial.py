"""Trying a way out without sending: what the doctor sees of relays that work, that don't, and that want a login."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from todoku.config.checkup import check_up
from todoku.config.settings import load_settings
from todoku.config.ways_out import check_ways_out
from todoku.delivery.transports.opening import open_transport
from todoku.delivery.transports.scripted_api import Dialect, Request, ScriptedApi, answer_of
from todoku.delivery.transports.scripted_relay import ScriptedRelay
from todoku.delivery.transports.trial import try_transport
from todoku.kernel.clock import SystemClock, VirtualClock
from todoku.kernel.health import HealthState


async def test_each_relay_of_a_fail_over_is_tried() -> None:
    relay, refusing = ScriptedRelay(), ScriptedRelay(greeting="554 5.3.2 not today")
    urls = [await relay.start(), await refusing.start(), "smtp://127.0.0.1:9", "null:"]
    transport = open_transport(",".join(urls), SystemClock())
    trials = await try_transport(transport)
    assert [trial.works for trial in trials] == [True, False, False, True]
    assert trials[0].seen == "answers, in clear, 8BITMIME"
    assert "554 5.3.2 not today" in trials[1].seen
    assert "efused" in trials[2].seen
    assert not relay.taken
    await transport.close()
    await relay.stop()
    await refusing.stop()


async def test_a_login_is_tried_and_its_secret_not_shown() -> None:
    relay = ScriptedRelay()
    url = (await relay.start()).replace("smtp://", "smtp://shop:hunter2@")
    transport = open_transport(url, SystemClock())
    (trial,) = await try_transport(transport)
    assert trial.works is False
    assert "no way to log in" in trial.seen
    assert "hunter2" not in repr(trial)
    await transport.close()
    await relay.stop()


async def test_a_relay_that_is_silent_is_left_after_a_while() -> None:
    relay = ScriptedRelay(greeting="220-relay.example takes its time")
    transport = open_transport(await relay.start(), SystemClock())
    (trial,) = await try_transport(transport, most_seconds=0.2)
    assert (trial.works, trial.seen) == (False, "no answer in 0.2 s")
    await transport.close()
    await relay.stop()


@pytest.mark.parametrize(
    ("status", "account", "works", "words"),
    [
        (200, {"SendQuota": {"Max24HourSend": 50_000, "MaxSendRate": 14, "SentLast24Hours": 3}}, True, "14 a second"),
        (200, {"SendingEnabled": False, "ProductionAccessEnabled": False}, False, "in the sandbox"),
        (403, {"message": "The security token is invalid"}, False, "403"),
    ],
)
async def test_ses_is_asked_for_the_account(
    monkeypatch: pytest.MonkeyPatch, status: int, account: dict[str, object], *, works: bool, words: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made-up-secret")
    asked: list[Request] = []

    def recipient_of(request: Request) -> str:
        asked.append(request)
        return "accept"

    api = ScriptedApi(Dialect(recipient_of, lambda _behaviour, _recipient: answer_of(status, json.dumps(account))))
    transport = open_transport(f"ses://ap-northeast-1?endpoint={await api.start()}", SystemClock())
    (trial,) = await try_transport(transport)
    assert trial.name == "ses ap-northeast-1"
    assert trial.works is works
    assert words in trial.seen
    assert [request.target for request in asked] == ["/v2/email/account"]
    assert "/ses/aws4_request" in asked[0].headers["authorization"]
    await transport.close()
    await api.stop()


def test_the_doctor_tells_what_to_do(tmp_path: Path, clock: VirtualClock) -> None:
    settings = load_settings(
        {
            "TODOKU_HOME": str(tmp_path),
            "TODOKU_RELAY_URL": "smtp://shop:hunter2@127.0.0.1:9",
            "TODOKU_TRANSPORTS": "rehearsal=null: post=anymail+postmark://hunter2@",
        }
    )
    facts = {fact.name: fact for fact in check_ways_out(settings, clock)}
    assert facts["way_out"].state is HealthState.FAILING
    assert facts["way_out"].todo
    assert facts["way_out.rehearsal"].state is HealthState.OK
    assert facts["way_out.post"].state is HealthState.UNKNOWN
    assert facts["dkim"].state is HealthState.LATE
    assert "hunter2" not in repr(facts)
    wrong = load_settings({"TODOKU_HOME": str(tmp_path), "TODOKU_RELAY_URL": "imap://hunter2@relay.example"})
    (fact,) = check_ways_out(wrong, clock)
    assert fact.state is HealthState.FAILING
    assert "hunter2" not in repr(check_up(wrong, clock=clock))
