"""The SES transport."""

from __future__ import annotations

import asyncio
import binascii
import json
from collections.abc import Sequence

from todoku.delivery.errors import NoCredentials
from todoku.delivery.transports.http_post import HttpAnswer, HttpLimits, HttpPool
from todoku.delivery.transports.one_by_one import Mark, OneByOne, Verdict
from todoku.delivery.transports.ses.answers import verdict_of
from todoku.delivery.transports.ses.options import SesOptions, read_ses_url
from todoku.delivery.transports.ses.request_signer import RequestSigner
from todoku.delivery.types import Answer, AnswerKind, AnswerSink, Envelope
from todoku.kernel.clock import Clock
from todoku.mail.compose import UnsafeAddress, header_address
from todoku.mail.dkim import without_signatures


class SesTransport:
    """Hand messages to Amazon SES; passes `check_http_transport`.

    A message is one SendEmail request with raw content. Throttling is TEMPORARY for that message; a paused account,
    wrong keys or a spent quota are TEMPORARY with `relay_failed` for all that waits.
    """

    eight_bit = False  # Raw wants 7-bit parts

    def __init__(self, url: str | SesOptions, clock: Clock, *, limits: HttpLimits | None = None) -> None:
        """Prepare, connect nothing yet; raises ConfigurationError, also when botocore is not installed."""
        self.options = url if isinstance(url, SesOptions) else read_ses_url(url)
        self._clock = clock
        self._signer = RequestSigner(self.options.region, self.options.profile)
        self._requests = OneByOne(self._hand_over, self.options.connections)
        self._pool = HttpPool(self.options.connections, limits or HttpLimits())
        self._next_at_seconds = 0.0

    async def send(self, envelopes: Sequence[Envelope], sink: AnswerSink, *, flow: str = "") -> list[Answer]:
        """Hand over all envelopes, one request each; returns one answer each. Never raises."""
        return await self._requests.send(envelopes, sink, flow)

    async def close(self) -> None:
        """Close the connections; what is under way is UNKNOWN."""
        await self._pool.close()

    async def ask_account(self) -> HttpAnswer:
        """Ask for quota and whether sending is enabled (GetAccount); raises OSError, NoCredentials."""
        url = f"{self.options.origin}/v2/email/account"
        return await self._pool.get(url, await self._signer.headers("GET", url, b""))

    async def _hand_over(self, envelope: Envelope, mark: Mark) -> Verdict:
        try:
            recipient, sender = header_address(envelope.rcpt_to), header_address(envelope.mail_from)
        except UnsafeAddress as error:
            return Verdict(AnswerKind.PERMANENT, f"not sent: {error}")
        body = self._request_body(sender, recipient, without_signatures(envelope.content))
        url = f"{self.options.origin}/v2/email/outbound-emails"
        await self._keep_pace()
        try:
            headers = await self._signer.headers("POST", url, body)
        except NoCredentials as error:
            return Verdict(AnswerKind.TEMPORARY, f"not handed over: {error.what}", relay_failed=True, everybody=True)
        answer = await self._pool.post(url, headers, body, mark)
        return answer if isinstance(answer, Verdict) else verdict_of(answer)

    def _request_body(self, sender: str, recipient: str, content: bytes) -> bytes:
        document = {
            "FromEmailAddress": sender,
            "Destination": {"ToAddresses": [recipient]},
            "Content": {"Raw": {"Data": binascii.b2a_base64(content, newline=False).decode("ascii")}},
        }
        if self.options.configuration_set:
            document["ConfigurationSetName"] = self.options.configuration_set
        return json.dumps(document, separators=(",", ":")).encode("ascii")

    async def _keep_pace(self) -> None:
        """Wait until the next request may begin."""
        if not self.options.rate_per_second:
            return
        now = self._clock.monotonic_seconds()
        begin = max(now, self._next_at_seconds)
        self._next_at_seconds = begin + 1 / self.options.rate_per_second
        if begin > now:
            await asyncio.sleep(begin - now)
