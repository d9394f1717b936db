"""Try a way out without sending anything: connect, introduce ourselves, log in, take leave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from todoku.delivery.transports.failover import FailOverTransport
from todoku.delivery.transports.null import NullTransport
from todoku.delivery.transports.size_limit import SizeLimited
from todoku.delivery.transports.smtp import SmtpTransport
from todoku.delivery.transports.smtp.opening import RelayRefused, StartTls, talk_to
from todoku.delivery.transports.smtp.relay import TlsMode
from todoku.delivery.transports.smtp.replies import BrokenReply, Reply, ReplyReader
from todoku.delivery.transports.smtp.tls import client_context, why_tls_failed
from todoku.delivery.types import Transport
from todoku.kernel.errors import TodokuError

MOST_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Trial:
    """What trying one relay showed. works: None when it can't be known without sending. seen: without secrets."""

    name: str
    works: bool | None
    seen: str


async def try_transport(transport: Transport, most_seconds: float = MOST_SECONDS) -> list[Trial]:
    """Try every relay of a transport, side by side; raises nothing, and takes at most `most_seconds`."""
    return list(await asyncio.gather(*(_try(leaf, most_seconds) for leaf in _leaves(transport))))


def _leaves(transport: Transport) -> Sequence[Transport]:
    if isinstance(transport, SizeLimited):
        return _leaves(transport.transport)
    if isinstance(transport, FailOverTransport):
        return [leaf for one in transport.transports for leaf in _leaves(one)]
    return [transport]


async def _try(transport: Transport, most_seconds: float) -> Trial:
    name = _name_of(transport)
    try:
        async with asyncio.timeout(most_seconds):
            if isinstance(transport, SmtpTransport):
                return Trial(name, True, await _try_smtp(transport))
            if isinstance(transport, NullTransport):
                return Trial(name, True, "a rehearsal: accepts everything, sends nothing")
            if name.startswith("ses "):
                return await _try_ses(transport, name)
            return Trial(name, None, "can't be tried without sending a message")
    except TimeoutError:
        return Trial(name, False, f"no answer in {most_seconds:g} s")
    except (RelayRefused, BrokenReply, TodokuError) as error:
        return Trial(name, False, str(error))
    except ssl.SSLError as error:
        seen = why_tls_failed(transport.relay, error) if isinstance(transport, SmtpTransport) else str(error)
        return Trial(name, False, seen)
    except OSError as error:
        return Trial(name, False, os.strerror(error.errno) if error.errno else str(error))
    except ValueError:
        return Trial(name, False, "it answers, but not as it should")


def _name_of(transport: Transport) -> str:
    if isinstance(transport, SmtpTransport):
        return f"smtp {transport.relay.name}"
    options = getattr(transport, "options", None)
    if options is not None:
        return f"ses {options.region}"
    provider = getattr(transport, "provider", None)
    return f"anymail {provider.name}" if provider is not None else "null"


async def _try_smtp(transport: SmtpTransport) -> str:
    relay = transport.relay
    context = client_context(relay)
    implicit = relay.tls is TlsMode.IMPLICIT
    reader, writer = await asyncio.open_connection(
        relay.host, relay.port, ssl=context if implicit else None, server_hostname=relay.host if implicit else None
    )
    try:
        talk = talk_to(relay, transport._ehlo_name)
        replies = _Replies(reader)
        step = next(talk)
        encrypted = implicit
        while True:
            answer: Reply | None = None
            if isinstance(step, StartTls):
                assert context is not None, "STARTTLS is not asked for without a context"
                await writer.start_tls(context, server_hostname=relay.host)
                encrypted = True
            else:
                writer.write(step)
                answer = await replies.one()
            try:
                step = talk.send(answer)
            except StopIteration as end:
                offers = end.value
                break
        writer.write(b"QUIT\r\n")
        words = ["answers", "encrypted" if encrypted else "in clear", *["logged in"] * bool(relay.user)]
        words += ["8BITMIME"] * offers.eight_bit
        return ", ".join(words)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class _Replies:
    """Whole replies from a stream, one by one."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._parser = ReplyReader()

    async def one(self) -> Reply:
        while True:
            data = await self._reader.read(4096)
            if not data:
                raise ConnectionResetError("the relay closed the connection")
            if replies := self._parser.feed(data):
                return replies[0]


async def _try_ses(transport: Transport, name: str) -> Trial:
    from todoku.delivery.transports.ses import SesTransport

    assert isinstance(transport, SesTransport)
    answer = await transport.ask_account()
    if answer.status != 200:
        return Trial(name, False, f"{answer.status} {answer.body.decode('utf-8', 'replace')[:200]}")
    account = json.loads(answer.body)
    quota = account.get("SendQuota", {})
    words = f"{quota.get('SentLast24Hours', 0):g} of {quota.get('Max24HourSend', 0):g} messages sent in 24 hours"
    words += f", {quota.get('MaxSendRate', 0):g} a second"
    if not account.get("ProductionAccessEnabled", True):
        words += ", in the sandbox: only verified addresses get mail"
    return Trial(name, bool(account.get("SendingEnabled", True)), words)
