"""What the mail room hands out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import msgspec


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One address with its decoded display name; address is as written, "" when there is none."""

    name: str
    address: str

    @property
    def domain(self) -> str:
        """Return the part after the last @, case-folded; "" when there is none."""
        return self.address.rpartition("@")[2].casefold() if "@" in self.address else ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """One part that is not a body; content is transfer-decoded."""

    filename: str
    content_type: str
    content: bytes = field(repr=False)


class ParsedMail(msgspec.Struct, frozen=True):
    """One received mail, decoded, with nothing dropped in silence.

    text: the body as people read it: the text/plain part, else the HTML turned to text with labels and values
    together; line ends are "\\n". html: the HTML body as sent (hostile), or None. lossy_characters: how many
    replacement characters decoding produced, headers included (0 is the promise). headers: (name, decoded value)
    in order. date: aware, from the Date header, None when absent or unreadable. defects: short stable words.
    """

    subject: str
    sender: Mailbox
    recipients: tuple[Mailbox, ...]
    date: datetime | None
    message_id: str
    text: str
    html: str | None
    attachments: tuple[Attachment, ...]
    headers: tuple[tuple[str, str], ...]
    lossy_characters: int
    defects: tuple[str, ...] = ()

    def header(self, name: str) -> str | None:
        """Return the first header of that name, decoded, or None."""
        wanted = name.casefold()
        return next((value for key, value in self.headers if key.casefold() == wanted), None)
