"""The transport over a provider's API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import requests
from anymail.exceptions import AnymailError, AnymailInvalidAddress
from django.core.mail import EmailMultiAlternatives

from todoku.delivery.providers.backend import open_backend
from todoku.delivery.providers.django_message import django_message
from todoku.delivery.providers.verdicts import verdict_of
from todoku.delivery.transports.http_post import CLOSED, HttpLimits, HttpPool
from todoku.delivery.transports.one_by_one import Mark, OneByOne, Verdict
from todoku.delivery.types import Answer, AnswerKind, AnswerSink, Envelope, Transport
from todoku.kernel.clock import Clock
from todoku.mail.compose import UnsafeAddress, header_address
from todoku.mail.dkim import without_signatures

_BUILDERS = 2  # threads that build requests, 1-3 ms each, so that the event loop reads answers meanwhile


@dataclass(frozen=True, slots=True)
class _Order:
    """One request, ready to be sent."""

    url: str
    headers: dict[str, str]
    body: bytes
    payload: Any
    message: EmailMultiAlternatives


class AnymailTransport:
    """Hand messages to one provider by anymail's backend; passes `check_http_transport`."""

    def __init__(self, url: str, *, limits: HttpLimits | None = None) -> None:
        """Prepare, connect nothing yet; raises ConfigurationError. Django's settings must be at hand."""
        self.provider = open_backend(url)
        self._raw = _RAW.get(self.provider.name)
        self._pool = HttpPool(self.provider.connections, limits or HttpLimits())
        self._requests = OneByOne(self._hand_over, self.provider.connections)
        self._builders = ThreadPoolExecutor(_BUILDERS, thread_name_prefix=self.provider.name)
        self._preparer: requests.Session = self.provider.backend.create_session()
        self._preparer.trust_env = False  # no passwords from ~/.netrc

    @property
    def eight_bit(self) -> bool:
        """Tell whether parts are sent: they are decoded here, so their encoding would be in vain."""
        return self._raw is None

    async def send(self, envelopes: Sequence[Envelope], sink: AnswerSink, *, flow: str = "") -> list[Answer]:
        """Hand over all envelopes, one request each; returns one answer each. Never raises."""
        return await self._requests.send(envelopes, sink, flow)

    async def close(self) -> None:
        """Close the connections and end the threads."""
        self._builders.shutdown(wait=False)
        self._preparer.close()
        await self._pool.close()

    async def _hand_over(self, envelope: Envelope, mark: Mark) -> Verdict:
        if self._pool.closed:
            return CLOSED
        loop = asyncio.get_running_loop()
        order = await loop.run_in_executor(self._builders, self._build, envelope)
        if isinstance(order, Verdict):
            return order
        answer = await self._pool.post(order.url, order.headers, order.body, mark)
        if isinstance(answer, Verdict):
            return answer
        return verdict_of(answer, self.provider.backend, order.payload, order.message)

    def _build(self, envelope: Envelope) -> _Order | Verdict:
        """Build the request, in a thread."""
        backend = self.provider.backend
        try:
            recipient = header_address(envelope.rcpt_to)
            content = without_signatures(envelope.content)
            message = django_message(content, recipient)
            payload = backend.build_message_payload(message, backend.send_defaults)
            params = payload.get_request_params(backend.api_url)
        except (UnsafeAddress, AnymailInvalidAddress) as error:
            return Verdict(AnswerKind.PERMANENT, f"not sent: {error}")
        except AnymailError as error:  # a header or setting that this provider can't have: it may concern everybody
            return Verdict(AnswerKind.TEMPORARY, f"not handed over: {error}", relay_failed=True)
        if self._raw is not None:
            params = self._raw(params, recipient, content)
        prepared = self._preparer.prepare_request(requests.Request(**params))
        body = prepared.body or b""
        assert isinstance(body, str | bytes), "anymail builds whole bodies"
        octets = body.encode("utf-8") if isinstance(body, str) else body
        headers = {name: str(value) for name, value in prepared.headers.items() if name.lower() != "content-length"}
        return _Order(str(prepared.url), headers, octets, payload, message)


def open_provider(url: str, _clock: Clock) -> Transport:
    """Make the transport of an anymail+...:// URL: an Opener for `transports.opening`."""
    return AnymailTransport(url)


def _mailgun_raw(params: dict[str, Any], recipient: str, content: bytes) -> dict[str, Any]:
    """Return the request for Mailgun's messages.mime, which takes MIME as it is."""
    return {
        "method": "POST",
        "url": params["url"] + ".mime",
        "data": {"to": recipient},
        "files": {"message": ("message.eml", content, "message/rfc822")},
        "headers": params["headers"],
        "auth": params["auth"],
    }


_RAW: dict[str, Callable[[dict[str, Any], str, bytes], dict[str, Any]]] = {"mailgun": _mailgun_raw}
