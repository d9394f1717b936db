"""From the words of a mail to values: people, counts, ids, text. Each returns None when the text says no such value."""

from __future__ import annotations

import re
from typing import NamedTuple

from todoku.kernel.folding import fold_for_matching

_ID = re.compile(r"(?P<id>[A-Za-z0-9][A-Za-z0-9_.:-]{0,63})(?=[ (\[]|\Z)")
_PARENTHESES = re.compile(r"\(([^()]*)\)")
_KANA = re.compile(r"[\u3040-\u30ff\uff65-\uff9f\u31f0-\u31ff \u3000]+\Z")
_LONGEST_PARTY = 200
_ONE_PERSON = re.compile(r"お(?:[0-9]+|一|ひと)(?:人|名|り)様?")
_AGES = re.compile(
    r"(?:[~-] ?)?[0-9]{1,3} ?(?:歳|才|年生|cm|kg)?(?: ?[~-] ?[0-9]{1,3})? ?(?:歳|才|年生|cm|kg)(?:以上|以下|未満| ?~)*"
)
_PRICES = re.compile(r"(?:[x×@=/|+] ?)?(?:¥ ?[0-9][0-9,]*|[0-9][0-9,]* ?円)(?:/(?:人|名))?")
_CLASS_END = re.compile(r"[|×]|x(?= ?[0-9])|¥|[0-9][0-9,]* ?円")
_COUNT = re.compile(
    r"(?P<label>[^0-9]*?)[x×:=]? *(?P<number>[0-9]{1,4}) *(?:名|人|people|persons?|guests?)? *様?[ ,、/・]*"
)
_PLAIN_PARTY = re.compile(r"([0-9]{1,4}) ?(?:名様?|人)?\Z")
_TOTAL = re.compile(r"(?:合計|計|total) *:? *\Z", re.IGNORECASE)


class Person(NamedTuple):
    """A name and its kana, both without honorific."""

    name: str | None
    kana: str | None


def identifier(folded: str) -> str | None:
    """Return the id in ASCII; what follows after a blank or a parenthesis is a remark and not part of it."""
    match = _ID.match(folded)
    return match["id"] if match else None


def person(written: str) -> Person:
    """Split `漢字（カナ）様` into name and kana, and take one honorific off each.

    A parenthesis counts as kana only when it holds nothing but kana and ends the name; another one belongs to the
    name. The characters stay as sent: 髙 is not 高 (facts: japanese mail, section 4).
    """
    name, honoured = without_honorific(" ".join(written.split()))
    if not name.endswith((")", "）")):
        return Person(name or None, None)
    begin = max(name.rfind("("), name.rfind("（"))
    inside, _ = without_honorific(name[begin + 1 : -1].strip(), glued=not honoured)
    if begin <= 0 or not _KANA.match(inside):
        return Person(name or None, None)
    before, _ = without_honorific(name[:begin].strip())
    return Person(before or None, inside or None)


def without_honorific(name: str, *, glued: bool = True) -> tuple[str, bool]:
    """Return the name without one trailing 様, さま or サマ, and whether there was one.

    glued: also take さま or サマ that no blank separates. One that is separated always goes; アサマ is a surname, so a
    glued one goes only when two characters stay and the script does not run on from the name's own one-syllable rest.
    """
    name = name.strip()
    for honorific in ("様", "さま", "サマ", "ｻﾏ"):
        if not name.endswith(honorific):
            continue
        rest = name[: -len(honorific)]
        stripped = rest.rstrip()
        if honorific == "様" or stripped != rest or (glued and len(stripped) >= 2):
            return (stripped, True) if stripped else (name, False)
    return name, False


def party_size(written: str) -> int | None:
    """Return how many people come.

    `2名様` 2, `大人2人 子供（12歳未満）1人` 3, `4名(お1人様:4名)` 4: a number inside parentheses or inside お1人様 is
    part of a label and never a count (trap 2), and so are ages and prices: `大人 13～70歳 | 6,000円 × 2名` is 2. A
    total beside its parts must be their sum, else None.
    """
    plain = _PLAIN_PARTY.match(written)
    if plain is not None:
        return int(plain[1]) or None
    text = " ".join(fold_for_matching(written).split())
    plain = _PLAIN_PARTY.match(text)
    if plain is not None:
        return int(plain[1]) or None
    if len(text) > _LONGEST_PARTY:
        return None
    while "(" in text:
        shorter = _PARENTHESES.sub("", text)
        if shorter == text:
            return None
        text = shorter
    text = _PRICES.sub("", _AGES.sub("", _ONE_PERSON.sub("", text))).strip()
    totals: list[int] = []
    parts: list[int] = []
    position = 0
    while position < len(text):
        match = _COUNT.match(text, position)
        if match is None or match.end() == position:
            return None
        label = match["label"].strip()
        (totals if not label or _TOTAL.search(label) else parts).append(int(match["number"]))
        position = match.end()
    return _agree(totals, parts)


def class_of_price(written: str) -> str:
    """Return the label of a class of price: what stands before its price and count, after a label of the field."""
    folded = fold_for_matching(written)
    end = _CLASS_END.search(folded)
    return "".join((folded[: end.start()] if end else folded).rpartition(":")[2].split())


def _agree(totals: list[int], parts: list[int]) -> int | None:
    if len(totals) > 1 or not (totals or parts):
        return None
    count = totals[0] if totals else sum(parts)
    if totals and parts and totals[0] != sum(parts):
        return None
    return count if count > 0 else None


def text_block(written: str) -> str | None:
    """Return the lines without the blanks around each and without empty lines at both ends; None when nothing stays."""
    if "\n" not in written:
        return written.strip() or None
    lines = [line.strip() for line in written.split("\n")]
    return "\n".join(lines).strip() or None
