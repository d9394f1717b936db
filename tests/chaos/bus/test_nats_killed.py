from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from todoku.bus.connection import Bus
from todoku.bus.errors import BusUnavailable, PublishUnknown, SequenceConflict
from todoku.bus.streams import JOURNAL, MAIL
from todoku.engines.nats import EmbeddedNats


def kill(engine: EmbeddedNats) -> None:
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)


def _stands_still(pid: int) -> bool:
    """Tell whether each thread has stopped: a signal takes its time on a busy machine."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return all((thread / "stat").read_text().rpartition(")")[2].split()[0] == "T" for thread in threads)


async def until(met: Callable[[], bool], timeout_seconds: float = 60.0) -> None:
    async with asyncio.timeout(timeout_seconds):
        while not met():  # noqa: ASYNC110  # what is looked at has no event
            await asyncio.sleep(0.02)


async def publish_until_known(bus: Bus, subject: str, payload: bytes, message_id: str) -> int:
    """Do what every writer does: the same id until the answer is known."""
    while True:
        try:
            return await bus.publish(subject, payload, message_id=message_id, timeout_seconds=2.0)
        except (BusUnavailable, PublishUnknown):
            await asyncio.sleep(0.05)


async def test_acknowledged_publishes_survive_kills_and_nothing_is_doubled(engine: EmbeddedNats) -> None:
    url = (engine.home / "run" / "nats.url").read_text(encoding="utf-8")
    bus = await Bus.connect(url, name="writer", wait_seconds=10)
    await bus.declare()
    acknowledged: dict[int, str] = {}
    stop = asyncio.Event()

    async def write(writer: int) -> None:
        n = 0
        while not stop.is_set():
            name = f"{writer}-{n}"
            acknowledged[await publish_until_known(bus, f"mail.p{writer}.smtp", name.encode(), name)] = name
            n += 1

    writers = [asyncio.create_task(write(n)) for n in range(16)]
    for _ in range(3):
        await asyncio.sleep(0.4)
        before = len(acknowledged)
        kill(engine)
        await asyncio.to_thread(engine.restart)
        await until(lambda goal=before + 50: len(acknowledged) >= goal)  # type: ignore[misc]
    stop.set()
    await asyncio.gather(*writers)
    stored = {message.sequence: message.payload.decode() async for message in bus.messages(MAIL, "mail.*.*")}
    await bus.close()
    assert stored == acknowledged
    assert len(set(stored.values())) == len(stored)


async def test_a_reader_carries_on_and_sees_every_message(engine: EmbeddedNats) -> None:
    url = (engine.home / "run" / "nats.url").read_text(encoding="utf-8")
    writer = await Bus.connect(url, name="writer", wait_seconds=10)
    reader = await Bus.connect(url, name="reader", wait_seconds=10)
    await writer.declare()
    consumer = await reader.consumer(MAIL, durable="reader", filter_subject="mail.p.*", ack_wait_seconds=2.0)
    seen: set[bytes] = set()
    total = 900

    async def read() -> None:
        while len(seen) < total:
            try:
                messages = await consumer.fetch(50, 0.5)
                for message in messages:
                    seen.add(message.payload)
                    await message.ack()
            except BusUnavailable:
                continue

    reading = asyncio.create_task(read())
    for n in range(total):
        await publish_until_known(writer, "mail.p.smtp", str(n).encode(), str(n))
        if n % 300 == 150:
            kill(engine)
            await asyncio.to_thread(engine.restart)
    async with asyncio.timeout(30):
        await reading
    assert seen == {str(n).encode() for n in range(total)}
    await asyncio.gather(writer.close(), reader.close())


async def test_a_watch_misses_no_change_made_while_nats_was_away(engine: EmbeddedNats) -> None:
    url = (engine.home / "run" / "nats.url").read_text(encoding="utf-8")
    writer = await Bus.connect(url, name="writer", wait_seconds=10)
    await writer.declare()
    watcher = await Bus.connect(url, name="watcher", wait_seconds=10)
    present: dict[str, bytes] = {}

    def note(key: str, value: bytes | None) -> None:
        if value is None:
            present.pop(key, None)
        else:
            present[key] = value

    bucket = writer.bucket("runs")
    await bucket.put("stays", b"1")
    await bucket.put("goes", b"1")
    watch = await watcher.bucket("runs").watch(note)
    assert present == {"stays": b"1", "goes": b"1"}
    for turn in range(2):
        kill(engine)
        await asyncio.to_thread(engine.restart)
        await writer.link.until_up(10)
        await bucket.put("stays", str(turn).encode())
        await bucket.delete("goes")
        await bucket.put(f"new{turn}", b"n")
    await until(lambda: present == {"stays": b"1", "new0": b"n", "new1": b"n"})
    await watch.stop()
    await asyncio.gather(writer.close(), watcher.close())


async def test_while_nats_is_away_every_call_ends_in_time(engine: EmbeddedNats) -> None:
    url = (engine.home / "run" / "nats.url").read_text(encoding="utf-8")
    bus = await Bus.connect(url, name="lonely", wait_seconds=10)
    await bus.declare()
    engine.stop()
    await until(lambda: bus.generation > 0)
    async with asyncio.timeout(12):
        with pytest.raises(BusUnavailable, match="nothing was sent"):
            await bus.publish("mail.p.smtp", b"x", timeout_seconds=0.3)
        with pytest.raises(BusUnavailable):
            await bus.last_message(MAIL, "mail.p.smtp")
        with pytest.raises(BusUnavailable):
            await bus.publish_many([("mail.p.smtp", b"x", None)] * 3, timeout_seconds=0.3)
    engine.start()
    assert await bus.publish("mail.p.smtp", b"x", timeout_seconds=10) == 1
    await bus.close()


async def test_a_server_that_stops_answering_makes_publishes_unknown(engine: EmbeddedNats) -> None:
    url = (engine.home / "run" / "nats.url").read_text(encoding="utf-8")
    bus = await Bus.connect(url, name="patient", wait_seconds=10)
    await bus.declare()
    subject = "journal.r.1.0"
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGSTOP)
    await until(partial(_stands_still, engine.pid))
    try:
        with pytest.raises(PublishUnknown, match="same message_id"):
            await bus.publish(
                subject, b"mine", message_id="mine", expected_last_subject_sequence=0, timeout_seconds=0.3
            )
    finally:
        os.kill(engine.pid, signal.SIGCONT)
    # it was stored after all, and the retry learns so; a stranger is refused
    sequence = await bus.publish(subject, b"mine", message_id="mine", expected_last_subject_sequence=0)
    with pytest.raises(SequenceConflict):
        await bus.publish(subject, b"other", message_id="other", expected_last_subject_sequence=0)
    last = await bus.last_message(JOURNAL, subject)
    assert last is not None
    assert (last.sequence, last.payload) == (sequence, b"mine")
    await bus.close()


async def test_a_closed_connection_comes_back_with_its_subscriptions(engine: EmbeddedNats) -> None:
    url = (engine.home / "run" / "nats.url").read_text(encoding="utf-8")
    bus = await Bus.connect(url, name="closed", wait_seconds=10)
    await bus.declare()
    seen: asyncio.Queue[bytes] = asyncio.Queue()
    await bus.subscribe_live("event.p.>", lambda subject, payload: seen.put_nowait(payload))
    # an error line of the server closes nats-py's client for good; a malformed command draws one
    bus.link._client._transport.write(b"NONSENSE\r\n")  # type: ignore[union-attr]
    await until(lambda: bus.generation > 0)
    async with asyncio.timeout(15):
        await bus.publish_event("p", "kind", {"n": 1})
        assert await seen.get()
    await bus.close()


async def test_stop_and_start_is_survived_as_well(engine: EmbeddedNats) -> None:
    url = (engine.home / "run" / "nats.url").read_text(encoding="utf-8")
    bus = await Bus.connect(url, name="polite", wait_seconds=10)
    await bus.declare()
    for n in range(3):
        assert await bus.publish("mail.p.smtp", b"x", timeout_seconds=10) == n + 1
        await asyncio.to_thread(engine.restart)
    await bus.close()
