"""Every mail has a fate, and the mail alone decides as far as it can."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from todoku.extraction.types import Event, Facts, NoticeKind, Outcome, Reading
from todoku.intake.extracting import ReadOutcome
from todoku.intake.fates import Received, decide, issued_at, repeat_id
from todoku.intake.types import IntakeBalance, MailState
from todoku.sources.types import Arrival

NOON = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
BOOKED = Reading(Outcome.RESERVATION, "gnavi", facts=Facts(event=Event.BOOKED, reference="PL1"), issued_at=NOON)


def received(outcome: ReadOutcome, *, project_id: str = "p", **arrival: object) -> Received:
    values: dict[str, object] = {
        "arrival_id": uuid.UUID(int=7),
        "project_id": "p",
        "source": "smtp",
        "vault_key": "p/x",
        "sha256": "a" * 64,
        "size_bytes": 1,
        "received_at_utc": NOON,
        **arrival,
    }
    return Received(1, project_id, Arrival(**values), outcome)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("outcome", "state", "reason"),
    [
        (ReadOutcome(None, "empty"), MailState.UNREADABLE, "empty"),
        (
            ReadOutcome(Reading(Outcome.NOT_A_RESERVATION, "gnavi", notice=NoticeKind.DIGEST)),
            MailState.NOT_A_RESERVATION,
            "digest",
        ),
        (
            ReadOutcome(Reading(Outcome.UNKNOWN_LAYOUT, "gnavi", problem="missing:reference")),
            MailState.UNKNOWN_LAYOUT,
            "missing:reference",
        ),
        (ReadOutcome(Reading(Outcome.RESERVATION, "gnavi")), MailState.UNKNOWN_LAYOUT, "no_facts"),
    ],
)
def test_fates_that_need_no_book(outcome: ReadOutcome, state: MailState, reason: str) -> None:
    fate = decide(received(outcome), project_known=True)
    assert (fate.state, fate.reason, fate.notification) == (state, reason, None)


def test_a_reservation_is_for_the_book_to_decide() -> None:
    fate = decide(received(ReadOutcome(BOOKED), shop_code="ginza", site="tabelog"), project_known=True)
    assert (fate.state, fate.reason) == (MailState.PENDING, "site_of_address:tabelog")
    assert fate.notification is not None
    assert (fate.notification.shop_code, fate.notification.content_sha256) == ("ginza", "a" * 64)


@pytest.mark.parametrize(
    ("mail", "known", "reason"),
    [
        (received(ReadOutcome(BOOKED), project_id="_unrouted"), True, "unknown_address"),
        (received(ReadOutcome(None, "empty"), project_id="_unrouted"), False, "unknown_address"),
        (received(ReadOutcome(BOOKED)), False, "unknown_project"),
        (received(ReadOutcome(BOOKED), project_id="q"), True, "other_project"),
    ],
)
def test_mail_for_nobody_is_quarantined_whatever_it_says(mail: Received, known: bool, reason: str) -> None:
    fate = decide(mail, project_known=known)
    assert (fate.state, fate.reason, fate.notification) == (MailState.QUARANTINED, reason, None)


@pytest.mark.parametrize(
    ("stated", "issued"),
    [
        (NOON - timedelta(days=900), NOON - timedelta(days=900)),
        (NOON + timedelta(minutes=10), NOON + timedelta(minutes=10)),
        (NOON + timedelta(days=1), NOON),  # a Date in the future would make every later mail stale
        (datetime(1970, 1, 1, tzinfo=UTC), NOON),
        (None, NOON),
    ],
)
def test_when_the_site_spoke(stated: datetime | None, issued: datetime) -> None:
    assert issued_at(replace(BOOKED, issued_at=stated), NOON) == issued


def test_a_second_message_about_one_arrival_has_its_own_stable_row() -> None:
    arrival_id = uuid.UUID(int=7)
    assert repeat_id(arrival_id, 2) == repeat_id(arrival_id, 2) != repeat_id(arrival_id, 3) != arrival_id


def test_the_balance_closes_only_when_every_arrival_has_a_state() -> None:
    states = {MailState.APPLIED: 3, MailState.HELD: 1}
    assert IntakeBalance(4, states).closed
    assert (IntakeBalance(5, states).pending, IntakeBalance(5, states).closed) == (1, False)
    assert not IntakeBalance(3, states).closed
