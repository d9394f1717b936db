from __future__ import annotations

import asyncio
import socket

import msgspec
import pytest

from todoku.bus.connection import Bus
from todoku.bus.errors import BusError, BusUnavailable, MessageTooLarge, SequenceConflict
from todoku.bus.streams import EVENTS, JOURNAL, MAIL


async def test_same_message_id_is_stored_once(bus: Bus, run: str) -> None:
    first = await bus.publish(f"mail.{run}.smtp", b"a", message_id=run)
    assert await bus.publish(f"mail.{run}.smtp", b"a", message_id=run) == first
    assert await bus.subject_counts(MAIL, f"mail.{run}.*") == {f"mail.{run}.smtp": 1}


async def test_of_two_writers_one_owns_the_subject(bus: Bus, run: str) -> None:
    subject = f"journal.{run}.1.0"

    async def claim(who: str) -> int:
        return await bus.publish(subject, who.encode(), message_id=f"{run}-{who}", expected_last_subject_sequence=0)

    answers = await asyncio.gather(*[claim(str(n)) for n in range(20)], return_exceptions=True)
    winners = [answer for answer in answers if isinstance(answer, int)]
    assert len(winners) == 1
    assert sum(isinstance(answer, SequenceConflict) for answer in answers) == 19
    message = await bus.last_message(JOURNAL, subject)
    assert message is not None
    assert message.sequence == winners[0]


async def test_winner_that_asks_again_is_told_its_own_success(bus: Bus, run: str) -> None:
    subject = f"journal.{run}.1.0"
    first = await bus.publish(subject, b"mine", message_id=run, expected_last_subject_sequence=0)
    assert await bus.publish(subject, b"mine", message_id=run, expected_last_subject_sequence=0) == first
    second = await bus.publish(subject, b"next", message_id=f"{run}2", expected_last_subject_sequence=first)
    assert second > first
    with pytest.raises(SequenceConflict):
        await bus.publish(subject, b"late", expected_last_subject_sequence=first)


async def test_many_are_stored_in_order_and_told_so(bus: Bus, run: str) -> None:
    items: list[tuple[str, bytes, str | None]] = [
        (f"mail.{run}.many", str(n).encode(), f"{run}-{n}") for n in range(1500)
    ]
    sequences = await bus.publish_many(items)
    assert sequences == sorted(set(sequences))
    assert await bus.publish_many(items) == sequences
    stored = [message async for message in bus.messages(MAIL, f"mail.{run}.*")]
    assert [message.payload for message in stored] == [payload for _, payload, _ in items]
    assert [message.sequence for message in stored] == sequences
    assert stored[7].message_id == f"{run}-7"


async def test_what_is_published_together_is_stored_once_each_and_told_its_own_sequence(bus: Bus, run: str) -> None:
    await bus.publish(f"mail.{run}.alone", b"before", message_id=f"{run}-3")
    answers = await asyncio.gather(
        *(bus.publish_together(f"mail.{run}.together", b"%d" % n, f"{run}-{n % 450}") for n in range(500))
    )
    stored = {message.message_id: message async for message in bus.messages(MAIL, f"mail.{run}.*")}
    assert len(stored) == 450
    assert stored[f"{run}-3"].payload == b"before"
    assert answers == [stored[f"{run}-{n % 450}"].sequence for n in range(500)]
    again = await asyncio.gather(*(bus.publish_together(f"mail.{run}.x", b"", f"{run}-{n}") for n in range(450)))
    assert again == answers[:450]
    assert sum((await bus.subject_counts(MAIL, f"mail.{run}.*")).values()) == 450


async def test_one_that_is_too_large_does_not_harm_those_beside_it(bus: Bus, run: str) -> None:
    answers = await asyncio.gather(
        *(
            bus.publish_together(f"mail.{run}.together", b"x" * (10_000_000 if n == 7 else 10), f"{run}-{n}")
            for n in range(20)
        ),
        return_exceptions=True,
    )
    assert [n for n, answer in enumerate(answers) if isinstance(answer, MessageTooLarge)] == [7]
    assert await bus.subject_counts(MAIL, f"mail.{run}.*") == {f"mail.{run}.together": 19}


async def test_who_publishes_together_and_goes_away_harms_nobody(bus: Bus, run: str) -> None:
    tasks = [asyncio.create_task(bus.publish_together(f"mail.{run}.t", b"x", f"{run}-{n}")) for n in range(20)]
    await asyncio.sleep(0)
    tasks[4].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(answer, int) for answer in answers) == 19
    assert await bus.subject_counts(MAIL, f"mail.{run}.*") in ({f"mail.{run}.t": 20}, {f"mail.{run}.t": 19})


async def test_a_batch_is_told_when_nats_is_away(bus: Bus, run: str) -> None:
    await bus.close()
    answers = await asyncio.gather(
        *(bus.publish_together(f"mail.{run}.t", b"x", f"{run}-{n}") for n in range(3)), return_exceptions=True
    )
    assert all(isinstance(answer, BusUnavailable) for answer in answers)


async def test_many_with_a_fence_fail_as_a_whole_when_one_subject_is_taken(bus: Bus, run: str) -> None:
    await bus.publish(f"send.{run}.1.3", b"stranger")
    items: list[tuple[str, bytes, str | None]] = [(f"send.{run}.1.{n}", b"x", f"{run}-{n}") for n in range(6)]
    with pytest.raises(SequenceConflict):
        await bus.publish_many(items, expected_last_subject_sequence=0)
    counts = await bus.subject_counts("SEND", f"send.{run}.1.*")
    assert counts == {f"send.{run}.1.{n}": 1 for n in range(6)}


async def test_empty_subjects_read_as_nothing(bus: Bus, run: str) -> None:
    assert await bus.last_message(MAIL, f"mail.{run}.smtp") is None
    assert [message async for message in bus.messages(MAIL, f"mail.{run}.*")] == []
    assert await bus.subject_counts(MAIL, f"mail.{run}.*") == {}
    assert await bus.publish_many([]) == []


async def test_reading_passes_over_what_others_wrote_in_between(bus: Bus, run: str) -> None:
    for n in range(30):
        await bus.publish(f"mail.{run}{n % 3}.smtp", str(n).encode())
    stored = [int(message.payload) async for message in bus.messages(MAIL, f"mail.{run}1.*")]
    assert stored == list(range(1, 30, 3))


async def test_purge_takes_only_what_matches(bus: Bus, run: str) -> None:
    await bus.publish(f"send.{run}.1.0", b"x")
    await bus.publish(f"send.{run}.2.0", b"x")
    await bus.purge("SEND", f"send.{run}.1.*")
    assert await bus.subject_counts("SEND", f"send.{run}.*.*") == {f"send.{run}.2.0": 1}


async def test_payload_over_the_limit_is_refused_for_good(bus: Bus, run: str) -> None:
    with pytest.raises(MessageTooLarge, match="bytes"):
        await bus.publish(f"mail.{run}.smtp", b"x" * 9_000_000)


async def test_subject_without_a_stream_is_said(bus: Bus) -> None:
    with pytest.raises(BusUnavailable, match="no stream takes"):
        await bus.publish("nobody.listens", b"x")
    with pytest.raises(BusError, match="NOWHERE"):
        await bus.subject_counts("NOWHERE", ">")


async def test_event_reaches_live_pages_and_stays_stored(bus: Bus, run: str) -> None:
    seen: asyncio.Queue[tuple[str, object]] = asyncio.Queue()
    failed_once: list[str] = []

    def show(subject: str, payload: bytes) -> None:
        if not failed_once:
            failed_once.append(subject)
            raise RuntimeError("a page's own mistake")
        seen.put_nowait((subject, msgspec.msgpack.decode(payload)))

    listener = await bus.subscribe_live(f"event.{run}.>", show)
    await bus.publish_event(run, "reservation", {"ids": ["lost on the page"]})
    await bus.publish_event(run, "reservation", {"ids": ["x"]})
    assert await asyncio.wait_for(seen.get(), 5) == (f"event.{run}.reservation", {"ids": ["x"]})
    await listener.stop()
    await bus.publish_event(run, "reservation", {"ids": ["y"]})
    assert seen.empty()
    assert await bus.subject_counts(EVENTS, f"event.{run}.*") == {f"event.{run}.reservation": 3}


async def test_nobody_at_the_address_is_said_in_time() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"nats://user:secret@127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(BusUnavailable, match=r"did not answer within 0\.3 s") as caught:
            await Bus.connect(url, name="test", wait_seconds=0.3)
    assert "secret" not in str(caught.value)
