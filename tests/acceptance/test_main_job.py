"""The main job, as a command: mails in, a campaign out, both balances closed."""

from __future__ import annotations

import json

from tests.acceptance.conftest import Todoku


def test_both_balances_close_and_everybody_at_the_sink_was_sent_once(todoku: Todoku) -> None:
    report = json.loads(todoku.run("demo", "--once", "--json"))

    mails, campaign = report["mails"], report["campaign"]
    assert mails["arrived"] >= 60
    assert mails["arrived"] == sum(count for state, count in mails.items() if state != "arrived")
    assert mails["pending"] == 0
    assert mails["applied"] > 40
    assert mails["unreadable"] == 0
    assert campaign["planned"] == sum(count for state, count in campaign.items() if state != "planned")
    assert campaign["pending"] == 0
    assert campaign["sent"] == report["at_sink"] > 200
    assert campaign["suppressed"] > 0
    assert report["doubled"] == 0
    assert report["reservations"] > 30


def test_a_second_time_on_the_same_home_sends_nobody_anything_again(todoku: Todoku) -> None:
    first = json.loads(todoku.run("demo", "--once", "--json"))

    second = json.loads(todoku.run("demo", "--once", "--json"))

    assert second["at_sink"] == first["at_sink"]
    assert second["campaign"] == first["campaign"]
    assert second["reservations"] == first["reservations"]
    assert second["guests"] == first["guests"]
    assert second["mails"]["arrived"] == 2 * first["mails"]["arrived"]
    assert second["mails"]["applied"] == first["mails"]["applied"]
    assert second["balanced"] is True
