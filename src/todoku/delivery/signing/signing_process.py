"""A process that does nothing but sign; the crew starts it.

Purpose     RSA on a core of its own, without the interpreter's lock of the sender.
Reads       standard input: frames of four octets of length and a msgpack [PEM, [SHA-256, ...]].
Writes      standard output: for each frame one with [signature, ...], in order; nothing else, and no file.
Guarantees  ends when its input ends, so it can't outlive the sender, however that died; signals that a terminal or a
            service manager sends to all are left to the sender, which closes the input when it has finished.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import BinaryIO

import msgspec

from todoku.mail.dkim import DkimKey, key_from_pem

LENGTH_OCTETS = 4
_MOST_KEYS = 64  # that a process keeps ready; to read one takes as long as half a signature
_NAME = ("signer.invalid", "s")  # only the private half is used here


def frame(*values: object) -> bytes:
    """Return one value, or several as a list, as they go through a pipe."""
    payload = msgspec.msgpack.encode(values[0] if len(values) == 1 else values)
    return len(payload).to_bytes(LENGTH_OCTETS, "big") + payload


def sign_digests(pem: bytes, digests: Sequence[bytes]) -> list[bytes]:
    """Return the signature of each SHA-256; raises BadDkimKey."""
    key = _key(pem)
    return [key.sign_digest(digest) for digest in digests]


@lru_cache(maxsize=_MOST_KEYS)
def _key(pem: bytes) -> DkimKey:
    return key_from_pem(*_NAME, pem)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer every frame until the input ends."""
    while len(opening := requests.read(LENGTH_OCTETS)) == LENGTH_OCTETS:
        payload = requests.read(int.from_bytes(opening, "big"))
        pem, digests = msgspec.msgpack.decode(payload, type=tuple[bytes, list[bytes]])
        answers.write(frame(sign_digests(pem, digests)))
        answers.flush()


def main() -> None:
    """Serve standard input and output."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    serve(sys.stdin.buffer, sys.stdout.buffer)
