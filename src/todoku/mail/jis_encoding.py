"""Text to ISO-2022-JP as Japanese mail systems write it, vendor rows included; for samples, tests and replies."""

from __future__ import annotations

import binascii
from functools import cache

from todoku.mail.jis import as_cp932, jis_character

_ASCII, _TWO_BYTE, _KANA, _ROMAN = b"\x1b(B", b"\x1b$B", b"\x1b(I", b"\x1b(J"
_ROMAN_CODES = {"¥": b"\\", "‾": b"~"}


@cache
def _two_byte_codes() -> dict[str, bytes]:
    """Build character to row and cell; a character that stands twice (∪ in rows 2 and 13) takes the lower row."""
    codes: dict[str, bytes] = {}
    for row in range(0x21, 0x7F):
        for cell in range(0x21, 0x7F):
            character = jis_character(row, cell)
            if character is not None:
                codes.setdefault(character, bytes((row, cell)))
    return codes


def encode_iso2022jp(text: str) -> bytes:
    """Encode with ① ㈱ 髙 as JIS escapes (rows 13 and 89 to 92) and half-width kana by ESC ( I, as CP50221 does.

    Every line ends in ASCII (RFC 1468). ～ and 〜, － and − and their like are written with the same code, so those
    come back as cp932 names them. Raises UnicodeEncodeError for a character that JIS has not.
    """
    pieces: list[bytes] = []
    state = _ASCII
    codes = _two_byte_codes()
    plain = as_cp932(text)
    for position, character in enumerate(plain):
        if character.isascii():
            wanted, code = _ASCII, character.encode("ascii")
        elif "\uff61" <= character <= "\uff9f":
            wanted, code = _KANA, bytes((ord(character) - 0xFF40,))
        elif character in _ROMAN_CODES:
            wanted, code = _ROMAN, _ROMAN_CODES[character]
        else:
            found = codes.get(character)
            if found is None:
                raise UnicodeEncodeError("iso-2022-jp", text, position, position + 1, "not in JIS")
            wanted, code = _TWO_BYTE, found
        if wanted != state:
            pieces.append(wanted)
            state = wanted
        pieces.append(code)
    if state != _ASCII:
        pieces.append(_ASCII)
    return b"".join(pieces)


def encode_subject_iso2022jp(text: str, *, word_characters: int = 18) -> bytes:
    """Encode a header value as folded encoded words (RFC 2047) of ISO-2022-JP; each word is whole in itself.

    word_characters: text per word; 18 two-byte characters make an encoded word of at most 75 bytes.
    """
    words = []
    for start in range(0, len(text), word_characters):
        data = encode_iso2022jp(text[start : start + word_characters])
        words.append(b"=?ISO-2022-JP?B?" + binascii.b2a_base64(data, newline=False) + b"?=")
    return b"\r\n ".join(words)
