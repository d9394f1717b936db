"""Room for mails that are being kept."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from todoku.sources.hands import LEAST_EACH, Hands

MOST = 8 * LEAST_EACH


@given(st.lists(st.integers(0, 3 * MOST), max_size=40))
def test_no_more_is_held_than_there_is_room_for_and_everybody_gets_a_turn(sizes: list[int]) -> None:
    held: dict[int, int] = {}
    highest = 0

    async def carry(hands: Hands, number: int, size: int) -> None:
        nonlocal highest
        share = await hands.take(size)
        held[number] = share
        assert sum(held.values()) <= MOST or len(held) == 1
        highest = max(highest, len(held))
        await asyncio.sleep(0)
        del held[number]
        hands.give_back(share)

    async def all_of_them() -> None:
        hands = Hands(MOST)
        async with asyncio.TaskGroup() as group:
            for number, size in enumerate(sizes):
                group.create_task(carry(hands, number, size))

    asyncio.run(all_of_them())
    assert not held
    assert highest <= MOST // LEAST_EACH
    if len(sizes) > 1 and max(sizes) <= LEAST_EACH:
        assert highest > 1, "small mails are held side by side"
