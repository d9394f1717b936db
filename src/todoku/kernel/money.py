"""Read amounts of money as notifications write them, into minor units of an ISO 4217 currency."""

from __future__ import annotations

import re
from dataclasses import dataclass

from todoku.kernel.folding import fold_for_matching


@dataclass(frozen=True, slots=True)
class WrittenMoney:
    """An amount as it stands in a text. minor: yen for JPY (ISO 4217 gives it no decimals), cents for most others."""

    minor: int
    currency: str
    start: int
    end: int


_DECIMALS = {"JPY": 0, "KRW": 0, "VND": 0, "CLP": 0, "ISK": 0}
_SYMBOLS = {
    "¥": "JPY",
    "円": "JPY",
    "YEN": "JPY",
    "$": "USD",
    "US$": "USD",
    "€": "EUR",
    "£": "GBP",
    "￡": "GBP",
    "₩": "KRW",
}
_CODES = "JPY|USD|EUR|GBP|KRW|TWD|CNY|HKD|SGD|THB|AUD|CAD|CHF|VND|NZD"
_NUMBER = (
    r"\d{1,3}(?:,\d{3})+(?:\.\d{1,2})?|\d{1,3}(?:\.\d{3})+,\d{2}|\d{1,3}(?: \d{3})+(?:,\d{2})?|\d+(?:[.,]\d{2}(?!\d))?"
)
_MONEY = re.compile(
    rf"(?P<before>US\$|[¥$€£￡₩]|\b(?:{_CODES}))[ \t]?(?P<n1>{_NUMBER})"
    rf"|(?<![\d,.])(?:(?P<man>\d{{1,6}})万(?P<rest>\d{{1,4}})?|(?P<n2>{_NUMBER}))[ \t]?"
    rf"(?P<after>円|yen\b|€|(?:{_CODES})\b)",
    re.IGNORECASE,
)


def read_money(text: str, position: int = 0) -> WrittenMoney | None:
    """Return the first amount with a currency at or after the position, None when there is none.

    Read: `5,000円`, `12000円（税込）`, `¥ 12,000`, `￥5,000-`, `３，０００円`, `1万2000円`, `JPY 5,000`, `$120.50`,
    `1 234,56 €`.
    A number without a currency is no amount. The sign is not read: points used (`-500`) belong to the caller.
    """
    found = _MONEY.search(fold_for_matching(text), position)
    if found is None:
        return None
    written = found["before"] or found["after"]
    currency = _SYMBOLS.get(written.upper(), written.upper())
    number = found["n1"] or found["n2"] or str(int(found["man"]) * 10_000 + int(found["rest"] or 0))
    return WrittenMoney(_minor(number, _DECIMALS.get(currency, 2)), currency, found.start(), found.end())


def _minor(number: str, decimals: int) -> int:
    """Turn digits with group and decimal marks into minor units; a mark before two last digits is the decimal one."""
    whole, fraction = number, ""
    if len(number) > 3 and number[-3] in ".,":
        whole, fraction = number[:-3], number[-2:]
    elif len(number) > 2 and number[-2] == ".":
        whole, fraction = number[:-2], number[-1]
    digits = "".join(character for character in whole if character.isdecimal())
    return int(digits + fraction.ljust(decimals, "0")[:decimals])
