"""The counting sink as its users meet it: real connections, a real process, a real kill."""

from __future__ import annotations

import json
import os
import signal
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from todoku.demo.sink import CountingSink, SinkReader


@contextmanager
def sink_process(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int, int]]:
    source = Path(__file__).parents[3] / "src"
    with subprocess.Popen(
        [sys.executable, "-m", "todoku.demo.sink", str(folder), "127.0.0.1", "0"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(source)},
    ) as process:
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            yield process, ready["port"], ready["count"]
        finally:
            process.kill()


def mail(reference: str) -> str:
    return f"Subject: hi\r\nX-Todoku-Recipient: {reference}\r\n\r\n.dot first\r\n\r\n.\r\nend\r\n"


async def test_takes_counts_and_shows(tmp_path: Path) -> None:
    import asyncio

    sink = CountingSink(tmp_path)
    port = await sink.start("127.0.0.1", 0)

    def send() -> None:
        with smtplib.SMTP("127.0.0.1", port) as client:
            for reference in ("r1", "r2", "r1"):
                client.sendmail("shop@example.com", [f"{reference}@example.com"], mail(reference))
            client.sendmail("shop@example.com", ["a@example.com", "b@example.com"], "Message-ID: <1@x>\r\n\r\ntwo")

    await asyncio.to_thread(send)
    assert (sink.count(), sink.doubled()) == (5, 1)
    assert sink.message(0) == mail("r1").encode()
    assert [message.rcpt_to for message in sink.messages(2, 2)] == ["r1@example.com", "r2@example.com"]
    with pytest.raises(IndexError):
        sink.message(5)
    await sink.stop()
    assert SinkReader(tmp_path).count() == 5


def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    answered = 0
    for round_number in range(2):
        with sink_process(tmp_path) as (process, port, count):
            assert count >= answered
            client = smtplib.SMTP("127.0.0.1", port)
            for number in range(50):
                client.sendmail("s@example.com", ["a@example.com"], mail(f"{round_number}-{number}"))
                answered += 1
            process.send_signal(signal.SIGKILL)
            process.wait()
            client.close()
    reader = SinkReader(tmp_path)
    assert (reader.count(), reader.doubled()) == (answered, 0)


def test_ends_at_sigterm_and_says_how_to_be_called(tmp_path: Path) -> None:
    with sink_process(tmp_path) as (process, _, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    wrong = subprocess.run([sys.executable, "-m", "todoku.demo.sink"], capture_output=True, check=False, timeout=30)
    assert wrong.returncode == 2
    assert b"usage" in wrong.stderr
