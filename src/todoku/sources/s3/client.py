"""Signed requests to S3 and SQS, and what it means when there is no answer.

Ours over aiohttp, because the SDKs repeat requests, decompress bodies and can't tell the refusals apart.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from todoku.kernel.clock import Clock
from todoku.kernel.retry import BackOff
from todoku.sources.credentials import Credential, Keyring, log_in
from todoku.sources.errors import CannotLook, Cause, CredentialRefused
from todoku.sources.s3.answers import Answer
from todoku.sources.s3.settings import S3Settings
from todoku.sources.s3.signature import Request, sign
from todoku.sources.tls import client_context, tls_trouble

MOST_ANSWER_BYTES: Final = 24 * 1024 * 1024  # 1,000 names of 1,024 octets, or ten notifications of 1 MB, encoded
_CONNECTIONS: Final = 16
_TRIES: Final = 3
_BACK_OFF: Final = BackOff(base_seconds=0.2, cap_seconds=2.0)
Result = TypeVar("Result")


class AwsClient:
    """Connections to one bucket and one queue, opened when they are needed."""

    def __init__(self, settings: S3Settings, clock: Clock) -> None:
        self.clock = clock
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def open(
        self, request: Request, credential: Credential, service: str, *, patience_seconds: float = 0.0
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send the request and give the answer when its headers are there; the body is the caller's to read.

        patience_seconds: of silence more than usual, for a long poll. Raises CannotLook, CredentialRefused.
        """
        settings = self._settings
        headers = sign(request, credential, service, settings.region, self.clock.now_utc())
        query = request.query_text
        target = URL(f"{request.url}?{query}" if query else request.url, encoded=True)
        timeout = aiohttp.ClientTimeout(
            total=settings.whole_seconds + patience_seconds,
            sock_connect=settings.connect_seconds,
            sock_read=settings.answer_seconds + patience_seconds,
        )
        try:
            response = await self._opened().request(
                request.method,
                target,
                headers=headers,
                data=request.body or None,
                allow_redirects=False,
                timeout=timeout,
            )
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise _no_answer(error, request.url) from error
        try:
            yield response
        finally:
            if response.content.at_eof():
                response.release()
            else:
                response.close()

    async def ask(
        self, request: Request, credential: Credential, service: str, *, patience_seconds: float = 0.0
    ) -> Answer:
        """Return the whole answer, whatever it says; one that breaks off is none. Raises CannotLook."""
        async with self.open(request, credential, service, patience_seconds=patience_seconds) as response:
            return await read_answer(response, request.url)

    async def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS, ssl=client_context(self._settings.ca_pem)),
                auto_decompress=False,  # a mail that somebody stored with Content-Encoding is those bytes
                trust_env=True,
                skip_auto_headers=("Content-Type", "Accept-Encoding", "User-Agent"),
            )
        return self._session


class Login:
    """The credential that works now. One whose request is refused sends us back to the keyring, which is asked anew."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._current: Credential | None = None
        self._lock = asyncio.Lock()

    async def run(self, attempt: Callable[[Credential], Awaitable[Result]], *, anew: bool = False) -> Result:
        """Return what the attempt does with a credential that the server takes.

        anew: go through the keyring although one works, so that a better or renewed one is used. Raises CannotLook
        (cause `credential` when none is left), and what the attempt raises.
        """
        tried = self._current
        if tried is not None and not anew:
            try:
                return await attempt(tried)
            except CredentialRefused:
                pass  # renewed meanwhile, it may be: the keyring says
        async with self._lock:
            if self._current is not None and self._current is not tried and not anew:
                try:
                    return await attempt(self._current)
                except CredentialRefused:
                    pass
            self._current = None

            async def with_one(credential: Credential) -> tuple[Credential, Result]:
                try:
                    return credential, await attempt(credential)
                except CredentialRefused as error:
                    raise CredentialRefused(_without_secrets(error.what, credential)) from None

            self._current, result = await log_in(self._keyring, with_one)
            return result


async def read_answer(response: aiohttp.ClientResponse, url: str) -> Answer:
    """Return status, headers and body of an answer that must not be large; raises CannotLook when it breaks off."""
    body = bytearray()
    try:
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > MOST_ANSWER_BYTES:
                raise CannotLook(Cause.PROTOCOL, f"{_host(url)} sends more than {MOST_ANSWER_BYTES >> 20} MB")
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise _no_answer(error, url) from error
    return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, bytes(body))


async def with_patience(ask: Callable[[], Awaitable[Result]]) -> Result:
    """Ask again a few times while the server is busy: of the 1,000 pages of a large listing one fails now and then."""
    for attempt in range(_TRIES - 1):
        try:
            return await ask()
        except CannotLook as error:
            if error.cause is not Cause.UNREACHABLE:
                raise
        await asyncio.sleep(_BACK_OFF.wait_seconds(attempt, randomness=random.Random()))  # noqa: S311
    return await ask()


def _no_answer(error: Exception, url: str) -> CannotLook | CredentialRefused:
    host = _host(url)
    # what OpenSSL said first: aiohttp's own error for a bad certificate is an SSLError too, and says nothing
    for inner in (getattr(error, "certificate_error", None), getattr(error, "os_error", None), error.__cause__, error):
        if isinstance(inner, ssl.SSLError):
            return tls_trouble(inner, host)
    if isinstance(error, TimeoutError):
        return CannotLook(Cause.UNREACHABLE, f"{host} did not answer in time")
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.InvalidURL):
        return CannotLook(Cause.PROTOCOL, f"{host} does not speak HTTP as expected: {type(error).__name__}")
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return CannotLook(Cause.UNREACHABLE, f"{host}: {words}")


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _without_secrets(text: str, credential: Credential) -> str:
    """Return the server's words without what it repeated of ours."""
    for value in credential.secrets.values():
        if len(value) >= 4:
            text = text.replace(value, "…")
    return text
