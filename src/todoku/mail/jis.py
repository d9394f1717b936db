"""ISO-2022-JP and EUC-JP as Japanese mail really uses them (CP50220, CP50221, CP50222, CP51932, eucJP-ms).

Python's codecs know the JIS rows only as far as the standard goes: of the 7,336 two-byte characters that cp932 has
in JIS rows they fail on 457 (① ㈱ Ⅲ in row 13, 髙 﨑 in rows 89 to 92) and read 6 otherwise. Here the rows go through
cp932. Python's codec does the bulk and asks for the vendor rows; what it can't follow (SO and SI, 8-bit kana, unknown
escapes, cut pairs) is decoded run by run, all two-byte runs turned to Shift_JIS in one go. Both are linear.
"""

from __future__ import annotations

import codecs
import re
from functools import cache

_SJIS_LEAD = bytes((((row + 1) >> 1) + (0x70 if row < 0x5F else 0xB0)) & 0xFF for row in range(256))
_SJIS_TRAIL_ODD = bytes((cell + (0x1F if cell < 0x60 else 0x20)) & 0xFF for cell in range(256))
_SJIS_TRAIL_EVEN = bytes((cell + 0x7E) & 0xFF for cell in range(256))
_ODD_ROW_MASK = bytes(0xFF * (row & 1) for row in range(256))
_SET_HIGH_BIT = bytes(byte | 0x80 for byte in range(256))
_CLEAR_HIGH_BIT = bytes(byte & 0x7F for byte in range(256))
_GRAPHIC = bytes(range(0x21, 0x7F))
_ROMAN = str.maketrans({"\\": "¥", "~": "‾"})

# Where the JIS codecs of Python and cp932 name one code point differently (wave dash, minus, parallel, ¢ £ ¬).
_AS_CP932 = (("〜", "～"), ("−", "－"), ("‖", "∥"), ("¢", "￠"), ("£", "￡"), ("¬", "￢"))

_SHIFT = re.compile(rb"(\x1b\$\([A-Z@]|\x1b\$[@-Z]|\x1b\([@-Z]|\x1b&@|\x1b[.N-O][A-F]?|\x0e|\x0f)")
_TWO_BYTE = frozenset((b"\x1b$B", b"\x1b$@", b"\x1b$(B", b"\x1b$(@"))
_KANA = frozenset((b"\x1b(I", b"\x0e"))
_ROMANS = frozenset((b"\x1b(J",))
_OTHER_SETS = {
    b"\x1b$(D": "iso2022_jp_1",
    b"\x1b$A": "iso2022_jp_2",
    b"\x1b$(A": "iso2022_jp_2",
    b"\x1b$(C": "iso2022_jp_2",
    b"\x1b$(O": "iso2022_jp_3",
    b"\x1b$(P": "iso2022_jp_3",
    b"\x1b$(Q": "iso2022_jp_2004",
}
# Row 95 lies outside JIS, so no run holds it; cp932 reads it as U+E000. It marks the ends of joined runs.
_RUN_END = b"\x7f\x21"
_RUN_END_TEXT = "\ue000"


def as_cp932(text: str) -> str:
    """Return text of a JIS codec with the six characters that cp932 names differently named as cp932 does."""
    for standard, microsoft in _AS_CP932:
        if standard in text:
            text = text.replace(standard, microsoft)
    return text


def jis_pairs_to_sjis(pairs: bytes) -> bytes:
    """Turn JIS row and cell bytes (each 0x21 to 0x7E, even length) into Shift_JIS bytes; linear, no loop in Python."""
    rows, cells = pairs[::2], pairs[1::2]
    size = len(rows)
    mask = int.from_bytes(rows.translate(_ODD_ROW_MASK), "little")
    odd = int.from_bytes(cells.translate(_SJIS_TRAIL_ODD), "little")
    even = int.from_bytes(cells.translate(_SJIS_TRAIL_EVEN), "little")
    sjis = bytearray(2 * size)
    sjis[::2] = rows.translate(_SJIS_LEAD)
    sjis[1::2] = (even ^ ((odd ^ even) & mask)).to_bytes(size, "little")
    return bytes(sjis)


def decode_iso2022jp(data: bytes) -> tuple[str, int]:
    """Decode ISO-2022-JP of CP50220 grade; return the text and the number of replacement characters. Never raises.

    Read: ASCII, JIS Roman (0x5C is the yen sign there), JIS X 0208 with the vendor rows, JIS X 0201 kana by ESC ( I,
    by SO and SI and as 8-bit bytes, JIS X 0212, JIS X 0213 and the sets of ISO-2022-JP-2 as far as Python knows them.
    A line end returns to ASCII (RFC 1468). Cost: one pass; the standard codec first, since most mail needs no more.
    """
    if b"\x0e" not in data:
        try:
            return as_cp932(data.decode("iso2022_jp_ext", _errors_for(data))), 0
        except UnicodeDecodeError:
            pass
    return _decode_by_runs(data)


def _errors_for(data: bytes) -> str:
    """Name the error handling: a call for each vendor character is cheap in a mail, and not in megabytes of them."""
    return "todoku.vendor_rows" if len(data) <= 262_144 else "strict"


def _read_vendor_row(error: UnicodeError) -> tuple[str, int]:
    """Read a pair of the rows that Python's codec lacks; any other trouble is left to the run by run decoder."""
    if isinstance(error, UnicodeDecodeError):
        character = _vendor_rows().get(error.object[error.start : error.end])
        if character is not None:
            return character, error.end
    raise error


@cache
def _vendor_rows() -> dict[bytes, str]:
    """Build row and cell to character for the rows 13 and 89 to 92."""
    pairs = [bytes((row, cell)) for row in (0x2D, 0x79, 0x7A, 0x7B, 0x7C) for cell in range(0x21, 0x7F)]
    characters = ((pair, _sjis_pair(jis_pairs_to_sjis(pair))) for pair in pairs)
    return {pair: character for pair, character in characters if character != "\ufffd"}


codecs.register_error("todoku.vendor_rows", _read_vendor_row)


def _decode_by_runs(data: bytes) -> tuple[str, int]:
    """Cut at the shifts; two-byte runs are collected, turned and decoded together, then put back in their places."""
    pieces = _SHIFT.split(data)
    texts: list[str] = []
    runs: list[bytes] = []
    places: list[int] = []
    lost = 0
    shift = b"\x1b(B"
    before_so = shift
    for index, piece in enumerate(pieces):
        if index % 2:
            if piece == b"\x0e":
                before_so, shift = shift, piece
            elif piece == b"\x0f":
                shift = before_so if shift == b"\x0e" else shift
            elif piece != b"\x1b&@":
                shift = piece
            continue
        if not piece:
            continue
        if shift in _TWO_BYTE and len(piece) % 2 == 0 and not piece.translate(None, _GRAPHIC):
            places.append(len(texts))
            runs.append(piece)
            texts.append("")
            continue
        inside, end, rest = piece.partition(b"\n")
        if end and shift != b"\x0e":
            text, missing = _decode_run(inside, shift)
            after, missing_after = _decode_run(end + rest, b"\x1b(B")
            text, missing, shift = text + after, missing + missing_after, b"\x1b(B"
        else:
            text, missing = _decode_run(piece, shift)
        texts.append(text)
        lost += missing
    if runs:
        for place, text in zip(places, _decode_pairs(runs), strict=True):
            texts[place] = text
            lost += text.count("\ufffd")
    return "".join(texts), lost


def _decode_pairs(runs: list[bytes]) -> list[str]:
    """Decode many two-byte runs with one call of cp932; undefined pairs become one replacement character each."""
    sjis = jis_pairs_to_sjis(_RUN_END.join(runs))
    try:
        text = sjis.decode("cp932")
    except UnicodeDecodeError:
        text = _decode_sjis_pairs(sjis)
    return text.split(_RUN_END_TEXT)


def _decode_sjis_pairs(sjis: bytes) -> str:
    """Decode pairs one by one, since cp932's own replacement would lose step after a pair it does not know."""
    return "".join(_sjis_pair(sjis[at : at + 2]) for at in range(0, len(sjis), 2))


def _sjis_pair(pair: bytes) -> str:
    try:
        text = pair.decode("cp932")
    except UnicodeDecodeError:
        return "\ufffd"
    return text


def _decode_run(piece: bytes, shift: bytes) -> tuple[str, int]:
    """Decode the bytes after one shift that are no clean two-byte run."""
    if shift in _TWO_BYTE:
        return _decode_dirty_pairs(piece)
    if shift in _KANA:
        text = piece.translate(_SET_HIGH_BIT).decode("cp932", "replace") if _is_kana(piece) else _mixed_kana(piece)
        return text, text.count("\ufffd")
    other = _OTHER_SETS.get(shift)
    if other is not None:
        text = (shift + piece + b"\x1b(B").decode(other, "replace")
        return text, text.count("\ufffd")
    if piece.isascii():
        text = piece.decode("ascii")
        return (text.translate(_ROMAN) if shift in _ROMANS else text), 0
    return _decode_eight_bit(piece)


def _is_kana(piece: bytes) -> bool:
    return all(0x21 <= byte <= 0x5F for byte in piece)


def _mixed_kana(piece: bytes) -> str:
    """Decode kana of seven or eight bits among spaces and line ends."""
    return "".join(
        chr(0xFF40 + (byte & 0x7F)) if 0x21 <= byte & 0x7F <= 0x5F else (chr(byte) if byte <= 0x20 else "\ufffd")
        for byte in piece
        if byte != 0x7F
    )


def _decode_eight_bit(piece: bytes) -> tuple[str, int]:
    """Decode bytes with the high bit in the ASCII state: UTF-8 when they are that, else Shift_JIS and 8-bit kana."""
    try:
        return piece.decode("utf-8"), 0
    except UnicodeDecodeError:
        text = piece.decode("cp932", "replace")
        return text, text.count("\ufffd")


_DIRTY = re.compile(rb"((?:[\x21-\x7e]{2})+)|([\xa1-\xdf]+)|([\x00-\x20]+)|([\x21-\xff])", re.DOTALL)


def _decode_dirty_pairs(piece: bytes) -> tuple[str, int]:
    """Decode a two-byte run that holds blanks, control bytes or a lonely byte."""
    texts = []
    lost = 0
    for pairs, kana, blanks, lonely in _DIRTY.findall(piece):
        if pairs:
            text = _decode_pairs([pairs])[0]
        elif kana:
            text = kana.decode("cp932", "replace")
        else:
            text = blanks.decode("ascii") if blanks else ("\ufffd" if lonely else "")
        lost += text.count("\ufffd")
        texts.append(text)
    return "".join(texts), lost


def decode_eucjp(data: bytes) -> tuple[str, int]:
    """Decode EUC-JP with the vendor rows of CP51932 and eucJP-ms; return text and number of replacements. Never raises."""
    try:
        return as_cp932(data.decode("euc_jp")), 0
    except UnicodeDecodeError:
        pass
    texts = []
    lost = 0
    for plain, kana, third, pairs, _other in _EUC.findall(data):
        if plain:
            text = plain.decode("ascii")
        elif pairs:
            text = _decode_pairs([pairs.translate(_CLEAR_HIGH_BIT)])[0]
        elif kana:
            text = kana.replace(b"\x8e", b"").decode("cp932", "replace")
        elif third:
            text = _decode_third_plane(third)
        else:
            text = "\ufffd"
        lost += text.count("\ufffd")
        texts.append(text)
    return "".join(texts), lost


_EUC = re.compile(
    rb"([\x00-\x7f]+)|((?:\x8e[\xa1-\xdf])+)|((?:\x8f[\xa1-\xfe]{2})+)|((?:[\xa1-\xfe]{2})+)|([\x80-\xff])", re.DOTALL
)


def _decode_third_plane(data: bytes) -> str:
    """Decode three-byte characters: JIS X 0212, and the IBM extension that eucJP-ms keeps in its rows 83 and 84."""
    texts = []
    for at in range(0, len(data), 3):
        triple = data[at : at + 3]
        text = IBM_EXTENSION_IN_EUC.get(triple) or as_cp932(triple.decode("euc_jp", "replace"))
        texts.append("\ufffd" if "\ufffd" in text else text)
    return "".join(texts)


def _ibm_extension_in_euc() -> dict[bytes, str]:
    """Build rows 83 and 84 of eucJP-ms: the IBM extension of cp932 in its order, without what JIS X 0212 has."""
    table: dict[bytes, str] = {}
    position = 0x52  # the row begins at cell 0xF3
    for lead in (0xFA, 0xFB, 0xFC):
        for trail in (*range(0x40, 0x7F), *range(0x80, 0xFD)):
            try:
                character = bytes((lead, trail)).decode("cp932")
            except UnicodeDecodeError:
                continue
            if character not in "№" and _in_standard(character):
                continue
            table[bytes((0x8F, 0xF3 + position // 94, 0xA1 + position % 94))] = character
            position += 1
    return table


def _in_standard(character: str) -> bool:
    standard = {"￢": "¬", "￤": "¦"}.get(character, character)
    try:
        return bool(standard.encode("euc_jp"))
    except UnicodeEncodeError:
        return False


IBM_EXTENSION_IN_EUC = _ibm_extension_in_euc()
