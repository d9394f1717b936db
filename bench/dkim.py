"""Signatures a second with 1 ... n processes, beside what `openssl speed` says this machine can do.

    python bench/dkim.py [--messages 2000] [--kind rsa2048] [--json]

The messages are personalised HTML mails as campaigns send them where domains sign (base64, 6 KB); canonicalisation,
hashing and the way to the processes and back are counted in. `openssl speed -elapsed -multi n` is run right before and
after each measurement, because shared cores change their pace by the second; the ratio is to the mean of both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import statistics
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from todoku.config.logging import set_up_logging
from todoku.delivery.signing import KeyFolder, SigningDesk
from todoku.kernel.clock import SystemClock
from todoku.mail.compose import Composer, MessageParts, SenderIdentity
from todoku.mail.dkim import KeyKind, new_key

SENDER = "shop@todoku.example"
WINDOW, VISITS = 100, 4  # messages that a sender prepares at once, and how many windows it has in hand
OPENSSL_NAMES = {KeyKind.RSA2048: "rsa2048", KeyKind.ED25519: "ed25519"}


def messages(count: int) -> list[bytes]:
    """Return composed messages, each with its own words."""
    identity = SenderIdentity("炭火とどく 渋谷店", SENDER, "contact@todoku.example", "todoku.example")
    composer = Composer(identity, run_key="0198f0aabbcc", feedback_id="run:shop:campaign:todoku")
    now = datetime.now(UTC)
    rows = "".join(f"  <tr><td>鍋コース {number}</td><td>{number * 500}円</td></tr>\n" for number in range(1, 56))
    contents = []
    for index in range(count):
        name = f"見本 {index:06d}"
        text = f"{name} 様\n\n" + "今年も鍋の季節になりました。\n" * 18
        html = f"<html><body>\n<p>{name} 様</p>\n<table>\n{rows}</table>\n</body></html>\n"
        link = f"https://todoku.example/u/{index:032x}"
        parts = MessageParts(name, f"guest{index}@example.com", "秋のご案内", html, text, f"r.{index}", link)
        contents.append(composer.compose(parts, now))
    return contents


def openssl_rate(kind: KeyKind, *options: str) -> float:
    """Return signatures a second of the openssl command."""
    command = ["openssl", "speed", "-seconds", "2", *options, OPENSSL_NAMES[kind]]
    words = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1].split()
    return float(words[-2])


async def our_rate(folder: Path, contents: list[bytes], processes: int) -> float:
    """Return messages signed a second by one desk."""
    clock = SystemClock()
    desk = SigningDesk(KeyFolder(folder, clock), clock, processes=processes)
    signer = desk.signer_of(SENDER)
    assert signer is not None
    await signer.sign(contents[:50])
    windows = iter(range(0, len(contents), WINDOW))

    async def visit() -> None:
        for at in windows:
            await signer.sign(contents[at : at + WINDOW])

    begin = time.perf_counter()
    await asyncio.gather(*(visit() for _ in range(VISITS)))
    elapsed = time.perf_counter() - begin
    await desk.close()
    return len(contents) / elapsed


def measure_processes(kind: KeyKind, contents: list[bytes], processes: int, rounds: int) -> dict[str, float]:
    """Return medians of the rounds, each between two runs of openssl."""
    wall = ["-elapsed"] + ["-multi", str(processes)] * (processes > 1)
    ours, references, ratios = [], [openssl_rate(kind, *wall)], []
    with tempfile.TemporaryDirectory() as home:
        KeyFolder(Path(home), SystemClock()).add(new_key("todoku.example", "bench", kind), in_use=True)
        for _ in range(rounds):
            rate = uvloop.run(our_rate(Path(home), contents, processes))
            references.append(openssl_rate(kind, *wall))
            ratios.append(rate / statistics.mean(references[-2:]))
            ours.append(rate)
    return {
        "processes": processes,
        "signatures_per_second": round(statistics.median(ours)),
        "openssl_per_second": round(statistics.median(references)),
        "ratio": round(statistics.median(ratios), 3),
    }


def main() -> None:
    """Print one line for each number of processes, or one JSON object."""
    parser = argparse.ArgumentParser(description="DKIM signatures a second")
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kind", type=KeyKind, choices=list(KeyKind), default=KeyKind.RSA2048)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    set_up_logging(level=logging.WARNING)
    contents = messages(options.messages)
    cores = range(1, len(os.sched_getaffinity(0)) + 1)
    rows = [measure_processes(options.kind, contents, processes, options.rounds) for processes in cores]
    octets = round(statistics.mean(map(len, contents)))
    if options.json:
        print(json.dumps({"kind": options.kind, "messages": len(contents), "octets_each": octets, "rows": rows}))
        return
    print(f"{options.kind}: {len(contents)} messages of {octets} octets")
    for row in rows:
        print(
            "  {processes} processes  {signatures_per_second}/s  openssl {openssl_per_second}/s  ratio {ratio}".format(
                **row
            )
        )


if __name__ == "__main__":
    main()
