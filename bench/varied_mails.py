"""The sample mails, varied, so that any number of them can be sent."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

_PHONE = re.compile(rb"\b(0[789]0-?|03-?)0000(-?\d{4})\b")  # as the samples' guests have it
_ADDRESS = re.compile(rb"\b(anna\.keller|chidi\.okafor)@")


class VariedMails:
    """Sample notifications, copied round after round: in each round every reservation of the samples gets a new
    reference, the same in all of its mails (booked, changed, cancelled), every guest another phone and address, and
    every mail has bytes of its own."""

    def __init__(self) -> None:
        from todoku.extraction import sample_mails

        found = [(raw, reference) for _, _, raw in sample_mails() if (reference := _reference(raw)) is not None]
        self._samples = [
            (raw, reference) for raw, reference in found if _reference(_copy(raw, reference, 7)) != reference
        ]
        if not self._samples:
            sys.exit("no sample mail carries its reference in plain bytes")
        self._places = {reference: place for place, (_, reference) in enumerate(self._samples)}
        self._number = 0

    def take(self, count: int, rcpt_to: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Give that many (recipient, dot-stuffed text); numbers go on from call to call."""
        for _ in range(count):
            life, sample = divmod(self._number, len(self._samples))
            self._number += 1
            raw, reference = self._samples[sample]
            text = _copy(raw, reference, life * len(self._samples) + self._places[reference] + 1)
            text = _PHONE.sub(rb"\g<1>%04d\2" % (life % 10_000), text)
            text = _ADDRESS.sub(rb"\g<1>.%d@" % life, text)
            text = b"X-Bench: %d\n" % self._number + text.replace(b"\r\n", b"\n")
            stuffed = text.replace(b"\n", b"\r\n").replace(b"\r\n.", b"\r\n..")
            yield rcpt_to, stuffed if stuffed.endswith(b"\r\n") else stuffed + b"\r\n"


def _reference(raw: bytes) -> bytes | None:
    from todoku.extraction import read_mail

    facts = read_mail(raw, received_at=datetime.now(UTC)).facts
    return facts.reference.encode() if facts is not None else None


def _copy(raw: bytes, reference: bytes, number: int) -> bytes:
    """Return the mail with another reference of the same form; unchanged where it stands only in encoded parts."""
    digits = [place for place, byte in enumerate(reference) if 48 <= byte < 58]
    if len(digits) < 6:
        return raw
    changed = bytearray(reference)
    for place, digit in zip(digits, b"%0*d" % (len(digits), number), strict=True):
        changed[place] = digit
    return raw.replace(reference, bytes(changed))
