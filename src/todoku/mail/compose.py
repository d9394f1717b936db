"""Compose one personalised multipart/alternative message as bytes, fast.

Purpose     everything that is the same for a whole run is built once (`Composer`); one message is then a few joins.
Guarantees  lines of at most 998 octets, in practice 78 (RFC 5322 section 2.1.1); 7-bit unless the caller knows that
            the relay takes 8-bit (RFC 6152); header words encoded and folded by RFC 2047; CR, LF and NUL never reach
            a header; List-Unsubscribe and List-Unsubscribe-Post by RFC 8058 where the link is https.
Known limits  addresses with a non-ASCII local part need SMTPUTF8 (RFC 6531) and are refused with UnsafeAddress.
"""

from __future__ import annotations

import binascii
import re
import struct
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import NamedTuple

from todoku.kernel.addresses import UnsafeHeaderError, is_addr_spec, require_header_safe
from todoku.kernel.clock import require_aware
from todoku.mail.filled_bodies import LONGEST_LINE_OCTETS, BodyLayout, FilledBodies, LineRoom, fits, line_rooms

_FOLD_COLUMN = 76
_LEAST_ROOM = 12
WORD_OCTETS = 45  # of UTF-8 in one encoded-word: 60 letters of base64 and 12 of frame, below the 75 of RFC 2047

# octets of the first word on a line of which so many columns are taken
ROOMS = tuple(
    min(WORD_OCTETS, max(_LEAST_ROOM, (_FOLD_COLUMN - 12 - column) // 4 * 3)) for column in range(_FOLD_COLUMN)
)

_DOT_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*\Z")
_USUAL_ADDRESS = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\Z"
)
_PLAIN_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*\Z")
_URL = re.compile(r"[!#-;=?-~]{1,900}\Z")  # visible ASCII that can't end the angle brackets around it
BOUNDARIES = 4  # in Content-Type, before both parts, and at the end
_NOT_ASCII = bytes(range(128, 256))
_CONTROLS = bytes(code for code in range(32) if code not in b"\t\n")  # NUL and friends: CR comes back beside LF


class UnsafeAddress(UnsafeHeaderError):
    """The address can't be written into an envelope or a header without risk."""


@dataclass(frozen=True, slots=True)
class SenderIdentity:
    """Who a run's messages come from. reply_to: "" for none. message_id_domain: right-hand side of Message-ID."""

    name: str
    address: str
    reply_to: str
    message_id_domain: str


class MessageParts(NamedTuple):
    """What differs from message to message. subject, html and text are rendered; unsubscribe_url "" for none.

    html and text: str, or octets as `body_octets` makes them; "" where `FilledBodies` go with them. key:
    `<run>.<batch>.<index>`, ASCII, unique for a recipient of a run; Message-ID and X-Todoku-Recipient are made from it.
    """

    to_name: str
    to_address: str
    subject: str
    html: str | bytes
    text: str | bytes
    key: str
    unsubscribe_url: str = ""


class Plan(NamedTuple):
    """A layout with everything around it, for one join: a place for the headers, then literals and holes in turn.

    octets: of all literals. room: what the holes may have together without making any line too long; rooms: the same
    line by line. ascii: the literals are, so the holes must be. at_line_start: holes that would have to begin with that
    octet if their line were to become a boundary; None when the literals hold one already. No pieces: nothing is
    certain before it is filled.
    """

    pieces: list[bytes]
    octets: int = 0
    room: int = 0
    rooms: tuple[LineRoom, ...] = ()
    ascii: bool = False
    at_line_start: tuple[tuple[int, bytes], ...] | None = None


_NO_PLAN = Plan([])
_MOST_PLANS = 256  # a run has one layout for each pattern of conditions


class Composer:
    """Everything of a run's messages that never changes, ready to be joined with what does."""

    def __init__(self, identity: SenderIdentity, *, run_key: str, feedback_id: str, eight_bit: bool = False) -> None:
        """Prepare the fixed headers; raises UnsafeHeaderError or UnsafeAddress.

        run_key: ASCII token unique to the run. feedback_id: value of Feedback-ID, "" for none. eight_bit: the relay
        is known to take 8BITMIME, so UTF-8 goes out as it is.
        """
        require_header_safe(run_key + feedback_id)
        boundary = f"=_{run_key}"[:70]  # "=_" occurs neither in base64 nor in quoted-printable (RFC 2045 6.7)
        fixed = [f"From: {mailbox('From: ', identity.name, identity.address)}"]
        if identity.reply_to:
            fixed.append(f"Reply-To: {header_address(identity.reply_to)}")
        if feedback_id:
            fixed.append(f"Feedback-ID: {feedback_id}")
        fixed.append("MIME-Version: 1.0")
        fixed.append(f'Content-Type: multipart/alternative; boundary="{boundary}"')
        self._fixed = "\r\n".join(fixed).encode("ascii") + b"\r\n\r\n"
        self.boundary = boundary.encode("ascii")
        opening = b"--" + self.boundary + b"\r\nContent-Type: text/"
        self._text_opening = opening + b"plain; charset=utf-8\r\nContent-Transfer-Encoding: "
        self._html_opening = b"\r\n" + opening + b"html; charset=utf-8\r\nContent-Transfer-Encoding: "
        self._closing = b"\r\n--" + self.boundary + b"--\r\n"
        self.domain = header_domain(identity.message_id_domain)
        self._eight_bit = eight_bit
        self._plans: dict[BodyLayout, Plan] = {}
        self._last_subject = ("", "")

    def message_id(self, key: str) -> str:
        """Return the Message-ID of the recipient with that key, with its angle brackets."""
        return f"<{key}@{self.domain}>"

    def compose(self, parts: MessageParts, date: datetime) -> bytes:
        """Return the whole message with CRLF line ends, not dot-stuffed; raises UnsafeHeaderError or UnsafeAddress.

        date: aware, the moment of sending.
        """
        text_encoding, text = self._body(parts.text)
        html_encoding, html = self._body(parts.html)
        return b"".join(
            (
                self._headers(parts, date),
                self._fixed,
                self._text_opening,
                text_encoding,
                text,
                self._html_opening,
                html_encoding,
                html,
                self._closing,
            )
        )

    def compose_filled(self, parts: MessageParts, bodies: FilledBodies, date: datetime) -> tuple[bytes, bool]:
        """Return what `compose` makes of these bodies, and whether a line of it may begin with a dot.

        False is certain: headers and boundaries begin no line with a dot. Raises as `compose`.
        """
        plan = self.plan_of(bodies.layout)
        if plan.pieces:
            headers = self._headers(parts, date)
            pieces = plan.pieces.copy()
            pieces[0] = headers
            pieces[2::2] = bodies.holes
            content = b"".join(pieces)
            if (
                (len(content) - len(headers) - plan.octets <= plan.room or fits(plan.rooms, bodies.holes))
                and content.count(self.boundary) == BOUNDARIES
                and (not plan.ascii or content.isascii())
            ):
                return content, bodies.dot_lines
        return self.compose(parts._replace(text=bodies.text(), html=bodies.html()), date), True

    def plan_of(self, layout: BodyLayout) -> Plan:
        """Return the plan of a layout whose bodies go out as they are; made once."""
        known = self._plans.get(layout)
        if known is not None:
            return known
        if len(self._plans) >= _MOST_PLANS:
            self._plans.clear()
        self._plans[layout] = plan = self._make_plan(layout)
        return plan

    def _make_plan(self, layout: BodyLayout) -> Plan:
        plain = {b"".join(literals).isascii() for literals in (layout.text, layout.html)}
        rooms = (*line_rooms(layout.text, 0), *line_rooms(layout.html, len(layout.text) - 1))
        room = min((one.octets for one in rooms), default=LONGEST_LINE_OCTETS)
        if len(plain) > 1 or not (self._eight_bit or plain == {True}) or room < 0:
            return _NO_PLAN
        encoding = b"7bit\r\n\r\n" if plain == {True} else b"8bit\r\n\r\n"
        literals = [*layout.text, *layout.html[1:]]
        middle = len(layout.text) - 1
        literals[middle] += self._html_opening + encoding + layout.html[0]
        literals[0] = self._fixed + self._text_opening + encoding + literals[0]
        literals[-1] += self._closing
        pieces = [piece for literal in literals for piece in (b"", literal)]
        whole = sum(literal.count(self.boundary) for literal in literals) == BOUNDARIES
        at_line_start = _at_line_start(literals, b"--" + self.boundary) if whole else None
        return Plan(pieces, sum(map(len, literals)), room, rooms, plain == {True}, at_line_start)

    def _headers(self, parts: MessageParts, date: datetime) -> bytes:
        """Return what differs in the headers."""
        headers = (
            f"Date: {date_line(date)}\r\n"
            f"To: {mailbox('To: ', parts.to_name, parts.to_address)}\r\n"
            f"Subject: {self._subject(parts.subject)}\r\n"
            f"Message-ID: <{parts.key}@{self.domain}>\r\n"
            f"X-Todoku-Recipient: {parts.key}\r\n"
            f"{_unsubscribe(parts.unsubscribe_url)}"
        )
        return headers.encode("utf-8")  # beyond ASCII only in an address that needs SMTPUTF8

    def _subject(self, subject: str) -> str:
        """Return the subject's header; most runs have one for everybody."""
        if subject != self._last_subject[0]:
            self._last_subject = subject, unstructured(subject, len("Subject: "))
        return self._last_subject[1]

    def _body(self, body: str | bytes) -> tuple[bytes, bytes]:
        """Return the transfer encoding's name with an empty line, and the encoded body."""
        octets = body if isinstance(body, bytes) else body_octets(body)
        plain = octets.isascii()
        if (plain or self._eight_bit) and _short_lines(octets) and not self._has_boundary(octets):
            return (b"7bit\r\n\r\n" if plain else b"8bit\r\n\r\n"), octets
        wide = len(octets) - len(octets.translate(None, _NOT_ASCII))
        if wide * 6 < len(octets):
            return b"quoted-printable\r\n\r\n", quoted_printable(octets)
        return b"base64\r\n\r\n", folded_base64(octets)

    def _has_boundary(self, octets: bytes) -> bool:
        return b"_" in octets and self.boundary in octets  # looking for one octet is ten times quicker


def body_octets(body: str) -> bytes:
    """Return a body as it travels before any transfer encoding: UTF-8, CRLF line ends, no control but TAB."""
    if "\r" in body:
        body = body.replace("\r\n", "\n").replace("\r", "\n")
    return body.encode("utf-8", "replace").translate(None, _CONTROLS).replace(b"\n", b"\r\n")


@lru_cache(maxsize=1024)  # composed first, handed to the relay a moment later
def header_address(address: str) -> str:
    """Return the address as a header and an SMTP command may carry it; raises UnsafeAddress.

    A local part that is no dot-atom (`taro..y`, handed out by Japanese carriers until 2009) is quoted, by RFC 5321
    section 4.1.2; a domain in Japanese becomes its A-label.
    """
    if len(address) <= 254 and _USUAL_ADDRESS.match(address):
        return address
    if not is_addr_spec(address):
        raise UnsafeAddress(f"{address!r} is not one deliverable address")
    local, _, domain = address.rpartition("@")
    if not local.isascii() or not local.isprintable():
        raise UnsafeAddress(f"{address!r}: a local part beyond ASCII can go to a recipient by SMTPUTF8 only")
    if not _DOT_ATOM.match(local):
        local = '"' + local + '"'  # is_addr_spec lets neither quotes nor backslashes through
    return f"{local}@{header_domain(domain)}"


def recipient_address(address: str) -> str:
    """Return the address as the To header carries it; raises UnsafeAddress.

    Where the local part goes beyond ASCII the whole address stands as it is (RFC 6532): such a message travels by
    SMTPUTF8 only, and a transport without it says so for this recipient.
    """
    if not address.isascii() and not address.rpartition("@")[0].isascii():
        if not is_addr_spec(address) or not address.isprintable():
            raise UnsafeAddress(f"{address!r} is not one deliverable address")
        return address
    return header_address(address)


def header_domain(domain: str) -> str:
    """Return the domain in ASCII; raises UnsafeAddress."""
    if domain.isascii():
        if not domain.isprintable():
            raise UnsafeAddress(f"{domain!r} is not a domain")
        return domain
    try:
        return domain.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise UnsafeAddress(f"{domain!r} is not a domain: {error}") from error


def folded_base64(octets: bytes) -> bytes:
    """Return base64 in lines of 76 letters (RFC 2045 section 6.8), without a last line end."""
    letters = binascii.b2a_base64(octets, newline=False)
    whole, rest = divmod(len(letters), 76)
    lines = _lines_of_76(whole).unpack_from(letters)  # one C call instead of a slice a line
    return b"\r\n".join((*lines, letters[-rest:]) if rest else lines)


def quoted_printable(octets: bytes) -> bytes:
    """Return quoted-printable with CRLF line ends (RFC 2045 section 6.7)."""
    encoded = binascii.b2a_qp(octets.replace(b"\r\n", b"\n"), istext=True)
    return encoded.replace(b"\n", b"\r\n")


def encoded_words(text: str, first_column: int) -> str:
    """Return the text as RFC 2047 encoded-words in base64, folded; no character is split between two words.

    first_column: how many columns the header's name takes on the first line.
    """
    octets = text.encode("utf-8", "replace")
    room = ROOMS[first_column] if first_column < len(ROOMS) else _LEAST_ROOM
    if len(octets) <= room:
        return _word(octets)
    words: list[str] = []
    start = 0
    while len(octets) - start > room:
        end = start + room
        while octets[end] & 0xC0 == 0x80:  # a continuation byte: the character began earlier
            end -= 1
        words.append(_word(octets[start:end]))
        start, room = end, WORD_OCTETS
    words.append(_word(octets[start:]))
    return "\r\n ".join(words)


def _word(octets: bytes) -> str:
    return "=?utf-8?B?" + binascii.b2a_base64(octets, newline=False).decode("ascii") + "?="


@lru_cache(maxsize=512)
def _lines_of_76(lines: int) -> struct.Struct:
    return struct.Struct("76s" * lines)


@lru_cache(maxsize=8)  # a window is composed at one moment
def date_line(date: datetime) -> str:
    """Return the Date header's value; date: aware."""
    return format_datetime(require_aware(date).replace(microsecond=0))


def unstructured(value: str, column: int) -> str:
    """Return a header's free text, encoded and folded where it must be; raises UnsafeHeaderError."""
    if not value.isprintable():  # the quick look: what is printable holds no CR, LF or NUL
        require_header_safe(value)
    # "=?" in plain text would be read as an encoded-word; a long line must be folded, which only words make safe
    if value.isascii() and value.isprintable() and "=?" not in value and column + len(value) <= 78:
        return value
    return encoded_words(value, column)


def mailbox(header: str, name: str, address: str) -> str:
    """Return `name <address>`, the name as atoms, quoted-string or encoded-words (RFC 5322 section 3.4).

    header: with its colon and blank, for folding; only To may hold an address that needs SMTPUTF8.
    """
    target = recipient_address(address) if header == "To: " else header_address(address)
    if not name:
        return target
    printable = name.isprintable()
    if not printable:
        require_header_safe(name)
    if not name.isascii() or not printable or "=?" in name or len(name) > 50:
        phrase = encoded_words(name, len(header))
    elif _PLAIN_NAME.match(name):
        phrase = name
    else:
        phrase = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    separator = "\r\n " if len(phrase) - phrase.rfind("\n") + len(target) > _FOLD_COLUMN - len(header) else " "
    return f"{phrase}{separator}<{target}>"


def _unsubscribe(url: str) -> str:
    if not url:
        return ""
    if not _URL.match(url):
        raise UnsafeHeaderError("the unsubscribe link is not an ASCII URL of at most 900 letters")
    lines = f"List-Unsubscribe: <{url}>\r\n" if len(url) < 55 else f"List-Unsubscribe:\r\n <{url}>\r\n"
    if url.startswith("https://"):  # RFC 8058 section 3.1 allows one click over https only
        lines += "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    return lines


def _short_lines(octets: bytes) -> bool:
    """Tell whether no line is too long; every LF is known to have its CR."""
    start, end = 0, len(octets)
    while end - start > LONGEST_LINE_OCTETS:
        start = octets.rfind(b"\n", start, start + LONGEST_LINE_OCTETS + 2) + 1
        if not start:
            return False
    return True


def _at_line_start(literals: list[bytes], boundary_line: bytes) -> tuple[tuple[int, bytes], ...]:
    """Return the holes before which a line may be the beginning of a boundary, and the octet that would continue it."""
    found = []
    for hole, literal in enumerate(literals[:-1]):
        line = literal.rpartition(b"\n")[2]
        if b"\n" in literal and boundary_line.startswith(line):
            found.append((hole, boundary_line[len(line) : len(line) + 1]))
    return tuple(found)
