"""Answer authorities that ask whether a host is ours: `/.well-known/acme-challenge/<token>` (RFC 8555 section 8.3).

It stands before Django, which would refuse a host name that is none of its own: a mail server's.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

import structlog

from todoku.bus.errors import BusError

log = structlog.get_logger(__name__)

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

PREFIX: Final = "/.well-known/acme-challenge/"
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{22,128}")
_AT_ONCE: Final = 8  # an authority asks from five places; strangers must not keep the bus busy
_SECONDS: Final = 5.0


class Answers(Protocol):
    """Where answers are found."""

    async def find(self, token: str) -> str | None:
        """Return the answer of a token, None when there is none; raises the bus's transient errors."""
        ...


_connected: list[Answers] = []


def connect(answers: Answers | None) -> None:
    """Set where this process finds answers; the last call counts, None ends it."""
    _connected[:] = [answers] if answers is not None else []


class ChallengeDoor:
    """An ASGI application that answers authorities itself and hands everything else on."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._asking = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._application(scope, receive, send)
            return
        if scope["method"] not in {"GET", "HEAD"}:
            status, text = 405, ""
        else:
            status, text = await self._find(scope["path"].removeprefix(PREFIX))
        body = text.encode("ascii", "replace")
        headers = [
            (b"content-type", b"application/octet-stream"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _find(self, token: str) -> tuple[int, str]:
        if not _TOKEN.fullmatch(token):
            return 404, ""
        if not _connected or self._asking >= _AT_ONCE:
            return 503, ""
        self._asking += 1
        try:
            async with asyncio.timeout(_SECONDS):
                answer = await _connected[0].find(token)
        except (BusError, TimeoutError) as error:
            log.warning("acme.challenge_not_answered", error=str(error) or type(error).__name__)
            return 503, ""
        finally:
            self._asking -= 1
        log.info("acme.challenge_asked", known=answer is not None)
        return (200, answer) if answer is not None else (404, "")
