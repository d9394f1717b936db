"""The audience of one run on its way to the sealer: packed in a thread, or beside us in a process when it is big.

A thread shares the interpreter with the planner's loop and with whatever else this process does, so it is for
audiences that are over in a moment. Memory is constant: a few batches on their way.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing

import msgspec
import psycopg
import structlog
from django.db import Error as DatabaseError
from django.db import connection

from todoku.campaigns.audience_sources import AudienceSource
from todoku.campaigns.errors import AudienceUnreadable
from todoku.campaigns.packing import Packed, PackFailed, PackJob, pack
from todoku.campaigns.packing_process import LENGTH

log = structlog.get_logger(__name__)

_decoder = msgspec.msgpack.Decoder(Packed)
_PIPE_BYTES = 1024 * 1024
_END_SECONDS = 5.0


async def packed_audience(source: AudienceSource, own_process: bool) -> AsyncGenerator[Packed, None]:
    """Yield what packing yields, PackedEnd last. Raises AudienceUnreadable, content.errors.TemplateInvalid."""
    packing = _in_process(source.job) if own_process else _in_thread(source)
    async with aclosing(packing):
        async for packed in packing:
            yield packed


async def _in_thread(audience: AudienceSource) -> AsyncGenerator[Packed, None]:
    loop = asyncio.get_running_loop()
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audience")
    source = _guarded(audience)
    try:
        while (packed := await loop.run_in_executor(thread, next, source, None)) is not None:
            yield packed
    finally:
        thread.submit(source.close)
        thread.shutdown(wait=False)  # the thread ends with the group it is at; the event loop does not wait for it


def _guarded(audience: AudienceSource) -> Generator[Packed, None, None]:
    try:
        yield from pack(audience.job, audience.people() if audience.people is not None else None)
    except (psycopg.Error, DatabaseError) as error:
        raise AudienceUnreadable(f"{type(error).__name__}: {error}", transient=True) from error
    finally:
        connection.close()  # Django's, of this thread: some audiences are read through it


async def _in_process(job: PackJob) -> AsyncGenerator[Packed, None]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "todoku.campaigns.packing_process",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_PIPE_BYTES,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        data = msgspec.msgpack.encode(job)
        process.stdin.write(LENGTH.pack(len(data)) + data)
        await process.stdin.drain()
        while True:
            (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
            packed = _decoder.decode(await process.stdout.readexactly(length))
            if isinstance(packed, PackFailed):
                raise AudienceUnreadable(f"{packed.kind}: {packed.error}", transient=packed.transient)
            yield packed
            if packed.__struct_config__.tag == "end":
                return
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise AudienceUnreadable("the process that packs the audience died", transient=True) from error
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
