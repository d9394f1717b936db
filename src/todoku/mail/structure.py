"""The structure of a mail: header fields and parts, cut from the raw bytes in bounded time.

Why not the standard library's parser or a compiled one: see docs/mail.md. In short, both hand out header values that
are decoded already (and wrongly for Japanese), and the compiled one refuses a whole mail for one broken base64 part.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from todoku.mail.errors import HeadersTooLarge, NotAMail, TooDeep, TooManyParts
from todoku.mail.headers import parse_parameters

# Anchored to line starts: without it a long line without a colon costs its square.
_FIELD = re.compile(r"^([!-9;-~]+)[ \t]*:([^\n]*)(?:\n|\Z)", re.MULTILINE)
_LINE_FEED = 10
_MOST_FALSE_DELIMITERS = 10_000
_KEPT = "the raw mail, byte for byte"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one mail may cost. bytes of the whole, bytes of all headers together, parts, depth of parts in parts."""

    mail_bytes: int = 50 * 1024 * 1024
    header_bytes: int = 256 * 1024
    parts: int = 200
    depth: int = 50


class Part(msgspec.Struct, frozen=True):
    """One leaf. headers: (name in lower case, raw value by latin-1), first ones win. body: still transfer-encoded."""

    content_type: str
    parameters: dict[str, str]
    headers: dict[str, str]
    body: bytes
    container: str


class StructureReader:
    """Cut one mail into its header fields and leaves; made for one mail and thrown away."""

    def __init__(self, limits: Limits) -> None:
        self.defects: list[str] = []
        self.leaves: list[Part] = []
        self.first_fields: dict[str, str] = {}
        self._limits = limits
        self._header_bytes_left = limits.header_bytes
        self._parts_left = limits.parts
        # each level of a large part is a copy that stays until the part is read
        self._scan_bytes_left = 4 * limits.mail_bytes

    def read(self, raw: bytes) -> list[tuple[str, str]]:
        """Return the header fields in order (raw values by latin-1); `first_fields` and `leaves` are filled.

        Raises NotAMail, HeadersTooLarge, TooManyParts, TooDeep; nothing else, whatever the bytes are.
        """
        fields, body = self._split(raw, top=True)
        self.first_fields = _first_of_each(fields)
        if _MAIL_FIELDS.isdisjoint(self.first_fields):
            raise NotAMail("The bytes have no header field of a mail.", kept=_KEPT, todo="Look at the bytes.")
        self._read_part(self.first_fields, body, depth=0, container="")
        return fields

    def _split(self, data: bytes, *, top: bool) -> tuple[list[tuple[str, str]], bytes]:
        """Cut header block and body; a part may begin with its empty line and have no header at all."""
        if data.startswith((b"\n", b"\r\n")):
            return [], data[data.index(b"\n") + 1 :]
        limit = self._header_bytes_left
        block, body = _cut_at_empty_line(data, limit + 4)
        if len(block) > limit:
            if top and not _FIELD.match(block[:2048].decode("latin-1")):
                raise NotAMail("The bytes don't begin with a header field.", kept=_KEPT, todo="Look at the bytes.")
            raise HeadersTooLarge(
                f"The headers have more than {self._limits.header_bytes} bytes.", kept=_KEPT, todo="Look at the bytes."
            )
        self._header_bytes_left -= len(block)
        fields, overlooked = self._fields(block)
        if overlooked:
            body = overlooked + body
        return fields, body

    def _fields(self, block: bytes) -> tuple[list[tuple[str, str]], bytes]:
        """Read the fields, unfolded; return also what of the block is body because its empty line is missing."""
        text = block.decode("latin-1").replace("\r\n", "\n").replace("\n\t", "\n ").replace("\n ", " ")
        fields = []
        for line in text.split("\n"):
            name, colon, value = line.partition(":")
            if name not in _KNOWN_NAMES:
                name = name.rstrip(" \t")
                # as RFC 5322 section 2.2: printable ASCII without blank and colon
                if not (name and name.isascii() and name.isprintable() and " " not in name):
                    return self._odd_fields(text)
            if not colon:
                return self._odd_fields(text)
            fields.append((name, value.strip(" \t")))
        return fields, b""

    def _odd_fields(self, text: str) -> tuple[list[tuple[str, str]], bytes]:
        """Read a block that has lines which are no fields: skipped between fields, body when no field follows."""
        fields: list[tuple[str, str]] = []
        position = 0
        while position < len(text):
            found = _FIELD.match(text, position)
            if found is not None:
                fields.append((found.group(1), found.group(2).strip(" \t")))
                position = found.end()
                continue
            following = _NEXT_FIELD.search(text, position)
            if following is None:
                if not text[position:].strip() or text.startswith("From ", position) or not fields:
                    return fields, b"" if fields else text.encode("latin-1")
                self._defect("missing_blank_line")
                return fields, text[position:].encode("latin-1")
            self._defect("malformed_header") if position or not text.startswith("From ") else None
            position = following.start()
        return fields, b""

    def _read_part(self, headers: dict[str, str], body: bytes, *, depth: int, container: str) -> None:
        declared = headers.get("content-type", "")
        content_type, parameters = _content_type(declared) if declared else ("", {})
        if content_type.startswith("multipart/"):
            if depth >= self._limits.depth:
                raise TooDeep(f"Parts are nested deeper than {depth}.", kept=_KEPT, todo="Look at the mail by hand.")
            if self._read_children(content_type, parameters, body, depth):
                return
            self._defect("multipart_without_parts")
            content_type, parameters = "text/plain", {}
        elif content_type.count("/") != 1:
            if content_type:
                self._defect("bad_content_type")
            content_type = "message/rfc822" if container == "multipart/digest" else "text/plain"
        self._count_part()
        self.leaves.append(Part(content_type, parameters, headers, body, container))

    def _read_children(self, content_type: str, parameters: dict[str, str], body: bytes, depth: int) -> bool:
        boundary = parameters.get("boundary", "").encode("latin-1", "replace")
        pieces = self._cut(body, boundary) if boundary else []
        if not pieces:
            guessed = _guess_boundary(body)
            pieces = self._cut(body, guessed) if guessed else []
            if not pieces:
                return False
            self._defect("boundary_guessed")
        pieces.reverse()
        while pieces:
            # no name for the piece: 20 levels of a large part would hold two copies each
            fields, content = self._split(pieces.pop(), top=False)
            self._read_part(_first_of_each(fields), content, depth=depth + 1, container=content_type)
        return True

    def _cut(self, body: bytes, boundary: bytes) -> list[bytes]:
        """Cut a multipart body at its delimiter lines (RFC 2046 section 5.1.1); text before and after is dropped."""
        self._scan_bytes_left -= len(body)
        if self._scan_bytes_left < 0:
            raise TooDeep("Large parts are nested too deep.", kept=_KEPT, todo="Look at the mail by hand.")
        delimiter = b"--" + boundary
        pieces: list[bytes] = []
        false_finds = 0
        start = -1
        at = body.find(delimiter)
        while at >= 0:
            next_from = at + len(delimiter)
            if at == 0 or body[at - 1] == _LINE_FEED:
                next_from = line_end = _line_end(body, at)
                after = body[at + len(delimiter) : line_end].rstrip(b" \t\r")
                if after in (b"", b"--"):
                    if start >= 0:
                        pieces.append(_without_last_line_end(body[start:at]))
                        if len(pieces) > self._parts_left:
                            self._too_many()
                    start = line_end + 1
                    if after:
                        return pieces
                    false_finds -= 1
            false_finds += 1
            if false_finds > _MOST_FALSE_DELIMITERS:
                self._too_many()
            at = body.find(delimiter, next_from)
        if start >= 0:
            self._defect("boundary_not_closed")
            pieces.append(body[start:])
        return pieces

    def _count_part(self) -> None:
        self._parts_left -= 1
        if self._parts_left < 0:
            self._too_many()

    def _too_many(self) -> None:
        raise TooManyParts(
            f"The mail has more than {self._limits.parts} parts.", kept=_KEPT, todo="Look at the mail by hand."
        )

    def _defect(self, word: str) -> None:
        if word not in self.defects:
            self.defects.append(word)


_NEXT_FIELD = re.compile(r"^[!-9;-~]+[ \t]*:", re.MULTILINE)
_MAIL_FIELD_NAMES = (
    "from to subject date message-id received mime-version content-type return-path delivered-to cc bcc reply-to "
    "sender x-original-to dkim-signature x-mailer list-id arc-seal references in-reply-to authentication-results"
)
_MAIL_FIELDS = frozenset(_MAIL_FIELD_NAMES.split())


_KNOWN_NAMES = frozenset(
    name for lower in _MAIL_FIELDS for name in (lower, lower.title(), lower.title().replace("-Id", "-ID"))
) | {"MIME-Version", "DKIM-Signature", "Content-Transfer-Encoding", "Content-Disposition", "ARC-Seal"}


def _content_type(declared: str) -> tuple[str, dict[str, str]]:
    return _repeated_type(declared) if len(declared) <= _LONGEST_REPEATED_TYPE else parse_parameters(declared)


# `text/plain; charset=…` is the same in most mails. Nobody may change the parameters that come out.
_LONGEST_REPEATED_TYPE = 48
_repeated_type = lru_cache(maxsize=256)(parse_parameters)


def _first_of_each(fields: list[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in reversed(fields)}


def _cut_at_empty_line(data: bytes, most: int) -> tuple[bytes, bytes]:
    """Cut at the first empty line, looked for in so many bytes; without one all is header."""
    with_cr = data.find(b"\n\r\n", 0, most)
    without_cr = data.find(b"\n\n", 0, with_cr if with_cr >= 0 else most)
    if without_cr >= 0:
        return data[:without_cr], data[without_cr + 2 :]
    return (data[:with_cr], data[with_cr + 3 :]) if with_cr >= 0 else (data, b"")


def _line_end(body: bytes, start: int) -> int:
    end = body.find(b"\n", start)
    return len(body) if end < 0 else end


def _without_last_line_end(piece: bytes) -> bytes:
    """Take off the line end that belongs to the delimiter after it."""
    if piece.endswith(b"\r\n"):
        return piece[:-2]
    return piece[:-1] if piece.endswith(b"\n") else piece


_LIKELY_DELIMITER = re.compile(rb"(?:\A|\n)--([^\s-][^\r\n]{0,80}|-+[^\s-][^\r\n]{0,80})\r?\n[Cc]ontent-")


def _guess_boundary(body: bytes) -> bytes:
    """Find a delimiter line that is followed by a part's header, for mail that names the wrong boundary or none."""
    found = _LIKELY_DELIMITER.search(body, 0, 65_536)
    return found.group(1).rstrip() if found else b""
