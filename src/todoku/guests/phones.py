"""Phones as people write them. Pure."""

from __future__ import annotations

import unicodedata

import phonenumbers


def as_e164(text: str, *, region: str = "JP") -> str | None:
    """Return the phone in E.164, or None when it can't be one. region: where a number without + is from.

    Possible lengths are asked for, not numbers in use: a range that opened last month is a phone too.
    """
    try:
        number = phonenumbers.parse(unicodedata.normalize("NFKC", text), region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    formatted: str = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return formatted
