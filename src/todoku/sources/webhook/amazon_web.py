"""Fetch certificates of Amazon and confirm subscriptions: small GETs over HTTPS, nothing followed, nothing repeated."""

from __future__ import annotations

import ssl
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from todoku.sources.errors import CannotLook, Cause

_SECONDS: Final = 8.0  # SNS waits 15 for our answer
_MAX_BYTES: Final = 64 * 1024  # a certificate is 2 kB


class AmazonWeb:
    """Calls addresses of Amazon that were looked at before (see `sns`)."""

    def __init__(self, *, resolver: AbstractResolver | None = None, tls: ssl.SSLContext | None = None) -> None:
        """resolver, tls: other than the system's; for tests."""
        self._resolver = resolver
        self._tls = tls

    async def __call__(self, address: str) -> bytes:
        """Return what an address answers with 200; raises CannotLook for everything else."""
        connector = aiohttp.TCPConnector(resolver=self._resolver, ssl=self._tls or True)
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        host = address.split("/", 3)[2]
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=True) as session,
                session.get(URL(address, encoded=True), allow_redirects=False) as answer,
            ):
                if answer.status != 200:
                    raise _cannot(host, f"it answers {answer.status}")
                content = await answer.content.read(_MAX_BYTES + 1)
                while len(content) <= _MAX_BYTES and (more := await answer.content.read(_MAX_BYTES + 1)):
                    content += more
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _cannot(host, str(error) or type(error).__name__) from error
        if len(content) > _MAX_BYTES:
            raise _cannot(host, "its answer is too long")
        return content


def _cannot(host: str, why: str) -> CannotLook:
    return CannotLook(Cause.UNREACHABLE, f"{host} can't be asked: {why}", todo="let this machine reach it over HTTPS")
