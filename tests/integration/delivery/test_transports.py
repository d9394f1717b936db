from __future__ import annotations

from todoku.delivery.transports.conformance import check_transport, check_without_relay
from todoku.delivery.transports.null import NullTransport
from todoku.delivery.transports.smtp import SmtpTransport


async def test_smtp_keeps_every_promise() -> None:
    await check_transport(lambda url: SmtpTransport(url, connections=4))


async def test_smtp_keeps_every_promise_over_one_connection() -> None:
    await check_transport(lambda url: SmtpTransport(url, connections=1))


async def test_null_keeps_the_promises_that_need_no_relay() -> None:
    await check_without_relay(NullTransport())
