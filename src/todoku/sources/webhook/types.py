"""What a call of a mail provider is, whose it is, and what is answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from todoku.sources.collecting import Place
from todoku.sources.credentials import Credential

RETRY_AFTER_SECONDS: Final = 60


class Provider(StrEnum):
    """Who calls; also the word in the address of the call."""

    SENDGRID = "sendgrid"  # Inbound Parse
    POSTMARK = "postmark"  # inbound stream
    MAILGUN = "mailgun"  # route with forward()
    SES = "ses"  # receipt rule, over an HTTPS subscription of an SNS topic


@dataclass(frozen=True, slots=True)
class WebhookPlace:
    """The source that a token belongs to.

    secrets: any of them proves a call, so that one can be replaced while both work; none: the token alone is the proof
    (except for SES, whose calls are always signed by Amazon). PASSWORD is basic authentication (SendGrid, Postmark);
    STATIC_KEY has `secret_key`: the signing key of Mailgun, or the public verification key of SendGrid in base64.
    topics: of SES, the ARNs of the topics that may call; no other is confirmed or believed.
    """

    place: Place
    provider: Provider
    secrets: tuple[Credential, ...] = ()
    topics: tuple[str, ...] = ()


class WebhookBook(Protocol):
    """Who owns which token, and what became of its secrets. It must not need a database."""

    async def find(self, token: str) -> WebhookPlace | None:
        """Return the place of a token, None when there is none; raises a TodokuError while that can't be known."""
        ...

    def used(self, place: WebhookPlace, credential_id: str) -> None:
        """Note that a call was proven by this secret just now."""
        ...

    def refused(self, place: WebhookPlace, why: str) -> None:
        """Note that a call with the right token was not proven, or not taken as it is. why: without secrets.

        Not a word about one secret, as a keyring's is: anybody who knows the token can cause it, so no secret may be
        put aside because of it. It is to alert a person while the provider still tries again.
        """
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """One POST. headers: names in small letters. body: the octets as they came."""

    content_type: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Attached:
    """One attachment as a provider hands it over, decoded. content_id: without <>, "" when it is not inline."""

    name: str
    content_type: str
    content: bytes = field(repr=False)
    content_id: str = ""


@dataclass(frozen=True, slots=True)
class Parts:
    """A mail that its provider took to pieces. headers: in order, values as the provider writes them."""

    provider: Provider
    headers: tuple[tuple[str, str], ...]
    text: str | None = None
    html: str | None = None
    attached: tuple[Attached, ...] = ()


Rebuild = Callable[[Parts], bytes]  # the same parts always make the same bytes
ReadObject = Callable[[WebhookPlace, str, str], Awaitable[bytes]]  # place, bucket, key; raises CannotFetch, CannotLook


@dataclass(frozen=True, slots=True)
class Handed:
    """What a call hands over: a mail as it was sent, or its parts, or (neither) a message to us about the hook itself.

    identity: the provider's own name for the mail, the same in every repetition; "" when it gives none.
    credential_id: which secret proved the call, "" when none was needed. once: what was signed in place of the mail, so
    that a second mail under it is a forgery; "" when the mail itself is signed. note: what the hook was told.
    """

    raw: bytes | None = field(default=None, repr=False)
    parts: Parts | None = None
    identity: str = ""
    mail_from: str = ""
    rcpt_to: str = ""
    credential_id: str = ""
    once: str = field(default="", repr=False)
    note: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the provider is told. A POST is answered by 200 or 503 and nothing else (see the package's manual page)."""

    status: int
    text: str
    retry_after_seconds: int | None = None

    @classmethod
    def kept(cls, text: str) -> Answer:
        """Tell that the mail is kept: the provider forgets it."""
        return cls(200, text)

    @classmethod
    def later(cls, text: str) -> Answer:
        """Tell that it is not kept: the provider tries again."""
        return cls(503, text, RETRY_AFTER_SECONDS)


def tidy_address(value: object) -> str:
    """Return an envelope address of a call: one line of at most 320 characters, "" for anything that is no text."""
    if not isinstance(value, str):
        return ""
    return "".join(letter for letter in value if letter.isprintable())[:320].strip().removeprefix("<").removesuffix(">")
