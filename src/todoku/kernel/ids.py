"""Identifiers that sort by the time they were made (UUID version 7, RFC 9562 section 5.7)."""

from __future__ import annotations

import os
import re
import time
import uuid

_SUBJECT_TOKEN = re.compile(r"[a-z0-9_-]{1,64}\Z")


def new_id() -> uuid.UUID:
    """Return a new UUIDv7: 48 bits of milliseconds, 12 bits of their fraction, 62 random bits.

    Never equal across processes; those of one process sort in the order in which they were made, because the fraction
    (244 ns a step) is finer than a call is quick (RFC 9562 section 6.2, method 3).
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    value = (milliseconds & ((1 << 48) - 1)) << 80
    value |= 0x7 << 76
    value |= (nanoseconds * 4096 // 1_000_000) << 64
    value |= 0x2 << 62
    value |= int.from_bytes(os.urandom(8), "big") >> 2
    return uuid.UUID(int=value)


def require_subject_token(text: str) -> str:
    """Return the text when it can stand as one token of a bus subject, else raise ValueError."""
    if not _SUBJECT_TOKEN.match(text):
        raise ValueError(f"{text!r} can't be a subject token: use 1-64 of a-z 0-9 _ -")
    return text
