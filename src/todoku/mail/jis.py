"""ISO-2022-JP and EUC-JP as Japanese mail really uses them (CP50220, CP50221, CP50222, CP51932, eucJP-ms).

Python's codecs know the JIS rows only as far as the standard goes: of the 7,336 two-byte characters that cp932 has
in JIS rows they fail on 457 (① ㈱ Ⅲ in row 13, 髙 﨑 in rows 89 to 92) and read 6 otherwise. Here the rows go through
cp932. Python's codec does the bulk and asks for the vendor rows; what it can't follow (SO and SI, 8-bit kana, unknown
escapes, cut pairs) is decoded run by run. Both are linear, and by hand only so many bytes are decoded.
"""

from __future__ import annotations

import codecs
import re
from functools import cache

_GRAPHIC = bytes(range(0x21, 0x7F))
_CLEAR_HIGH_BIT = bytes(byte & 0x7F for byte in range(256))
_ROMAN = str.maketrans({"\\": "¥", "~": "‾"})
_KANA_OF_BYTE = "".join(
    chr(0xFF40 + (byte & 0x7F)) if 0x21 <= byte & 0x7F <= 0x5F else (chr(byte) if byte <= 0x20 else "\ufffd")
    for byte in range(256)
)

# Where the JIS codecs of Python and cp932 name one code point differently (wave dash, minus, parallel, ¢ £ ¬).
_AS_CP932 = (("〜", "～"), ("−", "－"), ("‖", "∥"), ("¢", "￠"), ("£", "￡"), ("¬", "￢"))

_SHIFT = re.compile(rb"(\x1b\$\([A-Z@]|\x1b\$[@-Z]|\x1b\([@-Z]|\x1b&@|\x1b[.N-O][A-F]?|\x0e|\x0f)")
_ASCII = b"\x1b(B"
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
# Row 95 lies outside JIS, so no run holds it. It marks the ends of runs while they are joined.
_RUN_END, _RUN_END_TEXT = b"\x7f\x21", "\ue000"

_STRAY_IN_CP932 = ("\x80", "\uf8f0", "\uf8f1", "\uf8f2", "\uf8f3")

# Beyond these sizes what is broken is left to Python's own replacement: still counted, but in bounded time.
_MOST_BYTES_WITH_CALLBACK = 262_144
_MOST_BYTES_BY_HAND = 1_000_000
_MOST_SHIFTS = 100_000


def as_cp932(text: str) -> str:
    """Return text of a JIS codec with the six characters that cp932 names differently named as cp932 does."""
    for standard, microsoft in _AS_CP932:
        if standard in text:
            text = text.replace(standard, microsoft)
    return text


def jis_character(row: int, cell: int) -> str | None:
    """Return the character that cp932 has for a JIS row and cell, both 0x21 to 0x7E; None when it has none."""
    lead = ((row + 1) >> 1) + (0x70 if row < 0x5F else 0xB0)
    trail = cell + (0x1F if cell < 0x60 else 0x20) if row & 1 else cell + 0x7E
    return _cp932_character(lead, trail)


def _cp932_character(lead: int, trail: int) -> str | None:
    try:
        return bytes((lead, trail)).decode("cp932")
    except UnicodeDecodeError:
        return None


def decode_cp932(data: bytes) -> tuple[str, int]:
    """Decode Shift_JIS as cp932; return text and replacements. Never raises.

    Five bytes that are no Shift_JIS, and that Python turns to private or control characters, are replaced too.
    """
    try:
        text = data.decode("cp932")
    except UnicodeDecodeError:
        text = data.decode("cp932", "replace")
    for stray in _STRAY_IN_CP932:
        if stray in text:
            text = text.replace(stray, "\ufffd")
    return text, text.count("\ufffd")


@cache
def _characters() -> list[str]:
    """Build the table from row * 256 + cell to character, U+FFFD where there is none."""
    table = ["\ufffd"] * 0x7F22
    table[int.from_bytes(_RUN_END, "big")] = _RUN_END_TEXT
    for row in _GRAPHIC:
        for cell in _GRAPHIC:
            table[row << 8 | cell] = jis_character(row, cell) or "\ufffd"
    return table


def decode_iso2022jp(data: bytes) -> tuple[str, int]:
    """Decode ISO-2022-JP of CP50220 grade; return the text and the number of replacement characters. Never raises.

    Read: ASCII, JIS Roman (0x5C is the yen sign there), JIS X 0208 with the vendor rows, JIS X 0201 kana by ESC ( I,
    by SO and SI and as 8-bit bytes, JIS X 0212, JIS X 0213 and the sets of ISO-2022-JP-2 as far as Python knows them.
    A line end returns to ASCII (RFC 1468).
    """
    if b"\x0e" not in data:
        errors = "todoku.vendor_rows" if len(data) <= _MOST_BYTES_WITH_CALLBACK else "strict"
        try:
            return as_cp932(data.decode("iso2022_jp_ext", errors)), 0
        except UnicodeDecodeError:
            pass
    return _decode_by_runs(data)


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
    pairs = ((row, cell) for row in (0x2D, 0x79, 0x7A, 0x7B, 0x7C) for cell in _GRAPHIC)
    return {bytes(pair): character for pair in pairs if (character := jis_character(*pair)) is not None}


codecs.register_error("todoku.vendor_rows", _read_vendor_row)


def _decode_by_runs(data: bytes) -> tuple[str, int]:
    """Cut at the shifts; clean two-byte runs are collected and decoded together, then put back in their places."""
    if data.count(b"\x1b") + data.count(b"\x0e") > _MOST_SHIFTS:
        return _decode_by_codec(data)
    texts: list[str] = []
    runs: list[bytes] = []
    places: list[int] = []
    shift = before_so = _ASCII
    for index, piece in enumerate(_SHIFT.split(data)):
        if index % 2:
            if piece == b"\x0e":
                before_so, shift = shift, piece
            elif piece == b"\x0f":
                shift = before_so if shift == b"\x0e" else shift
            elif piece != b"\x1b&@":  # it announces the set that the next shift names
                shift = piece
        elif shift in _TWO_BYTE and len(piece) % 2 == 0 and not piece.translate(None, _GRAPHIC):
            places.append(len(texts))
            runs.append(piece)
            texts.append("")
        elif piece:
            inside, line_end, rest = piece.partition(b"\n")
            if line_end and shift != b"\x0e":
                texts += (_decode_run(inside, shift), _decode_run(line_end + rest, _ASCII))
                shift = _ASCII
            else:
                texts.append(_decode_run(piece, shift))
    if runs:
        decoded = _decode_pairs(_RUN_END.join(runs)).split(_RUN_END_TEXT)
        for place, text in zip(places, decoded, strict=True):
            texts[place] = text
    whole = "".join(texts)
    return whole, whole.count("\ufffd")


def _decode_by_codec(data: bytes) -> tuple[str, int]:
    """Decode with Python's codec and its replacements; for megabytes of broken shifts."""
    text = as_cp932(data.decode("iso2022_jp_ext", "replace")).replace("\x0e", "\ufffd")
    return text, text.count("\ufffd")


def _decode_pairs(pairs: bytes) -> str:
    """Decode row and cell pairs in one go; each undefined pair becomes one replacement character."""
    return pairs.decode("utf-16-be").translate(_characters())


def _decode_run(piece: bytes, shift: bytes) -> str:
    """Decode the bytes after one shift that are no clean two-byte run."""
    if shift in _TWO_BYTE:
        return _decode_dirty_pairs(piece)
    if shift in _KANA:
        return codecs.charmap_decode(piece, "strict", _KANA_OF_BYTE)[0]
    other = _OTHER_SETS.get(shift)
    if other is not None:
        return (shift + piece + _ASCII).decode(other, "replace")
    if piece.isascii():
        text = piece.decode("ascii")
        return text.translate(_ROMAN) if shift in _ROMANS else text
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return decode_cp932(piece)[0]  # eight-bit kana, or Shift_JIS pasted in


_DIRTY = re.compile(rb"((?:[\x21-\x7e]{2})+)|([\xa1-\xdf]+)|([\x00-\x20]+)|([\x21-\xff])", re.DOTALL)


def _decode_dirty_pairs(piece: bytes) -> str:
    """Decode a two-byte run that holds blanks, control bytes or a lonely byte."""
    if len(piece) > _MOST_BYTES_BY_HAND:
        return _decode_by_codec(b"\x1b$B" + piece)[0]
    texts = []
    for pairs, kana, blanks, _lonely in _DIRTY.findall(piece):
        if pairs:
            texts.append(_decode_pairs(pairs))
        elif kana:
            texts.append(codecs.charmap_decode(kana, "strict", _KANA_OF_BYTE)[0])
        else:
            texts.append(blanks.decode("ascii") if blanks else "\ufffd")
    return "".join(texts)


_EUC = re.compile(
    rb"([\x00-\x7f]+)|((?:\x8e[\xa1-\xdf])+)|((?:\x8f[\xa1-\xfe]{2})+)|((?:[\xa1-\xfe]{2})+)|([\x80-\xff])", re.DOTALL
)


def decode_eucjp(data: bytes) -> tuple[str, int]:
    """Decode EUC-JP with the vendor rows of CP51932 and eucJP-ms; return text and replacements. Never raises."""
    try:
        return as_cp932(data.decode("euc_jp")), 0
    except UnicodeDecodeError:
        pass
    if len(data) > _MOST_BYTES_BY_HAND:
        text = as_cp932(data.decode("euc_jp", "replace"))
        return text, text.count("\ufffd")
    texts = []
    for plain, kana, third, pairs, _other in _EUC.findall(data):
        if plain:
            texts.append(plain.decode("ascii"))
        elif pairs:
            texts.append(_decode_pairs(pairs.translate(_CLEAR_HIGH_BIT)))
        elif kana:
            texts.append(codecs.charmap_decode(kana[1::2], "strict", _KANA_OF_BYTE)[0])
        else:
            texts.append(_decode_third_plane(third) if third else "\ufffd")
    text = "".join(texts)
    return text, text.count("\ufffd")


def _decode_third_plane(data: bytes) -> str:
    """Decode three-byte characters: JIS X 0212, and the IBM extension that eucJP-ms keeps in its rows 83 and 84."""
    triples = [data[at : at + 3] for at in range(0, len(data), 3)]
    ibm_extension = _ibm_extension_in_euc()
    return "".join([ibm_extension.get(triple) or _decode_triple(triple) for triple in triples])


def _decode_triple(triple: bytes) -> str:
    try:
        return as_cp932(triple.decode("euc_jp"))
    except UnicodeDecodeError:
        return "\ufffd"


@cache
def _ibm_extension_in_euc() -> dict[bytes, str]:
    """Build rows 83 and 84 of eucJP-ms: the IBM extension of cp932 in its order, without what JIS X 0212 has."""
    table: dict[bytes, str] = {}
    position = 0x52  # the row begins at cell 0xF3
    for lead in (0xFA, 0xFB, 0xFC):
        for trail in (*range(0x40, 0x7F), *range(0x80, 0xFD)):
            character = _cp932_character(lead, trail)
            if character is None or (character != "№" and _in_standard(character)):
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
