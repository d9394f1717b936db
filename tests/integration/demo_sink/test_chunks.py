"""Our own client and our own server, over a socket, by BDAT."""

from __future__ import annotations

from pathlib import Path

import pytest

from todoku.delivery.transports.conformance import WatchingSink
from todoku.delivery.transports.smtp import SmtpTransport
from todoku.delivery.types import AnswerKind, Envelope
from todoku.demo.sink import CountingSink


@pytest.mark.parametrize("chunking", ["auto", "off"])
async def test_the_sink_counts_what_our_sender_sends(tmp_path: Path, chunking: str) -> None:
    sink = CountingSink(tmp_path)
    port = await sink.start("127.0.0.1", 0)
    transport = SmtpTransport(f"smtp://127.0.0.1:{port}?chunking={chunking}", connections=3)
    bodies = [b"Subject: %d\r\n\r\n.dot\r\n%b\r\n" % (ref, b"x" * (ref * 37 % 900)) for ref in range(300)]
    bodies[7] = b"Subject: long\r\n\r\n" + b"..dots\r\n" * 200_000
    envelopes = [Envelope(ref, "shop@todoku.example", f"g{ref}@example.com", body) for ref, body in enumerate(bodies)]
    answers = await transport.send(envelopes, WatchingSink())
    await transport.close()
    assert {one.kind for one in answers} == {AnswerKind.ACCEPTED}
    assert sink.count() == 300
    assert sink.doubled() == 0
    assert sorted(sink.message(number) for number in range(300)) == sorted(bodies)
    await sink.stop()
