"""The names behind the numbers, page by page and as a CSV; a new run to those not reached."""

from __future__ import annotations

import csv
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from tests.integration.api.books import finish, outcome

from todoku.delivery.types import RecipientState
from todoku.kernel.clock import VirtualClock

from .conftest import Caller

HOSTILE = '=HYPERLINK("https://x.example")'


@pytest.fixture
def run(caller: Caller, words: dict[str, Any], clock: VirtualClock) -> dict[str, Any]:
    """Return a run that reached 205, was refused by two, and died while one was in flight."""
    made = caller.ok("POST", "/campaigns", words, status=201)
    due = (clock.now_utc() + timedelta(hours=1)).isoformat()
    scheduled = caller.ok("POST", f"/campaigns/{made['id']}/schedule", {"due_at": due})
    run_id = UUID(scheduled["run"]["id"])
    told = [outcome(number, RecipientState.SENT, answer="250 ok") for number in range(205)]
    told.append(outcome(205, RecipientState.REFUSED, "no@example.com", HOSTILE))
    told.append(outcome(206, RecipientState.REFUSED, "full@example.com", "550 5.2.2 full"))
    told.append(outcome(207, RecipientState.UNKNOWN, "maybe@example.com"))
    told.append(outcome(208, RecipientState.EXPIRED, "tsumugi@example.com", "451 later"))
    finish(caller.project_id, run_id, told)
    found: dict[str, Any] = caller.ok("GET", f"/runs/{run_id}")
    return found


def test_the_balance_adds_up(run: dict[str, Any]) -> None:
    numbers = run["balance"]
    assert (numbers["planned"], numbers["sent"], numbers["refused"], numbers["pending"]) == (209, 205, 2, 0)
    assert numbers["planned"] == sum(count for state, count in numbers.items() if state != "planned")


def test_every_name_is_on_exactly_one_page(caller: Caller, run: dict[str, Any]) -> None:
    seen: list[str] = []
    after = ""
    while True:
        page = caller.ok("GET", f"/runs/{run['id']}/recipients?state=sent&limit=100&after={after}")
        seen += [one["address"] for one in page["recipients"]]
        after = page["next"]
        if not after:
            break
    assert len(seen) == len(set(seen)) == 205


@pytest.mark.parametrize(
    ("language", "header", "word"), [("ja", "メールアドレス", "拒否"), ("en", "Mail address", "Refused")]
)
def test_the_csv_says_the_same_and_runs_nothing(
    language: str, header: str, word: str, caller: Caller, run: dict[str, Any]
) -> None:
    answer = caller.call("GET", f"/runs/{run['id']}/recipients.csv?state=refused&language={language}")
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    content = b"".join(answer.streaming_content)  # type: ignore[attr-defined]
    assert content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.reader(StringIO(content.decode("utf-8-sig"), newline="")))
    assert rows[0][0] == header
    assert [row[0] for row in rows[1:]] == ["no@example.com", "full@example.com"]
    assert (rows[1][1], rows[1][2], rows[1][3]) == (word, "refused", "'" + HOSTILE)
    assert rows[1][4] == "2026-11-21 12:03:25+09:00"
    whole = caller.call("GET", f"/runs/{run['id']}/recipients.csv")
    lines = b"".join(whole.streaming_content).decode("utf-8-sig").splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 1 + 209


def test_to_those_not_reached_and_only_on_purpose_to_the_uncertain(caller: Caller, run: dict[str, Any]) -> None:
    path = f"/runs/{run['id']}/resend"
    assert caller.problem("POST", path, {"states": []})["code"] == "request_invalid"
    assert caller.problem("POST", path, {"states": ["sent"]})["code"] == "request_invalid"
    made = caller.ok("POST", path, {"states": ["expired"]}, status=201)
    assert (made["kind"], made["source_run_id"]) == ("resend", run["id"])
    found = caller.problem("POST", path, {"states": ["expired"]})
    assert (found["status"], found["code"]) == (409, "wrong_state")
    assert caller.ok("POST", path, {"states": ["unknown"]}, status=201)["kind"] == "resend"
