"""Raw bytes to a ParsedMail."""

from __future__ import annotations

import re

from todoku.kernel.folding import strip_invisible
from todoku.mail.charsets import decode_bytes, may_hold_invisible
from todoku.mail.dates import parse_date_header
from todoku.mail.errors import EmptyMail, MailTooLarge, NotAMail
from todoku.mail.headers import decode_filename, decode_header_value, parse_mailboxes, parse_parameters
from todoku.mail.html_text import MOST_HTML_CHARACTERS, html_to_text
from todoku.mail.structure import Limits, Part, StructureReader
from todoku.mail.transfer import decode_transfer
from todoku.mail.types import Attachment, Mailbox, ParsedMail

_KEPT = "the raw mail, byte for byte"
_STANDARD_LIMITS = Limits()
_NOBODY = Mailbox("", "")


def parse_mail(raw: bytes, *, limits: Limits = _STANDARD_LIMITS) -> ParsedMail:
    """Read one mail: headers, body text, HTML, attachments, all decoded, every lost character counted.

    Raises a subclass of mail.errors.Unreadable (EmptyMail, NotAMail, MailTooLarge, HeadersTooLarge, TooManyParts,
    TooDeep) and nothing else, whatever the bytes are. Time is linear in the bytes; limits are checked before the
    work they limit. Pure: no clock, no network, no state. What was repaired is named in `defects`.
    """
    data = _require_mail(raw, limits)
    reader = StructureReader(limits)
    fields = reader.read(data)
    body = _Body(reader.defects)
    for part in reader.leaves:
        body.add(part)
    text, html = body.texts()
    headers, lost = _decode_headers(fields)
    first = reader.first_fields
    senders = parse_mailboxes(first.get("from") or first.get("sender", ""))[0]
    date, defect = parse_date_header(first["date"]) if "date" in first else (None, None)
    if defect:
        reader.defects.append(defect)
    return ParsedMail(
        subject=decode_header_value(first["subject"])[0] if "subject" in first else "",
        sender=senders[0] if senders else _NOBODY,
        recipients=_recipients(fields),
        date=date,
        message_id=_message_id(first.get("message-id", "")),
        text=text,
        html=html,
        attachments=tuple(body.attachments),
        headers=headers,
        lossy_characters=lost + body.lossy_characters,
        defects=tuple(dict.fromkeys(reader.defects)),
    )


_RECIPIENT_FIELDS = frozenset(("To", "to", "TO", "tO", "Cc", "cc", "CC", "cC"))


def _recipients(fields: list[tuple[str, str]]) -> tuple[Mailbox, ...]:
    """Return the mailboxes of all To and Cc fields in order."""
    recipients: list[Mailbox] = []
    for name, value in fields:
        if name in _RECIPIENT_FIELDS:
            recipients.extend(parse_mailboxes(value)[0])
    return tuple(recipients)


def _require_mail(raw: bytes, limits: Limits) -> bytes:
    """Refuse what is no mail; take off what gateways put before the first header."""
    if len(raw) > limits.mail_bytes:
        raise MailTooLarge(
            f"The mail has {len(raw)} bytes, more than {limits.mail_bytes}.", kept=_KEPT, todo="Raise the limit."
        )
    data = raw.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
    if not data.strip(b" \t\r\n\x00"):
        if b"\x00" in raw:
            raise NotAMail("The bytes are only NUL.", kept=_KEPT, todo="Ask the source for the mail again.")
        raise EmptyMail("The mail has no bytes.", kept=_KEPT, todo="Ask the source for the mail again.")
    if b"\n" not in data[:65_536] and b"\r" in data[:65_536]:
        data = data.replace(b"\r", b"\n")
    return data


def _decode_headers(fields: list[tuple[str, str]]) -> tuple[tuple[tuple[str, str], ...], int]:
    """Decode all values; the plain ones, which are most, without a call."""
    lost = 0
    headers = []
    for field in fields:
        value = field[1]
        if "=?" not in value and value.isprintable() and value.isascii():
            headers.append(field)  # its blanks are off already
            continue
        decoded, missing = decode_header_value(value)
        lost += missing
        headers.append((field[0], decoded))
    return tuple(headers), lost


_MESSAGE_ID = re.compile(r"<[^<>]*>")
_USUAL_MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,900}>\Z")


def _message_id(value: str) -> str:
    """Return the id with its angle brackets, as it is written; folded white space is taken out."""
    if _USUAL_MESSAGE_ID.match(value):
        return value
    found = _MESSAGE_ID.search(value)
    return "".join((found.group() if found else value).split())[:998].replace("\x00", "")


_ENCODINGS = frozenset(("7bit", "8bit", "binary", "base64", "quoted-printable"))


class _Body:
    """Collects the leaves of one mail into text, HTML and attachments."""

    def __init__(self, defects: list[str]) -> None:
        self.attachments: list[Attachment] = []
        self.lossy_characters = 0
        self._plain: list[str] = []
        self._html: list[str] = []
        self._defects = defects

    def add(self, part: Part) -> None:
        """Decode one leaf and put it where it belongs."""
        encoding = part.headers.get("content-transfer-encoding", "")
        if encoding and encoding not in _ENCODINGS:
            encoding = encoding.partition(";")[0].partition("(")[0].strip(' \t\r\n"').lower()
        content, defect = decode_transfer(part.body, encoding)
        if defect:
            self._defects.append(defect)
        if part.content_type in ("text/plain", "text/html") and not self._is_attachment(part):
            decoded = decode_bytes(content, part.parameters.get("charset"))
            self.lossy_characters += decoded.lossy_characters
            text = _clean(decoded.text, may_hold_invisible=may_hold_invisible(content, decoded.charset))
            if "\x00" in decoded.text:
                self._defects.append("nul_removed")
            if part.parameters.get("format", "").lower() == "flowed" and part.content_type == "text/plain":
                text = _unflow(text, delete_space=part.parameters.get("delsp", "").lower() == "yes")
            (self._plain if part.content_type == "text/plain" else self._html).append(text)
            return
        self.attachments.append(Attachment(_filename(part), part.content_type, content))

    def texts(self) -> tuple[str, str | None]:
        """Return the text (plain, else from the HTML) and the HTML."""
        html = "\n".join(self._html) if self._html else None
        text = "\n".join(self._plain)
        if html is not None and not text.strip():
            text = strip_invisible(html_to_text(html))
            if len(html) > MOST_HTML_CHARACTERS:
                self._defects.append("html_cut")
        return text, html

    def _is_attachment(self, part: Part) -> bool:
        disposition = part.headers.get("content-disposition")
        if disposition is not None and parse_parameters(disposition)[0] == "attachment":
            return True
        return bool((self._plain or self._html) and _filename(part))


def _filename(part: Part) -> str:
    disposition = part.headers.get("content-disposition")
    written = parse_parameters(disposition)[1].get("filename") if disposition else None
    written = written or part.parameters.get("name") or ""
    return decode_filename(written) if written else ""


def _clean(text: str, *, may_hold_invisible: bool) -> str:
    """Make line ends \\n, take out NUL and characters without a shape."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\x00" in text:
        text = text.replace("\x00", "")
    return strip_invisible(text) if may_hold_invisible else text


def _unflow(text: str, *, delete_space: bool) -> str:
    """Join the lines that the sender's program broke (RFC 3676); signatures and quotes stay as they are."""
    lines: list[str] = []
    paragraph: list[str] = []
    for line in text.split("\n"):
        stuffed = line[1:] if line.startswith(" ") else line
        stands_alone = stuffed.startswith(">") or stuffed == "-- "
        if paragraph and stands_alone:
            lines.append("".join(paragraph))
            paragraph = []
        flows = stuffed.endswith(" ") and not stands_alone
        paragraph.append(stuffed[:-1] if flows and delete_space else stuffed)
        if not flows:
            lines.append("".join(paragraph))
            paragraph = []
    if paragraph:
        lines.append("".join(paragraph))
    return "\n".join(lines)
