"""The door for calls of mail providers, before Django: nothing of a call is read before it is known whose it is."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Any, Final

import structlog

from todoku.api.inbound.ports import reception
from todoku.kernel.errors import ConfigurationError
from todoku.sources.webhook.memory import Octets
from todoku.sources.webhook.reception import MAX_CALL_BYTES, Reception
from todoku.sources.webhook.types import Answer, Call, WebhookPlace

log = structlog.get_logger(__name__)

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

PREFIX: Final = "/inbound/"
BODY_SECONDS: Final = 300.0  # SendGrid's 30 MB over a line of 1 Mbit/s
_DRAIN_SECONDS: Final = 30.0
_DRAIN_BYTES: Final = 64 * 1024 * 1024
_ADDRESS: Final = re.compile(r"/inbound/([a-z]{1,20})/([A-Za-z0-9_-]{22,128})(?:/mime)?/?")  # /mime: asked by Mailgun
_METHODS: Final = "GET, HEAD, OPTIONS, POST"


class _Unread(StrEnum):
    """Why a body was not read to its end."""

    TOO_LARGE = "webhook.too_large"
    TOO_SLOW = "webhook.too_slow"
    BUSY = "webhook.busy"
    GONE = "webhook.gone"


class _Body:
    """The octets of a body that came so far."""

    def __init__(self) -> None:
        self.size = 0
        self.ended = False
        self._chunks: list[bytes] = []

    def add(self, chunk: bytes) -> None:
        """Add what came."""
        self._chunks.append(chunk)
        self.size += len(chunk)

    def take(self) -> bytes:
        """Return it all and hold none of it any more."""
        whole = b"".join(self._chunks)
        self._chunks.clear()
        return whole


class InboundDoor:
    """An ASGI application that takes `/inbound/…` itself and hands everything else on.

    Django is not in the way of a call: its handler writes bodies of any size to disk before a view sees them, and its
    middleware answers what it dislikes (a host, a size, a slash) by 400 or 301, after which SendGrid drops the mail.
    """

    def __init__(self, application: Application, *, octets: Octets | None = None) -> None:
        self._application = application
        self._octets = octets if octets is not None else Octets()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._application(scope, receive, send)
            return
        method = scope["method"]
        if method == "POST":
            answer = await self._post(scope, receive)
        elif method in {"GET", "HEAD"}:
            answer = await self._probe(scope)
        else:
            answer = Answer(204 if method == "OPTIONS" else 405, "")
        if answer is not None:
            await _send(send, answer, with_text=method != "HEAD")

    async def _post(self, scope: Scope, receive: Receive) -> Answer | None:
        """Return what a call is answered, None when nobody waits for it any more."""
        try:
            found = await self._find(scope)
            if isinstance(found, Answer):
                await _drain(receive)
                return found
            place, taker = found
            return await self._take(place, taker, scope, receive)
        except Exception as error:  # a 500 of the server would do as well; this one is counted
            log.error("webhook.failed", exc_info=error)
            return Answer.later("failed")

    async def _find(self, scope: Scope) -> tuple[WebhookPlace, Reception] | Answer:
        try:
            taker = reception()
        except ConfigurationError as error:
            log.error("webhook.not_connected", error=str(error))
            return Answer.later("not ready")
        address = _ADDRESS.fullmatch(scope["path"])
        place = await taker.find(address[1] if address else "", address[2] if address else "")
        return place if isinstance(place, Answer) else (place, taker)

    async def _take(self, place: WebhookPlace, taker: Reception, scope: Scope, receive: Receive) -> Answer | None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        length = headers.get("content-length", "")
        declared = int(length) if length.isascii() and length.isdigit() else 0
        body = _Body()
        try:
            unread = await self._read(receive, body, declared, MAX_CALL_BYTES[place.provider])
            if unread is None:
                return await taker.receive(place, Call(headers.get("content-type", ""), headers, body.take()))
            body.take()
        finally:
            self._octets.give_back(body.size)
        if unread is _Unread.GONE:
            return None
        if not body.ended:
            await _drain(receive)
        if unread is _Unread.TOO_LARGE:
            return taker.too_large(place)
        log.warning(unread.value, source=place.place.source, declared=declared)
        taker.counts[unread.value] += 1
        return Answer.later("too much at once" if unread is _Unread.BUSY else "too slow")

    async def _read(self, receive: Receive, body: _Body, declared: int, limit: int) -> _Unread | None:
        """Read into body; every octet in it is counted, and given back by the caller."""
        if declared > limit:
            return _Unread.TOO_LARGE
        if declared > self._octets.left:
            return _Unread.BUSY
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        return _Unread.GONE
                    chunk = message.get("body", b"")
                    body.ended = not message.get("more_body", False)
                    if body.size + len(chunk) > limit:
                        return _Unread.TOO_LARGE
                    if not self._octets.take(len(chunk)):
                        return _Unread.BUSY
                    body.add(chunk)
                    if body.ended:
                        return None
        except TimeoutError:
            return _Unread.TOO_SLOW

    async def _probe(self, scope: Scope) -> Answer:
        """Answer the look that people and providers take at an address; there is no mail in it."""
        found = await self._find(scope)
        if not isinstance(found, Answer):
            return Answer.kept("ready: mails are taken by POST")
        return Answer(404, "nobody's address") if found.text == "nobody's address" else found


async def _drain(receive: Receive) -> None:
    """Read and forget the rest of a body, within bounds: most clients read an answer only after they have sent all."""
    left = _DRAIN_BYTES
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return


async def _send(send: Send, answer: Answer, *, with_text: bool) -> None:
    text = f"{answer.text}\n".encode() if answer.text else b""
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(text)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if answer.retry_after_seconds is not None:
        headers.append((b"retry-after", str(answer.retry_after_seconds).encode()))
    if answer.status in {204, 405}:
        headers.append((b"allow", _METHODS.encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": text if with_text else b""})
