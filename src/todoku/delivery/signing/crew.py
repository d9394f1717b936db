"""The processes that sign for one sender: started when they are needed, replaced when they die."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import Sequence

import msgspec
import structlog

from todoku.delivery.signing.signing_process import LENGTH_OCTETS, frame, sign_digests

log = structlog.get_logger(__name__)

_COMMAND = (sys.executable, "-c", "from todoku.delivery.signing.signing_process import main; main()")
_ATTEMPTS = 2  # by processes; then the sender's own thread signs
_PATIENCE_SECONDS = 20.0  # some 40,000 signatures with RSA; what takes longer stands still


class _Ended(Exception):
    """The process has gone; what it was asked is not answered."""


class _Worker:
    """One signing process, and the questions that it has not answered yet, oldest first."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._requests, self._answers = process.stdin, process.stdout
        self._waiting: deque[asyncio.Future[list[bytes]]] = deque()
        self.burden = 0  # digests that it was given and has not signed yet
        self.ended = False
        self._reading = asyncio.create_task(self._read(), name=f"signing-{process.pid}")

    async def sign(self, pem: bytes, digests: Sequence[bytes]) -> list[bytes]:
        """Return the signatures; raises _Ended."""
        if self.ended:
            raise _Ended
        answer: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self.burden += len(digests)
        try:
            self._requests.write(frame(pem, digests))
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await answer
        except TimeoutError:
            self.ended = True
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            raise _Ended("it stood still") from None
        finally:
            self.burden -= len(digests)

    async def close(self) -> None:
        """Let it end when it has signed what it has; kills nothing."""
        self._requests.close()
        await self._reading
        await self._process.wait()

    async def _read(self) -> None:
        try:
            while True:
                opening = await self._answers.readexactly(LENGTH_OCTETS)
                payload = await self._answers.readexactly(int.from_bytes(opening, "big"))
                answer = self._waiting.popleft()
                if not answer.done():  # who asked may have been cancelled
                    answer.set_result(msgspec.msgpack.decode(payload, type=list[bytes]))
        except (asyncio.IncompleteReadError, OSError):
            self.ended = True
            for answer in self._waiting:
                if not answer.done():
                    answer.set_exception(_Ended())


class SigningCrew:
    """At most so many signing processes; belongs to one event loop."""

    def __init__(self, most: int) -> None:
        """Start nothing yet."""
        self._most = most
        self._workers: list[_Worker] = []
        self._starting = asyncio.Lock()

    async def sign(self, pem: bytes, digests: Sequence[bytes]) -> list[bytes]:
        """Return the signature of each SHA-256 with the key.

        A process that dies or stands still is replaced, and its work is done again: the same octets, so nothing is
        lost or doubled. When none can be had, a thread of this process signs: slower, but it signs. Raises BadDkimKey.
        """
        for _ in range(_ATTEMPTS):
            try:
                worker = await self._least_burdened()
                return await worker.sign(pem, digests)
            except (_Ended, OSError) as error:
                log.warning("dkim.process_ended", why=str(error) or "it ended", kept="what it had is signed again")
        return await asyncio.to_thread(sign_digests, pem, digests)

    async def close(self) -> None:
        """Let all processes end."""
        workers, self._workers = self._workers, []
        await asyncio.gather(*(worker.close() for worker in workers))

    async def _least_burdened(self) -> _Worker:
        async with self._starting:
            for gone in [worker for worker in self._workers if worker.ended]:
                self._workers.remove(gone)
                await gone.close()
            if len(self._workers) < self._most and all(worker.burden for worker in self._workers):
                pipe = asyncio.subprocess.PIPE
                process = await asyncio.create_subprocess_exec(*_COMMAND, stdin=pipe, stdout=pipe)
                self._workers.append(_Worker(process))
        return min(self._workers, key=lambda worker: worker.burden)
