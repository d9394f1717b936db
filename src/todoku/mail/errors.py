"""What can be wrong with a mail: one tree.

TodokuError
  └─ MailError
       ├─ Unreadable            broken beyond reading; permanent; the raw bytes stay where they were
       │    ├─ EmptyMail        no bytes, or only white space
       │    ├─ NotAMail         no header field at all: NUL bytes, an image, a text without headers
       │    ├─ MailTooLarge     more bytes than the caller allows
       │    ├─ HeadersTooLarge  more header bytes than any mail system writes
       │    ├─ TooManyParts     more parts than any reader would show
       │    └─ TooDeep          parts inside parts inside parts
       ├─ Unsignable            a message without From, which no DKIM signature can cover; permanent
       └─ BadDkimKey            a key, domain or selector that DKIM can't use; permanent
"""

from __future__ import annotations

from todoku.kernel.errors import TodokuError


class MailError(TodokuError):
    """Something is wrong with a mail."""


class Unreadable(MailError):
    """The bytes can't be read as a mail. Never transient: reading the same bytes again gives the same answer."""

    word = "unreadable"


class EmptyMail(Unreadable):
    """There is nothing to read."""

    word = "empty"


class NotAMail(Unreadable):
    """The bytes have no header field that a mail has."""

    word = "not_a_mail"


class MailTooLarge(Unreadable):
    """The mail has more bytes than the limit."""

    word = "too_large"


class HeadersTooLarge(Unreadable):
    """The headers of the mail and its parts have more bytes than the limit."""

    word = "headers_too_large"


class TooManyParts(Unreadable):
    """The mail has more parts than the limit."""

    word = "too_many_parts"


class TooDeep(Unreadable):
    """The parts are nested deeper than the limit."""

    word = "too_deep"


class Unsignable(MailError):
    """The message has nothing that a DKIM signature must cover."""


class BadDkimKey(MailError):
    """A key, a domain or a selector is not one that DKIM can use."""
