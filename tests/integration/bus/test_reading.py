"""Reads of many messages, also in a cluster, where any copy of a stream may answer."""

from __future__ import annotations

import pytest

from todoku.bus.connection import Bus
from todoku.bus.errors import BusUnavailable
from todoku.bus.streams import JOURNAL


async def test_what_was_stored_before_is_read_completely(bus: Bus, run: str) -> None:
    """In a cluster a follower that is a moment behind may answer; people it does not show would be left out."""
    for number in range(100):
        await bus.publish(f"journal.{run}.1.{number}", b"x")
        read = [message.subject async for message in bus.messages(JOURNAL, f"journal.{run}.>")]
        assert len(read) == number + 1


async def test_a_stream_that_is_purged_meanwhile_is_not_waited_for(bus: Bus, run: str) -> None:
    for number in range(3):
        await bus.publish(f"journal.{run}.1.{number}", b"x" * 3_000_000)  # more than one answer holds
    try:
        async for _message in bus.messages(JOURNAL, f"journal.{run}.>"):
            await bus.purge(JOURNAL, f"journal.{run}.>")
    except BusUnavailable:
        pytest.fail("what is gone was waited for")
