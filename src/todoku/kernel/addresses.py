"""Mail addresses: how they are compared, and what never reaches a header."""

from __future__ import annotations

import re

_HEADER_BREAKERS = re.compile(r"[\r\n\x00]")
_ADDR_SPEC = re.compile(r"[^\s@<>\"(),:;\[\]\\]+@[^\s@<>\"(),:;\[\]\\]+\Z")


class UnsafeHeaderError(ValueError):
    """A value for a header holds CR, LF or NUL; it would let a stranger write headers of their own."""


def require_header_safe(value: str) -> str:
    """Return the value unchanged, or raise UnsafeHeaderError on CR, LF or NUL (RFC 5322 section 2.2)."""
    if _HEADER_BREAKERS.search(value):
        raise UnsafeHeaderError("a header value holds CR, LF or NUL")
    return value


def comparable_address(address: str) -> str:
    """Return the form under which two addresses are one person: stripped and case-folded.

    The local part is case-sensitive by RFC 5321 section 2.4, but no mail host of today treats it so, and
    peers that compare by case send twice (docs/decisions). The address as written is kept for sending.
    """
    return address.strip().casefold()


def is_addr_spec(address: str) -> bool:
    """Tell whether the text looks like one deliverable address, `local@domain`, with no way to break SMTP.

    `taro..y@docomo.example` and `.taro@docomo.example` are accepted: such addresses were handed out until 2009.
    """
    return len(address) <= 254 and bool(_ADDR_SPEC.match(address))
