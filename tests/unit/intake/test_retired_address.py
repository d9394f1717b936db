"""Mail to an address whose time is over is quarantined in its own project, and what came in time is read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import msgspec
import pytest

from todoku.intake.extracting import ReadOutcome
from todoku.intake.fates import Received, decide
from todoku.intake.types import MailState
from todoku.sources.types import Arrival, Route

UNTIL = datetime(2027, 3, 1, 0, 0, tzinfo=UTC)


def arrived(received_at_utc: datetime, project_id: str = "p") -> Received:
    arrival = Arrival(
        arrival_id=uuid4(),
        project_id=project_id,
        source="smtp",
        vault_key="k",
        sha256="s",
        size_bytes=1,
        received_at_utc=received_at_utc,
    )
    return Received(1, project_id, arrival, ReadOutcome(None, "no_headers"))


@pytest.mark.parametrize(
    ("received_at_utc", "state", "reason"),
    [
        (UNTIL - timedelta(microseconds=1), MailState.UNREADABLE, "no_headers"),
        (UNTIL, MailState.QUARANTINED, "address_retired:2027-03-01"),
        (UNTIL + timedelta(days=400), MailState.QUARANTINED, "address_retired:2027-03-01"),
    ],
)
def test_the_moment_of_arrival_counts(received_at_utc: datetime, state: MailState, reason: str) -> None:
    fate = decide(arrived(received_at_utc), project_known=True, accepted_until_utc=UNTIL)
    assert (fate.state, fate.reason) == (state, reason)


def test_an_address_in_use_has_no_end() -> None:
    assert decide(arrived(UNTIL), project_known=True).state is MailState.UNREADABLE


def test_a_route_of_an_older_release_still_reads_and_an_older_release_reads_ours() -> None:
    class OldRoute(msgspec.Struct, frozen=True, kw_only=True):
        project_id: str
        shop_code: str | None = None
        site: str | None = None

    old = msgspec.msgpack.encode(OldRoute(project_id="p", shop_code="ginza"))
    assert msgspec.msgpack.decode(old, type=Route) == Route(project_id="p", shop_code="ginza")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode({"project_id": "p"}), type=Route) == Route(project_id="p")
    ours = msgspec.msgpack.encode(Route(project_id="p", site="gnavi", accepted_until_utc=UNTIL))
    assert msgspec.msgpack.decode(ours, type=Route).accepted_until_utc == UNTIL
    assert msgspec.msgpack.decode(ours, type=OldRoute) == OldRoute(project_id="p", site="gnavi")
