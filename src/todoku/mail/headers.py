"""Header values as people read them: encoded words, raw Japanese bytes, addresses, parameters.

Adjacent encoded words of one charset are joined before decoding, since Japanese and UTF-8 senders cut inside a
character or an escape (RFC 2047 section 5 forbids it; mail does it). Nothing here raises.
"""

from __future__ import annotations

import binascii
import re
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from todoku.kernel.folding import strip_invisible
from todoku.mail.charsets import canonical_charset, decode_bytes
from todoku.mail.transfer import decode_base64
from todoku.mail.types import Mailbox

# Every pattern here is linear on any input: no class overlaps what follows it, and unclosed quotes run to the end.
_ENCODED_WORD = re.compile(r"=\?([^?\s]{1,64})\?([bBqQ])\?([^?]*(?:\?(?!=)[^?]*){0,4})\?=")
_MOST_CACHED_CHARACTERS = 400


def decode_header_value(raw: bytes | str) -> tuple[str, int]:
    """Return the value on one line, decoded, and the number of replacement characters. Never raises.

    raw: the bytes as sent, or the same bytes as text by latin-1. Read: encoded words (B and Q, joined, badly padded),
    raw ISO-2022-JP, Shift_JIS, EUC-JP and UTF-8. CR, LF and NUL never come out, whatever an encoded word holds.
    """
    value = raw.decode("latin-1") if isinstance(raw, bytes) else raw
    if len(value) <= _MOST_CACHED_CHARACTERS:
        return _decode_short_value(value)
    return _decode_value(value)


@lru_cache(maxsize=1024)
def _decode_short_value(value: str) -> tuple[str, int]:
    """Decode a short value; senders repeat theirs, and one mail needs its From and Subject more than once."""
    return _decode_value(value)


def _decode_value(value: str) -> tuple[str, int]:
    if "\n" in value:
        value = _unfold(value)
    lost = 0
    if "=?" not in value:
        if value.isascii() and "\x1b" not in value:
            return _on_one_line(value), 0
        value, lost = _decode_raw(value)
    else:
        value, lost = _decode_encoded_words(value)
    return strip_invisible(_on_one_line(value)).strip(), lost


def _on_one_line(value: str) -> str:
    """Take out what would end a header or a C string, wherever the value is written next."""
    if "\n" in value or "\r" in value or "\x00" in value:
        value = value.replace("\r", " ").replace("\n", " ").replace("\x00", "")
    return value.strip()


def _unfold(value: str) -> str:
    """Join folded lines with one space."""
    return " ".join([line.strip(" \t\r") for line in value.split("\n")])


def _decode_raw(value: str) -> tuple[str, int]:
    """Decode a stretch that has no encoded word but may have raw bytes."""
    if value.isascii() and "\x1b" not in value:
        return value, 0
    try:
        data = value.encode("latin-1")
    except UnicodeEncodeError:  # the caller handed in text that was decoded already
        return value, 0
    decoded = decode_bytes(data, None)
    return decoded.text, decoded.lossy_characters


def _decode_encoded_words(value: str) -> tuple[str, int]:
    """Decode the encoded words and the stretches between them; white space between two words is nothing."""
    pieces = _ENCODED_WORD.split(value)
    stretches = pieces[::4]
    charsets = [charset.partition("*")[0].lower() for charset in pieces[1::4]]
    words = list(zip([encoding.lower() for encoding in pieces[2::4]], pieces[3::4], strict=True))
    if len(set(charsets)) == 1 and not "".join(stretches).strip():
        return _decode_run(words, charsets[0])
    texts: list[str] = []
    lost = 0
    run_start = 0
    for index, stretch in enumerate(stretches):
        ends_run = (
            index == len(words) or stretch.strip() or (index > run_start and charsets[index] != charsets[index - 1])
        )
        if not ends_run:
            continue
        if run_start < index:
            text, missing = _decode_run(words[run_start:index], charsets[run_start])
            texts.append(text)
            lost += missing
        if index in (0, len(words)) or stretch.strip():
            text, missing = _decode_raw(stretch)
            texts.append(text)
            lost += missing
        run_start = index
    return "".join(texts), lost


def _decode_run(words: list[tuple[str, str]], charset: str) -> tuple[str, int]:
    """Join the bytes of encoded words of one charset, then decode them once."""
    try:
        whole = [
            binascii.a2b_base64(content, strict_mode=True)
            if encoding == "b"
            else binascii.a2b_qp(content.encode("ascii"), header=True)
            for encoding, content in words
        ]
    except ValueError:
        return _decode_broken_run(words, charset)
    decoded = decode_bytes(b"".join(whole), charset)
    return decoded.text, decoded.lossy_characters


def _decode_broken_run(words: list[tuple[str, str]], charset: str) -> tuple[str, int]:
    """Join encoded words whose base64 is cut between two of them, unpadded or mixed with other characters."""
    data = bytearray()
    waiting = ""
    for index, (encoding, content) in enumerate(words):
        if encoding == "q":
            data += binascii.a2b_qp(content.encode("latin-1", "replace"), header=True)
            continue
        content = waiting + content
        cut_inside = len(content) % 4 and not content.endswith("=") and " " not in content
        if cut_inside and index + 1 < len(words) and words[index + 1][0] == "b":
            waiting = content
            continue
        waiting = ""
        data += decode_base64(content.encode("latin-1", "replace"))[0]
    decoded = decode_bytes(bytes(data), charset)
    return decoded.text, decoded.lossy_characters


_SIMPLE = re.compile(r'(?:"([^"\\]*)"\s*|([^"<>,;:()\\]*))<([^<>\s,;"]+)>\Z')
_BARE = re.compile(r"[^\s@<>(),;:\"\\\[\]]+@[^\s@<>(),;:\"\\\[\]]+\Z")
_LAST_ANGLE = re.compile(r"<([^<>]*)>[^<>]*\Z")
_COMMENT = re.compile(r"\(((?:[^()\\]|\\.)*)\)?")
_BETWEEN_ADDRESSES = re.compile(r"[\s<>(),;:\"\\\[\]]+")
_QUOTED_PAIR = re.compile(r"\\(.)")
_SEPARATORS = re.compile(
    r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|<[^<>]*>|\((?:[^()\\]|\\.)*\)?|=\?[^?\s]+\?[bBqQ]\?[^?]*\?=|[,;]', re.DOTALL
)
_MOST_MAILBOXES = 1000


def parse_mailboxes(raw: str) -> tuple[tuple[Mailbox, ...], int]:
    """Read an address header; return its mailboxes and the number of replacement characters in their names.

    raw: as sent, the bytes as text by latin-1. Tolerant as receiving must be: `taro..y@docomo.example`, names with a
    colon or raw Japanese, encoded words inside quotes, groups, comments. A stretch with no address at all becomes a
    Mailbox with address "". At most 1,000 are read. Never raises.
    """
    return _parse_short_mailboxes(raw) if len(raw) <= _MOST_CACHED_CHARACTERS else _parse_mailboxes(raw)


def _parse_mailboxes(raw: str) -> tuple[tuple[Mailbox, ...], int]:
    value = (_unfold(raw) if "\n" in raw else raw).replace("\x00", "")
    value, lost = _decode_raw(value)
    mailboxes = []
    for piece in _split_mailboxes(value):
        mailbox, missing = _parse_mailbox(piece.strip())
        lost += missing
        if mailbox.name or mailbox.address:
            mailboxes.append(mailbox)
    return tuple(mailboxes), lost


def _split_mailboxes(value: str) -> list[str]:
    """Cut at commas and semicolons that stand outside quotes, comments and angle brackets."""
    if "," not in value and ";" not in value:
        return [value]
    pieces: list[str] = []
    start = 0
    for separator in _SEPARATORS.finditer(value):
        if separator.group() in (",", ";"):
            pieces.append(value[start : separator.start()])
            start = separator.end()
            if len(pieces) >= _MOST_MAILBOXES:
                return pieces
    pieces.append(value[start:])
    return pieces


def _parse_mailbox(piece: str) -> tuple[Mailbox, int]:
    simple = _SIMPLE.match(piece)
    if simple is not None:
        quoted, plain, address = simple.groups()
        name, lost = _decode_name(quoted if quoted is not None else plain)
        return Mailbox(name, address), lost
    if _BARE.match(piece):
        return Mailbox("", piece), 0
    return _parse_odd_mailbox(piece)


# A site writes the same From in every mail, and mails to one shop have the same To.
_parse_short_mailboxes = lru_cache(maxsize=1024)(_parse_mailboxes)


def _parse_odd_mailbox(piece: str) -> tuple[Mailbox, int]:
    """Read what is neither `name <address>` nor a bare address."""
    group, colon, rest = piece.partition(":")
    if colon and not any(mark in group for mark in '<@"') and not rest.partition("<")[0].strip():
        piece = rest  # `Group: a@b` and `Group: <a@b>`; `予約センター:東京 <a@b>` is a name with a colon
    elif colon and "<" not in rest and "@" in rest and '"' not in group:
        piece = rest
    angle = _LAST_ANGLE.search(piece)
    if angle is not None:
        name, lost = _decode_name(piece[: angle.start()])
        return Mailbox(name, "".join(angle.group(1).split())), lost
    comment = _COMMENT.search(piece)
    found = _first_address(_COMMENT.sub(" ", piece))
    name, lost = _decode_name((comment.group(1) if comment else "") if found else piece)
    return Mailbox(name, found), lost


def _first_address(text: str) -> str:
    """Return the first word that has text on both sides of an @, "" when there is none."""
    if "@" not in text:
        return ""
    return next((word for word in _BETWEEN_ADDRESSES.split(text) if "@" in word.strip("@")), "")


def _decode_name(written: str) -> tuple[str, int]:
    """Return a display name without its quotes, decoded; raw bytes in it were decoded before."""
    name = written.strip()
    if len(name) >= 2 and name[0] == '"' and name[-1] == '"':
        name = _QUOTED_PAIR.sub(r"\1", name[1:-1])
    lost = 0
    if "=?" in name:
        name, lost = _decode_encoded_words(name)
    return strip_invisible(_on_one_line(name)).strip(), lost


_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"?|([^;]*))')
_CONTINUED = re.compile(r"\A(.+?)(?:\*(\d{1,3}))?(\*)?\Z")


def parse_parameters(raw: str) -> tuple[str, dict[str, str]]:
    """Read `value; name=value; …` (RFC 2045), continuations and charsets of RFC 2231, encoded words in values.

    Return the value before the first semicolon in lower case, and the parameters, names in lower case.
    """
    value = _unfold(raw) if "\n" in raw else raw
    head, semicolon, _rest = value.partition(";")
    if not semicolon:
        return head.strip().lower(), {}
    parameters: dict[str, str] = {}
    extended: dict[str, list[tuple[int, bool, str]]] = {}
    for name, quoted, plain in _PARAMETER.findall(value, len(head)):
        content = _QUOTED_PAIR.sub(r"\1", quoted) if quoted else plain.strip()
        if "*" not in name:
            parameters.setdefault(name.lower(), content)
            continue
        cut = _CONTINUED.match(name)
        if cut is not None:
            base, number, is_encoded = cut.groups()
            extended.setdefault(base.lower(), []).append((int(number or 0), bool(is_encoded), content))
    for name, sections in extended.items():
        parameters[name] = _join_sections(sections)
    return head.strip().lower(), parameters


def _join_sections(sections: list[tuple[int, bool, str]]) -> str:
    """Join the sections of one parameter of RFC 2231, as bytes, and decode them once."""
    charset: str | None = None
    data = bytearray()
    for number, is_encoded, content in sorted(sections):
        if is_encoded and number == 0 and content.count("'") >= 2:
            charset, _language, content = content.split("'", 2)
        if is_encoded:
            data += unquote_to_bytes(content.encode("latin-1", "replace"))
        else:
            data += content.encode("latin-1", "replace")
    return decode_bytes(bytes(data), charset if canonical_charset(charset) else None).text


_UNSAFE_IN_FILENAME = re.compile(r"[\x00-\x1f\x7f]")


def decode_filename(written: str) -> str:
    """Return the last component of a file name as sent, decoded, without control characters; never a path."""
    name = decode_header_value(written)[0]
    return _UNSAFE_IN_FILENAME.sub("", name.replace("\\", "/").rpartition("/")[2])[:255]
