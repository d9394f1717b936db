"""The part of an intake address before the @: nobody can guess it, everybody can read it out. Pure but for chance.

`<hint>-<26 characters>`: the hint tells people which shop and site it is for; the characters are what keeps strangers
out, because a mail is believed to be for a project by its address alone. Never more than 64 octets (RFC 5321 section
4.5.3.1.1), only a-z, 0-9 and single hyphens, a letter first: forms of booking sites take it.
"""

from __future__ import annotations

import re
import secrets
from typing import Final

# without 0 1 i l o, which are taken for one another in print and on the telephone
ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"
SECRET_CHARACTERS: Final = 26  # 26 x log2(31) = 128.8 bits
MAX_OCTETS: Final = 64
_HINT_CHARACTERS: Final = 16  # of the shop, and of the site: 16 + 1 + 16, a hyphen, "r-" before and 26 are 62

_ODD = re.compile(r"[^a-z0-9]+")
_TAKEN_AS_GIVEN = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*\Z")


def new_local_part(shop_code: str | None, site: str | None) -> str:
    """Return a local part that nobody has. What of shop and site can't be written in a-z 0-9 is left out."""
    hint = "-".join(word for word in (_word(shop_code), _word(site)) if word)
    if not hint:
        hint = "r"
    elif not hint[0].isalpha():
        hint = f"r-{hint}"
    return f"{hint}-" + "".join(secrets.choice(ALPHABET) for _ in range(SECRET_CHARACTERS))


def require_local_part(text: str) -> str:
    """Return a local part that a person has chosen, case-folded; raises ValueError when it would not work.

    A `+` begins an extension, and two dots together are no key of the bus: one such row would stop the mirror of all.
    """
    folded = text.casefold()
    if len(folded) > MAX_OCTETS or not _TAKEN_AS_GIVEN.match(folded):
        raise ValueError(f"an intake address is up to {MAX_OCTETS} of a-z 0-9 with single . _ - between, not {text!r}")
    return folded


def _word(text: str | None) -> str:
    return _ODD.sub("-", (text or "").casefold())[:_HINT_CHARACTERS].strip("-")
