"""Reads of stored messages: the last one of a subject, and many in order.

A stream with three copies lets any of them answer a direct read, and a follower may be behind, or cut off and far
behind. So in a cluster the last message of a subject is asked of the leader, and who reads many messages asks the
leader first how far they go.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec

from todoku.bus import wire
from todoku.bus.errors import BusError, BusUnavailable
from todoku.bus.link import Link
from todoku.bus.types import StoredMessage

READ_BATCH = 512
READ_BATCH_BYTES = 8 * 1024 * 1024
ATTEMPT_SECONDS = 2.0  # in a cluster an answer may be lost with a leader; asking again is cheaper than waiting
RETRY_SECONDS = 0.1
_BEHIND_SECONDS = 5.0

Marked = tuple[StoredMessage, bool]  # the flag: this message marks a deleted key


async def read_last(link: Link, stream: str, subject: str, timeout_seconds: float = 5.0) -> Marked | None:
    """Return the newest message of a subject, None when there is none. Raises BusUnavailable."""
    if link.clustered:
        return await _ask_leader(link, stream, subject, timeout_seconds)
    message = await link.request(f"{wire.API}DIRECT.GET.{stream}.{subject}", b"", timeout_seconds)
    status = wire.header(message.headers, wire.STATUS)
    if status == wire.NO_RESPONDERS:
        raise stream_missing(stream)
    if status:
        return None
    return wire.stored_message(message.data, message.headers), bool(wire.header(message.headers, wire.KV_OPERATION))


async def read_all(link: Link, stream: str, subject_filter: str, after_sequence: int = 0) -> AsyncIterator[Marked]:
    """Give every later message that matches and was stored before the call, oldest first, perhaps newer ones too.

    A lost connection and, in a cluster, a copy that is behind are waited for; raises BusUnavailable after 5 s of it.
    """
    newest = await _newest_sequence(link, stream, subject_filter) if link.clustered else 0
    clock, next_sequence = asyncio.get_running_loop().time, after_sequence + 1
    deadline = clock() + _BEHIND_SECONDS
    while True:
        batch, more = await read_batch(link, stream, subject_filter, next_sequence)
        for entry in batch:
            yield entry
        if batch:
            next_sequence = batch[-1][0].sequence + 1
            deadline = clock() + _BEHIND_SECONDS
        if more:
            continue
        if next_sequence > newest:
            return
        if clock() >= deadline:
            raise BusUnavailable(f"no copy of {stream} has what its leader has", kept="all of it", todo="try again")
        await asyncio.sleep(RETRY_SECONDS)
        newest = min(newest, await _newest_sequence(link, stream, subject_filter))  # it may be purged meanwhile


async def read_batch(link: Link, stream: str, subject_filter: str, start: int) -> tuple[list[Marked], bool]:
    """Read up to 512 messages from a sequence on; the flag tells whether there may be more. Raises BusUnavailable.

    Any copy of the stream may answer, so the newest messages may be missing.
    """
    await link.until_up(5.0)
    reply, queue = link.open_answers()
    body = {"batch": READ_BATCH, "max_bytes": READ_BATCH_BYTES, "seq": start, "next_by_subj": subject_filter}
    batch: list[Marked] = []
    try:
        await link.send(f"{wire.API}DIRECT.GET.{stream}", msgspec.json.encode(body), reply)
        while True:
            async with asyncio.timeout(5.0):
                message = await queue.get()
            if message is None:
                return batch, True  # the connection broke: go on after what came
            status = wire.header(message.headers, wire.STATUS)
            if status == wire.NO_RESPONDERS:
                link.troubled()
                raise stream_missing(stream)
            if status == wire.NOT_FOUND:
                return batch, False
            if status == wire.END_OF_BATCH:
                return batch, wire.header(message.headers, "Nats-Num-Pending") != "0"
            if status:
                description = wire.header(message.headers, wire.DESCRIPTION)
                raise BusError(f"NATS refuses to read {stream}: {status} {description}")
            deleted = bool(wire.header(message.headers, wire.KV_OPERATION))
            batch.append((wire.stored_message(message.data, message.headers), deleted))
    except TimeoutError:
        link.troubled()
        raise BusUnavailable(f"NATS stopped answering while {stream} was read", todo="try again") from None
    finally:
        link.close_answers(reply)


async def _newest_sequence(link: Link, stream: str, subject_filter: str) -> int:
    found = await _ask_leader(link, stream, subject_filter, _BEHIND_SECONDS)
    return 0 if found is None else found[0].sequence


async def _ask_leader(link: Link, stream: str, subject: str, timeout_seconds: float) -> Marked | None:
    """Ask until there is a leader to answer, as long as there is time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_seconds
    while True:
        wait_seconds = min(ATTEMPT_SECONDS, max(deadline - loop.time(), RETRY_SECONDS))
        try:
            answer = await link.api(
                f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject}, wire.MessageAnswer, wait_seconds
            )
            if answer.error is not None and answer.error.err_code == wire.ERROR_NO_MESSAGE:
                return None
            require(answer.error, stream)
            return wire.kept_message(answer.message)
        except BusUnavailable:
            if link.closed or deadline - loop.time() <= 2 * RETRY_SECONDS:
                raise
        await asyncio.sleep(RETRY_SECONDS)


def require(error: wire.ApiError | None, stream: str) -> None:
    """Raise what an answer's error means; do nothing when it has none."""
    if error is None:
        return
    if error.err_code == wire.ERROR_STREAM_MISSING:
        raise stream_missing(stream)
    if error.code >= 500:
        raise BusUnavailable(f"NATS can't answer about {stream}: {error.description}", todo="try again")
    raise BusError(f"NATS refuses to answer about {stream}: {error.description}")


def stream_missing(stream: str) -> BusUnavailable:
    """Return the error for a stream that nobody answers for."""
    return BusUnavailable(
        f"there is no stream for {stream}",
        todo="declare the streams (`Bus.declare`); in a cluster, see whether most servers are up",
    )
