"""Outages as looks tell of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from todoku.sources.outages import MOST_KEPT, Outage, after_look
from todoku.sources.types import Fetch, Look

START = datetime(2026, 11, 28, 0, 0, tzinfo=UTC)


def look(minute: int, outcome: Fetch = Fetch.FETCHED, *, arrived: int = 0, left: int = 0, failed: int = 0) -> Look:
    return Look(
        project_id="p",
        source="s",
        began_at_utc=START + timedelta(minutes=minute),
        ended_at_utc=START + timedelta(minutes=minute, seconds=30),
        outcome=outcome,
        fresh=arrived + left + failed,
        arrived=arrived,
        left=left,
        failed=tuple((str(n), "why") for n in range(failed)),
        why="authentication: refused" if outcome is Fetch.COULD_NOT else "",
    )


def test_an_outage_is_told_from_its_begin_to_the_last_mail() -> None:
    fetched_utc = START - timedelta(minutes=1)
    outages = after_look((), look(0), fetched_utc, unseen=False)
    assert outages == ()
    outages = after_look(outages, look(1, Fetch.COULD_NOT), fetched_utc, unseen=False)
    outages = after_look(outages, look(2, Fetch.COULD_NOT), fetched_utc, unseen=False)
    assert outages == (Outage(began_utc=fetched_utc, why="authentication: refused"),)
    outages = after_look(outages, look(60, arrived=100, left=99), fetched_utc, unseen=False)
    assert (outages[0].missed, outages[0].arrived, outages[0].waiting) == (199, 100, 99)
    assert outages[0].caught_up_utc is None
    outages = after_look(outages, look(61, arrived=99, failed=1), fetched_utc, unseen=False)
    assert (outages[0].missed, outages[0].arrived, outages[0].failed) == (200, 199, 1)
    assert outages[0].recovered_utc == look(60).began_at_utc
    assert outages[0].caught_up_utc == look(61).ended_at_utc
    assert after_look(outages, look(62, arrived=5), fetched_utc, unseen=False) == outages


def test_that_nobody_looked_is_an_outage_without_a_reason() -> None:
    fetched_utc = START - timedelta(hours=9)
    (outage,) = after_look((), look(0, arrived=7), fetched_utc, unseen=True)
    assert (outage.began_utc, outage.why, outage.missed, outage.arrived) == (fetched_utc, "", 7, 7)
    assert after_look((), look(0, arrived=7), None, unseen=True) == (), "a first look is no outage"


LOOKS = st.builds(
    look,
    st.just(0),
    st.sampled_from(Fetch),
    arrived=st.integers(0, 9),
    left=st.integers(0, 9),
    failed=st.integers(0, 2),
)


@given(st.lists(st.tuples(LOOKS, st.booleans()), max_size=60))
def test_no_mail_is_counted_twice_and_one_outage_lasts_at_a_time(looks: list[tuple[Look, bool]]) -> None:
    outages: tuple[Outage, ...] = ()
    for one, unseen in looks:
        outages = after_look(outages, one, START, unseen=unseen)
        assert len(outages) <= MOST_KEPT
        assert all(outage.caught_up_utc is not None for outage in outages[:-1])
        for outage in outages:
            assert outage.waiting >= 0
            assert outage.failed <= outage.missed
            if outage.caught_up_utc is not None:
                assert outage.waiting == outage.failed, "missed = arrived + vanished + failed"
