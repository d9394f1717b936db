"""Telephone numbers as they stand in notifications, to E.164."""

from __future__ import annotations

import re

from todoku.kernel.folding import fold_for_matching

_NUMBER_ONLY = re.compile(r"\+?[0-9() .\-/]{8,24}\Z")
_PUNCTUATION = str.maketrans("", "", "() .-/")

# 10 digits of a fixed line or 11 of a 0A0 number. 010 is left out: it is the international prefix of Japan.
_PLAIN_JAPANESE = re.compile(r"0(?:[2-9][0-9]|1[1-9])[0-9]{7}\Z|0[5-9]0[0-9]{8}\Z")


def to_e164(written: str, *, country: str = "JP") -> str | None:
    """Return the number as E.164, or None when the text is not one possible number and nothing else.

    country: where a number without + is at home. A masked number (`090****0000`) is None: half a number would join
    strangers. Plain Japanese numbers take a fast path that a property test holds equal to phonenumbers.
    """
    folded = fold_for_matching(written).replace("ー", "-").strip()  # typed for a hyphen with a Japanese keyboard
    if not _NUMBER_ONLY.match(folded):
        return None
    if country == "JP":
        digits = folded.translate(_PUNCTUATION)
        if _PLAIN_JAPANESE.match(digits):
            return "+81" + digits[1:]
    return by_library(folded, country=country)


def by_library(folded: str, *, country: str) -> str | None:
    """Return what the phonenumbers library makes of it, or None when it is no possible number."""
    import phonenumbers  # here, because its tables take 40 ms to load and most numbers never need them

    try:
        number = phonenumbers.parse(folded, country)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
