"""Who is counted together, and how fast a client may come."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todoku.sources.smtp import limits
from todoku.sources.smtp.limits import ClientCounter, DoorLimits, identify

TRUSTED = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8:1::/48"))


@pytest.mark.parametrize(
    ("peer", "key", "trusted"),
    [
        ("192.0.2.7", "192.0.2.7", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("::ffff:10.1.2.3", "10.1.2.3", True),
        ("::ffff:192.0.2.7", "192.0.2.7", False),
        ("2001:db8:0:5:1:2:3:4", "2001:db8:0:5::/64", False),
        ("2001:db8:0:5::9", "2001:db8:0:5::/64", False),
        ("2001:db8:1:5::9", "2001:db8:1:5::/64", True),
        ("fe80::1%eth0", "fe80::/64", False),
        ("local", "local", False),
    ],
)
def test_who_is_counted_as_one(peer: str, key: str, trusted: bool) -> None:
    client = identify(peer, TRUSTED)
    assert (client.key, client.trusted, client.peer) == (key, trusted, peer)


def test_a_burst_is_taken_then_the_pace_holds() -> None:
    counter = ClientCounter(DoorLimits(new_connections_per_minute=60, new_connections_burst=3))
    assert [counter.enter("a", 100.0) for _ in range(5)] == [True, True, True, False, False]
    assert counter.enter("b", 100.0), "another client has tokens of its own"
    assert not counter.enter("a", 100.9)
    assert counter.enter("a", 101.0), "who was turned away has lost nothing by asking"
    assert not counter.enter("a", 101.0)
    assert [counter.enter("a", 1_000.0) for _ in range(4)] == [True, True, True, False]


def test_open_connections_are_counted_and_given_back() -> None:
    counter = ClientCounter(DoorLimits(max_connections_per_host=2))
    assert [counter.enter("a", 0.0) for _ in range(3)] == [True, True, False]
    counter.leave("a")
    assert counter.enter("a", 0.0)


def test_a_crowd_of_strangers_takes_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CLIENTS", 100)
    counter = ClientCounter(DoorLimits(max_connections_per_host=1))
    assert counter.enter("here", 0.0)
    for number in range(1_000):
        assert counter.enter(f"stranger-{number}", 1.0)
        counter.leave(f"stranger-{number}")
    assert len(counter) <= 101
    assert not counter.enter("here", 2.0), "who has something open is not forgotten"


@given(
    gaps=st.lists(st.floats(0.0, 5.0), max_size=200),
    per_minute=st.integers(1, 600),
    burst=st.integers(1, 20),
)
def test_no_pattern_of_knocking_beats_the_pace(gaps: list[float], per_minute: int, burst: int) -> None:
    limit = DoorLimits(
        max_connections_per_host=10_000, new_connections_per_minute=per_minute, new_connections_burst=burst
    )
    counter = ClientCounter(limit)
    now_seconds, let_in = 0.0, 0
    for gap in gaps:
        now_seconds += gap
        let_in += counter.enter("a", now_seconds)
    assert let_in <= burst + now_seconds * per_minute / 60.0 + 1e-6
