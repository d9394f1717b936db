"""What every bus must do: the real one on a real NATS, and the one that the simulator makes up.

`check_bus` is run against both, so that what holds in a simulation holds because NATS does so too. Each check uses
subjects of its own (`token`), so that it can run beside others on one server. Raises AssertionError at the first
difference.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from todoku.bus.connection import Bus
from todoku.bus.consumers import Consumer
from todoku.bus.errors import BusError, KeyExists, RevisionConflict, SequenceConflict
from todoku.bus.streams import JOURNAL, RUNS_BUCKET, SEND

ACK_WAIT_SECONDS = 1.0
_SOON_SECONDS = 5.0


async def check_bus(bus: Bus, token: str) -> None:
    """Check publishing, fences, duplicates, reading, buckets, watches and consumers. token: nobody else uses it."""
    checks = (
        _check_fence,
        _check_duplicates,
        _check_own_success,
        _check_reading,
        _check_bucket,
        _check_watch,
        _check_delivery,
        _check_redelivery,
        _check_nak,
        _check_extension,
        _check_stale_answers,
        _check_most_out,
        _check_waiting_fetch,
        _check_lost_consumer,
        _check_purge,
    )
    for number, check in enumerate(checks):
        await check(bus, f"{token}-{number}")


# --- publishing and reading ---


async def _check_fence(bus: Bus, token: str) -> None:
    """Of many writers of an empty subject one wins; a stale sequence is refused and stores nothing."""
    subject = f"journal.{token}.1.0"
    answers = await asyncio.gather(
        *[
            bus.publish(subject, b"%d" % n, message_id=f"{token}{n}", expected_last_subject_sequence=0)
            for n in range(5)
        ],
        return_exceptions=True,
    )
    winners = [answer for answer in answers if isinstance(answer, int)]
    assert len(winners) == 1, "not exactly one writer won an empty subject"
    assert sum(isinstance(answer, SequenceConflict) for answer in answers) == 4
    second = await bus.publish(subject, b"next", expected_last_subject_sequence=winners[0])
    assert second > winners[0], "sequences do not grow"
    await _refused(lambda: bus.publish(subject, b"late", expected_last_subject_sequence=winners[0]))
    await _refused(lambda: bus.publish(subject, b"late", expected_last_subject_sequence=0))
    assert await bus.subject_counts(JOURNAL, f"journal.{token}.*.*") == {subject: 2}, "a refused publish was stored"


async def _check_duplicates(bus: Bus, token: str) -> None:
    """A message id is stored once in the stream, whatever subject it is used on."""
    first = await bus.publish(f"journal.{token}.1.0", b"a", message_id=token)
    assert await bus.publish(f"journal.{token}.1.0", b"a", message_id=token) == first
    assert await bus.publish(f"journal.{token}.1.1", b"b", message_id=token) == first
    assert await bus.subject_counts(JOURNAL, f"journal.{token}.*.*") == {f"journal.{token}.1.0": 1}


async def _check_own_success(bus: Bus, token: str) -> None:
    """The sequence is compared before duplicates are looked for; who repeats the last message is told its success."""
    subject = f"journal.{token}.1.0"
    first = await bus.publish(subject, b"mine", message_id=f"{token}a", expected_last_subject_sequence=0)
    again = await bus.publish(subject, b"mine", message_id=f"{token}a", expected_last_subject_sequence=0)
    assert again == first, "the winner's own retry was not recognised"
    await bus.publish(subject, b"other", message_id=f"{token}b", expected_last_subject_sequence=first)
    await _refused(lambda: bus.publish(subject, b"mine", message_id=f"{token}a", expected_last_subject_sequence=0))


async def _check_reading(bus: Bus, token: str) -> None:
    """The last message, all messages in order, and how many there are."""
    subject = f"journal.{token}.1.0"
    assert await bus.last_message(JOURNAL, subject) is None
    assert [one async for one in bus.messages(JOURNAL, f"journal.{token}.>")] == []
    sequences = [await bus.publish(subject, b"%d" % n, message_id=f"{token}{n}") for n in range(3)]
    await bus.publish(f"journal.{token}.1.1", b"x")
    last = await bus.last_message(JOURNAL, subject)
    assert last is not None
    assert (last.payload, last.sequence, last.message_id) == (b"2", sequences[2], f"{token}2")
    found = [one async for one in bus.messages(JOURNAL, f"journal.{token}.>")]
    assert [one.payload for one in found] == [b"0", b"1", b"2", b"x"], "messages are not in the order of publishing"
    assert [one.sequence for one in found[:3]] == sequences
    assert await bus.subject_counts(JOURNAL, f"journal.{token}.1.*") == {subject: 3, f"journal.{token}.1.1": 1}
    assert await bus.last_sequence(JOURNAL) >= found[-1].sequence
    age_seconds = (await bus.now_utc(JOURNAL) - last.published_at_utc).total_seconds()
    assert 0 <= age_seconds < _SOON_SECONDS, "the clock of the bus is not the one that stamps messages"


async def _check_purge(bus: Bus, token: str) -> None:
    """A purge takes what matches; a fenced writer then sees an empty subject."""
    await bus.publish(f"send.{token}.1.0", b"x")
    await bus.publish(f"send.{token}.2.0", b"x")
    await bus.purge(SEND, f"send.{token}.1.*")
    assert await bus.subject_counts(SEND, f"send.{token}.*.*") == {f"send.{token}.2.0": 1}
    await bus.publish(f"send.{token}.1.0", b"anew", expected_last_subject_sequence=0)
    await bus.purge(SEND, f"send.{token}.>")


# --- buckets ---


async def _check_bucket(bus: Bus, token: str) -> None:
    """A key from its creation to its end and again; only the newest revision may be updated."""
    bucket = bus.bucket(RUNS_BUCKET)
    assert await bucket.get(token) is None
    revision = await bucket.create(token, b"one")
    try:
        await bucket.create(token, b"other")
        raise AssertionError("a key was created twice")
    except KeyExists:
        pass
    newer = await bucket.update(token, b"two", revision)
    try:
        await bucket.update(token, b"late", revision)
        raise AssertionError("an old revision was updated")
    except RevisionConflict:
        pass
    entry = await bucket.get(token)
    assert entry is not None
    assert (entry.value, entry.revision) == (b"two", newer)
    assert await bucket.put(token, b"three") > newer
    assert token in await bucket.keys()
    await bucket.delete(token)
    await bucket.delete(token)
    assert await bucket.get(token) is None
    assert token not in await bucket.keys()
    await bucket.create(token, b"again")
    await bucket.delete(token)


async def _check_watch(bus: Bus, token: str) -> None:
    """What is there is told before `watch` returns, every later change after it, nothing after `stop`."""
    bucket = bus.bucket(RUNS_BUCKET)
    told: list[tuple[str, bytes | None]] = []
    news = asyncio.Event()

    def on_change(key: str, value: bytes | None) -> None:
        if key.startswith(token):
            told.append((key.removeprefix(token), value))
            news.set()

    await bucket.put(f"{token}a", b"1")
    watch = await bucket.watch(on_change)
    assert told == [("a", b"1")], f"the watch began with {told}"
    await bucket.put(f"{token}a", b"2")
    await bucket.delete(f"{token}a")
    async with asyncio.timeout(_SOON_SECONDS):
        while told[-1][1] is not None:
            news.clear()
            await news.wait()
    assert [one for one in told if one[1] is not None][-1] in (("a", b"1"), ("a", b"2"))
    count = len(told)
    await watch.stop()
    await bucket.put(f"{token}a", b"3")
    await bucket.delete(f"{token}a")
    assert len(told) == count, "a stopped watch told more"


# --- consumers ---


async def _check_delivery(bus: Bus, token: str) -> None:
    """Messages come in order, each once while it is out, and no more after their ack."""
    consumer = await _consumer(bus, token)
    assert await consumer.fetch(5, 0.0) == []
    for n in range(4):
        await bus.publish(f"send.{token}.1.{n}", b"%d" % n, message_id=f"{token}{n}")
    first = await consumer.fetch(3, 1.0)
    assert [one.payload for one in first] == [b"0", b"1", b"2"]
    assert [one.message_id for one in first] == [f"{token}{n}" for n in range(3)]
    assert not any(one.redelivered for one in first)
    rest = await consumer.fetch(3, 0.0)
    assert [one.payload for one in rest] == [b"3"]
    assert await consumer.pending() == 4
    for one in (*first, *rest):
        await one.ack()
    await _until(lambda: _is(consumer.pending(), 0), "acks were not counted")
    await asyncio.sleep(ACK_WAIT_SECONDS * 1.3)
    assert await consumer.fetch(5, 0.0) == [], "something came again after its ack"
    await _end(bus, token, consumer)


async def _check_redelivery(bus: Bus, token: str) -> None:
    """What is not acknowledged comes again after ack_wait, not before; two share a durable."""
    consumer, other = await _consumer(bus, token), await _consumer(bus, token)
    sequence = await bus.publish(f"send.{token}.1.0", b"x")
    (first,) = await consumer.fetch(1, 1.0)
    assert await other.fetch(1, ACK_WAIT_SECONDS * 0.5) == [], "a message came to two"
    (second,) = await other.fetch(1, _SOON_SECONDS)
    assert (first.sequence, second.sequence) == (sequence, sequence)
    assert second.redelivered
    await second.ack()
    await other.close()
    await _end(bus, token, consumer)


async def _check_nak(bus: Bus, token: str) -> None:
    """What is given back comes after its delay."""
    consumer = await _consumer(bus, token)
    await bus.publish(f"send.{token}.1.0", b"x")
    (first,) = await consumer.fetch(1, 1.0)
    await first.nak(0.4)
    assert await consumer.fetch(1, 0.1) == [], "it came before its delay was over"
    (second,) = await consumer.fetch(1, _SOON_SECONDS)
    assert second.redelivered
    await second.nak()
    (third,) = await consumer.fetch(1, _SOON_SECONDS)
    await third.ack()
    await _end(bus, token, consumer)


async def _check_extension(bus: Bus, token: str) -> None:
    """As long as work is said to go on, nobody else gets the message."""
    consumer = await _consumer(bus, token)
    await bus.publish(f"send.{token}.1.0", b"x")
    (one,) = await consumer.fetch(1, 1.0)
    for _ in range(4):
        await asyncio.sleep(ACK_WAIT_SECONDS * 0.5)
        await one.extend()
    assert await consumer.fetch(1, ACK_WAIT_SECONDS * 0.3) == [], "an extended message came again"
    await one.ack()
    await _end(bus, token, consumer)


async def _check_stale_answers(bus: Bus, token: str) -> None:
    """An answer to an earlier delivery counts while the message is out again: so a zombie's ack takes it away."""
    consumer = await _consumer(bus, token)
    await bus.publish(f"send.{token}.1.0", b"x")
    (first,) = await consumer.fetch(1, 1.0)
    (second,) = await consumer.fetch(1, _SOON_SECONDS)
    assert second.redelivered
    await first.ack()
    await _until(lambda: _is(consumer.pending(), 0), "an ack of an earlier delivery was not counted")
    await asyncio.sleep(ACK_WAIT_SECONDS * 1.3)
    assert await consumer.fetch(1, 0.0) == []
    await _end(bus, token, consumer)


async def _check_most_out(bus: Bus, token: str) -> None:
    """No more than max_ack_pending are out; what is given back with a delay counts as out."""
    consumer = await _consumer(bus, token, most_out=2)
    for n in range(3):
        await bus.publish(f"send.{token}.1.{n}", b"%d" % n)
    out = await consumer.fetch(2, 1.0)
    assert [one.payload for one in out] == [b"0", b"1"]
    await out[0].nak(30.0)
    assert await consumer.fetch(1, 0.2) == [], "a message put back for later made room"
    await out[1].ack()
    assert [one.payload for one in await consumer.fetch(1, _SOON_SECONDS)] == [b"2"]
    await _end(bus, token, consumer)


async def _check_waiting_fetch(bus: Bus, token: str) -> None:
    """A fetch that waits returns with the first message, and empty-handed when its time is up."""
    consumer = await _consumer(bus, token)
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await consumer.fetch(1, 0.3) == []
    assert 0.25 <= loop.time() - began < 2.5
    waiting = asyncio.create_task(consumer.fetch(10, _SOON_SECONDS))
    await asyncio.sleep(0.1)
    await bus.publish(f"send.{token}.1.0", b"x")
    found = await waiting
    assert [one.payload for one in found] == [b"x"]
    await found[0].ack()
    await _end(bus, token, consumer)


async def _check_lost_consumer(bus: Bus, token: str) -> None:
    """A durable that was deleted is made again by the next fetch, and begins at the first message."""
    consumer = await _consumer(bus, token)
    await bus.publish(f"send.{token}.1.0", b"x")
    (one,) = await consumer.fetch(1, 1.0)
    await one.ack()
    await bus.delete_consumer(SEND, token)
    await bus.delete_consumer(SEND, token)
    found = await consumer.fetch(1, _SOON_SECONDS)
    assert [again.payload for again in found] == [b"x"]
    await _end(bus, token, consumer)


async def _consumer(bus: Bus, token: str, *, most_out: int = 100) -> Consumer:
    return await bus.consumer(
        SEND,
        durable=token,
        filter_subject=f"send.{token}.1.*",
        ack_wait_seconds=ACK_WAIT_SECONDS,
        max_ack_pending=most_out,
    )


async def _end(bus: Bus, token: str, consumer: Consumer) -> None:
    await consumer.close()
    await bus.delete_consumer(SEND, token)
    await bus.purge(SEND, f"send.{token}.>")


async def _refused(publish: Callable[[], Awaitable[int]]) -> None:
    try:
        await publish()
    except SequenceConflict:
        return
    except BusError as error:
        raise AssertionError(f"a stale sequence gave {error!r}") from error
    raise AssertionError("a stale sequence was stored")


async def _is(value: Awaitable[int], wanted: int) -> bool:
    return await value == wanted


async def _until(true: Callable[[], Awaitable[bool]], otherwise: str) -> None:
    """Wait until something is true; acks are sent without waiting."""
    for _ in range(50):
        if await true():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(otherwise)
