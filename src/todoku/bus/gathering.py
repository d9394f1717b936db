"""Publishes that come together are stored together: one fsync for all of them instead of one for each.

A server that stores with `sync_interval: always` syncs once for an atomic batch since 2.15 (NATS ADR-50): 16,000
messages a second in batches of 128, 1,500 to 3,000 alone. Older servers and clusters get each message alone, as ever. A
batch is all or nothing. When the server refuses it (an id in it is known already, a message is too large), each of its
messages goes alone and gets the answer that it would have had.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from uuid import uuid4

import msgspec

from todoku.bus import wire
from todoku.bus.errors import BusError, MessageTooLarge, PublishUnknown
from todoku.bus.link import Link, NoAnswer

MOST_TOGETHER = 200  # the server takes 1,000
_MOST_IN_FLIGHT = 2  # while one batch is synced, the next is gathered and a second is on its way

PublishAlone = Callable[[str, bytes, str], Awaitable[int]]


class _Item(NamedTuple):
    subject: str
    payload: bytes
    message_id: str
    answer: asyncio.Future[int]


class Gathering:
    """The publishes to one stream that wait for each other; of one event loop."""

    def __init__(self, link: Link, publish_alone: PublishAlone) -> None:
        """publish_alone: subject, payload, message id -> sequence; raises as `Bus.publish`."""
        self._link = link
        self._publish_alone = publish_alone
        self._waiting: list[_Item] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._called = False

    async def publish(self, subject: str, payload: bytes, message_id: str) -> int:
        """Store one message and return its sequence; see `Bus.publish_together`."""
        loop = asyncio.get_running_loop()
        item = _Item(subject, payload, message_id, loop.create_future())
        self._waiting.append(item)
        if not self._called:
            self._called = True
            loop.call_soon(self._go)
        return await item.answer

    def _go(self) -> None:
        self._called = False
        while self._waiting and len(self._tasks) < _MOST_IN_FLIGHT:
            items, self._waiting = self._waiting[:MOST_TOGETHER], self._waiting[MOST_TOGETHER:]
            task = asyncio.create_task(self._send(items))
            self._tasks.add(task)
            task.add_done_callback(self._gone)

    def _gone(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._go()

    async def _send(self, items: list[_Item]) -> None:
        try:
            last = await self._send_together(items) if len(items) > 1 and self._link.batches_sync_once else None
            if last is None:
                await asyncio.gather(*(self._send_alone(item) for item in items))
                return
            for place, item in enumerate(items):
                _settle(item, last - len(items) + 1 + place)
        except Exception as error:  # noqa: BLE001  # whoever waits hears of it, whatever it is
            for item in items:
                _settle(item, error)

    async def _send_alone(self, item: _Item) -> None:
        try:
            _settle(item, await self._publish_alone(item.subject, item.payload, item.message_id))
        except BusError as error:
            _settle(item, error)

    async def _send_together(self, items: list[_Item], timeout_seconds: float = 5.0) -> int | None:
        """Store them as one batch and return the last one's sequence; None when the server stored none of them."""
        batch_id = uuid4().hex
        await self._link.until_up(timeout_seconds)
        try:
            for number, item in enumerate(items[:-1], 1):
                await self._link.send(item.subject, item.payload, headers=_headers(item, batch_id, number))
            last = items[-1]
            headers = _headers(last, batch_id, len(items)) | {wire.BATCH_COMMIT: "1"}
            message = await (await self._link.submit(last.subject, last.payload, headers, timeout_seconds))
        except MessageTooLarge:
            return None
        except NoAnswer as error:
            self._link.troubled()
            raise PublishUnknown(
                f"no acknowledgement for {len(items)} messages ({error})",
                kept="the messages may be stored or not",
                todo="publish them again with the same message ids",
            ) from None
        if wire.header(message.headers, wire.STATUS) == wire.NO_RESPONDERS:
            return None  # nobody takes the last one's subject; the others may be another stream's
        answer = msgspec.json.decode(message.data, type=wire.PublishAnswer)
        if answer.error is not None or answer.count != len(items):
            return None  # what a server without batches may have stored is known by its ids
        self._link.served()
        return answer.seq


def _headers(item: _Item, batch_id: str, number: int) -> dict[str, str]:
    return {wire.MESSAGE_ID: item.message_id, wire.BATCH_ID: batch_id, wire.BATCH_SEQUENCE: str(number)}


def _settle(item: _Item, answer: int | Exception) -> None:
    if item.answer.done():
        return  # who asked was cancelled
    if isinstance(answer, int):
        item.answer.set_result(answer)
    else:
        item.answer.set_exception(answer)
