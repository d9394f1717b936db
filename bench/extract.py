"""How long reading one mail takes, beside what else reads the same bytes.

    .venv/bin/python bench/extract.py [--json] [--mails N]

One process, one core, the sample mails over and over; raw bytes in, facts out, parsing included. The reader
remembers headers that repeat, so the same is measured with a subject in every mail that was never seen. Beside it:
Python's own `email` package, which only parses (no facts, and it loses the vendor characters), and KDE's
`kitinerary-extractor`, when it is installed, one process a mail as it is run by mail programs. CPU seconds are taken,
not wall seconds.
"""

from __future__ import annotations

import argparse
import email
import email.policy
import json
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime

from todoku.extraction import read_mail, sample_mails
from todoku.extraction.types import Outcome

RECEIVED = datetime(2026, 11, 21, tzinfo=UTC)
KITINERARY = "kitinerary-extractor"
KITINERARY_PATHS = "/usr/lib/x86_64-linux-gnu/libexec/kf5:/usr/lib/x86_64-linux-gnu/libexec/kf6:/usr/lib/libexec/kf5"
KITINERARY_MAILS = 10
ROUNDS = 5
NEW_SUBJECTS = 1_500
"""More than the 1,024 values that the reader remembers, so that none is remembered when its turn comes again."""


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", action="store_true", help="print one JSON object")
    arguments.add_argument("--mails", type=int, default=5_000, metavar="N", help="mails to read (default 5000)")
    options = arguments.parse_args()
    if options.mails < 1:
        arguments.error("--mails must be at least 1")
    raws = [raw for _, _, raw in sample_mails()]
    ours = microseconds_per_mail(lambda raw: read_mail(raw, received_at=RECEIVED), raws, options.mails)
    ours_new_subjects = microseconds_per_mail(
        lambda raw: read_mail(raw, received_at=RECEIVED),
        [_with_new_subject(raws[number % len(raws)], number) for number in range(NEW_SUBJECTS)],
        ROUNDS * NEW_SUBJECTS,
    )
    stdlib = microseconds_per_mail(parse_with_email, raws, max(1, options.mails // 5))
    kitinerary = kitinerary_microseconds(raws)
    outcomes = [read_mail(raw, received_at=RECEIVED).outcome for raw in raws]
    figures = {
        "mails_per_second_per_core": round(1e6 / ours),
        "microseconds_per_mail": round(ours, 1),
        "microseconds_per_mail_new_subjects": round(ours_new_subjects, 1),
        "email_package_parse_only_microseconds_per_mail": round(stdlib, 1),
        "kitinerary_microseconds_per_mail": round(kitinerary) if kitinerary is not None else None,
        "sample_mails": len(raws),
        "reservations": outcomes.count(Outcome.RESERVATION),
        "mails_read": options.mails,
    }
    if options.json:
        print(json.dumps(figures))
        return
    print(f"todoku, raw bytes to facts      {figures['microseconds_per_mail']:>10} µs a mail")
    print(f"                                {figures['mails_per_second_per_core']:>10} mails a second and core")
    print(f"the same, every subject new     {round(ours_new_subjects, 1):>10} µs a mail")
    print(f"email package, parse only       {round(stdlib, 1):>10} µs a mail")
    if kitinerary is None:
        print(f"{KITINERARY} is not installed: apt install libkitinerary-bin, then run this again")
    else:
        print(f"{KITINERARY}            {round(kitinerary):>10} µs a mail (a process each)")


def microseconds_per_mail(read: Callable[[bytes], object], raws: list[bytes], mails: int) -> float:
    """Return CPU microseconds a mail: the best of a few rounds, for another program's load is not ours."""
    for raw in raws:
        read(raw)
    per_round = max(1, mails // ROUNDS)
    sequence = (raws * (per_round // len(raws) + 1))[:per_round]
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for raw in sequence:
            read(raw)
        best = min(best, time.process_time() - began)
    return best / per_round * 1e6


def _with_new_subject(raw: bytes, number: int) -> bytes:
    return re.sub(rb"^(subject:)", rb"\1 %d" % number, raw, count=1, flags=re.IGNORECASE | re.MULTILINE)


def parse_with_email(raw: bytes) -> str:
    """Parse with the standard library and take the text, as far as its codecs get it."""
    message = email.message_from_bytes(raw, policy=email.policy.default)
    body = message.get_body(("plain", "html"))
    try:
        return str(body.get_content()) if body is not None else ""
    except LookupError:
        return ""


def kitinerary_microseconds(raws: list[bytes]) -> float | None:
    """Return CPU microseconds a mail of kitinerary-extractor, None when it is not there."""
    program = shutil.which(KITINERARY) or shutil.which(KITINERARY, path=KITINERARY_PATHS)
    if program is None:
        return None
    began = _children_seconds()
    for raw in raws[:KITINERARY_MAILS]:
        subprocess.run([program, "--type", "mime"], input=raw, capture_output=True, check=False, timeout=60)
    return (_children_seconds() - began) / min(KITINERARY_MAILS, len(raws)) * 1e6


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
