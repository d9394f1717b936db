"""Requests over HTTP: a POST whose end is announced before it is written, so nobody guesses what became of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import aiohttp
from yarl import URL

from todoku.delivery.errors import HandOverForbidden
from todoku.delivery.transports.one_by_one import Mark, Verdict
from todoku.delivery.types import AnswerKind

_MOST_ANSWER_OCTETS = 65_536


CLOSED = Verdict(AnswerKind.TEMPORARY, "the transport was closed", relay_failed=True, everybody=True)


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Seconds. answer_seconds: of silence; whole_seconds: of one request, whatever drips in.

    keep_seconds: idle connections are dropped before the other side does it, which would look like a loss.
    """

    connect_seconds: float = 10.0
    answer_seconds: float = 60.0
    whole_seconds: float = 120.0
    keep_seconds: float = 4.0


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A whole answer; body: at most 64 KB of it."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpPool:
    """Connections to one API, opened when they are needed. Proxies come from the environment."""

    def __init__(self, connections: int, limits: HttpLimits) -> None:
        """Prepare, connect nothing yet."""
        self._connections = connections
        self._limits = limits
        self._session: aiohttp.ClientSession | None = None
        self.closed = False

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, mark: Mark) -> HttpAnswer | Verdict:
        """Return the answer, or the verdict when there is none: TEMPORARY before the end was written, else UNKNOWN.

        Redirects are not followed: a POST that is sent again may arrive twice. Raises HandOverForbidden when the mark
        does.
        """
        if self.closed:
            return CLOSED
        end = _End(body, mark)
        target = URL(url, encoded=True)
        sized = {**headers, "Content-Length": str(len(body))}
        try:
            async with self._opened().post(target, data=end.octets(), headers=sized, allow_redirects=False) as response:
                return HttpAnswer(response.status, dict(response.headers), await _body_of(response))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            if end.forbidden is not None:
                raise end.forbidden from None
            words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            if end.announced:
                return Verdict(AnswerKind.UNKNOWN, f"no answer after the whole message was written: {words}")
            nobody = isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError))
            return Verdict(AnswerKind.TEMPORARY, f"not handed over: {words}", relay_failed=True, everybody=nobody)

    async def get(self, url: str, headers: Mapping[str, str]) -> HttpAnswer:
        """Ask for something that changes nothing; raises OSError."""
        try:
            async with self._opened().get(URL(url, encoded=True), headers=headers, allow_redirects=False) as response:
                return HttpAnswer(response.status, dict(response.headers), await _body_of(response))
        except aiohttp.ClientError as error:
            raise ConnectionError(str(error)) from error

    async def close(self) -> None:
        """Close the connections; what is under way is UNKNOWN, what comes later TEMPORARY."""
        self.closed = True
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            limits = self._limits
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=limits.keep_seconds),
                timeout=aiohttp.ClientTimeout(
                    total=limits.whole_seconds,
                    sock_connect=limits.connect_seconds,
                    sock_read=limits.answer_seconds,
                ),
                trust_env=True,
            )
        return self._session


async def _body_of(response: aiohttp.ClientResponse) -> bytes:
    """Return the answer's body as far as it came: its status line has said what counts."""
    body = b""
    try:
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > _MOST_ANSWER_OCTETS:
                response.close()
                break
    except (aiohttp.ClientError, OSError, TimeoutError):
        response.close()
    return body[:_MOST_ANSWER_OCTETS]


class _End:
    """A body that announces its last octet. forbidden: what the announcement raised."""

    def __init__(self, body: bytes, mark: Mark) -> None:
        self.announced = False
        self.forbidden: HandOverForbidden | None = None
        self._body = body
        self._mark = mark

    async def octets(self) -> AsyncIterator[bytes]:
        yield self._body[:-1]
        try:
            self._mark()
        except HandOverForbidden as error:
            self.forbidden = error
            raise
        self.announced = True
        yield self._body[-1:]
