"""Content-Transfer-Encoding undone, for what senders really write; never raises, repairs are named."""

from __future__ import annotations

import binascii
import re

_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/=]+")
_MOST_PIECES = 1000
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def decode_transfer(content: bytes, encoding: str) -> tuple[bytes, str | None]:
    """Undo one transfer encoding; return the bytes and the defect, None when nothing had to be repaired.

    encoding: the header's value in lower case, "" for none. An unknown one leaves the bytes as they are.
    """
    if encoding in ("", "7bit", "8bit", "binary"):
        return content, None
    if encoding == "base64":
        return decode_base64(content)
    if encoding == "quoted-printable":
        return binascii.a2b_qp(content), None
    if encoding in ("x-uuencode", "uuencode", "x-uue", "uue"):
        return _decode_uu(content)
    return content, "unknown_transfer_encoding"


def decode_base64(content: bytes) -> tuple[bytes, str | None]:
    """Decode base64 with foreign characters, missing padding or padding in the middle (pieces joined by a gateway)."""
    try:
        return binascii.a2b_base64(content.translate(None, b"\r\n \t"), strict_mode=True), None
    except binascii.Error:
        pass
    letters = _NOT_BASE64.sub(b"", content.translate(_URL_SAFE) if b"+" not in content else content)
    if letters.count(b"=") > _MOST_PIECES:
        letters = letters.replace(b"=", b"")
    return b"".join(_decode_unpadded(piece) for piece in letters.split(b"=")), "broken_base64"


def _decode_unpadded(letters: bytes) -> bytes:
    whole = len(letters) - (1 if len(letters) % 4 == 1 else 0)
    return binascii.a2b_base64(letters[:whole] + b"=" * (-whole % 4))


def _decode_uu(content: bytes) -> tuple[bytes, str | None]:
    lines = []
    defect = None
    for line in content.splitlines():
        if line.startswith(b"begin ") or line in (b"end", b"`", b""):
            continue
        try:
            lines.append(binascii.a2b_uu(line))
        except binascii.Error:
            defect = "broken_uuencode"
    return b"".join(lines), defect
