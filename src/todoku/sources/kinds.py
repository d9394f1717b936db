"""The kinds of sources that a project names, each by its name: places to fetch from, and addresses that are called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from todoku.kernel.clock import Clock
from todoku.kernel.errors import ConfigurationError
from todoku.sources.credentials import CredentialKind, Keyring
from todoku.sources.errors import BadSource
from todoku.sources.imap import ImapSettings, ImapSource
from todoku.sources.maildir import MaildirSettings, MaildirSource
from todoku.sources.pop3 import Pop3Settings, Pop3Source
from todoku.sources.registry import WEBHOOK, SourceEntry
from todoku.sources.s3 import S3Settings, S3Source
from todoku.sources.types import MailSource
from todoku.sources.webhook.book import TOKEN
from todoku.sources.webhook.types import Provider

Settings = TypeVar("Settings", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind asks for. settings: a struct with its settings; logs_in_with: none where nobody asks who comes."""

    settings: type[msgspec.Struct]
    logs_in_with: tuple[CredentialKind, ...]
    open: Callable[[Any, Keyring, Clock], MailSource]


@dataclass(frozen=True, slots=True)
class Field:
    """One setting, for forms. usual: what it is when nobody says anything; choices: all there is, () = free text."""

    name: str
    needed: bool
    usual: object
    choices: tuple[str, ...]


_MAILBOX_LOGINS: Final = (CredentialKind.PASSWORD, CredentialKind.OAUTH_TOKEN, CredentialKind.CLIENT_CERTIFICATE)
KINDS: Final[dict[str, Kind]] = {
    "imap": Kind(ImapSettings, _MAILBOX_LOGINS, ImapSource),
    "pop3": Kind(Pop3Settings, _MAILBOX_LOGINS, Pop3Source),
    "s3": Kind(S3Settings, (CredentialKind.STATIC_KEY, CredentialKind.SESSION_KEY), S3Source),
    "maildir": Kind(MaildirSettings, (), lambda settings, _keyring, clock: MaildirSource(Path(settings.folder), clock)),
}


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An address that a mail provider calls: `/inbound/<provider>/<token>`.

    token: made by `new_token`; whoever knows it may call. topics: of SES, ARNs separated by blanks.
    """

    provider: Provider
    token: str
    topics: str = ""


def fields_of(kind: str) -> list[Field]:
    """Return the settings of a kind of place, in the order in which they are asked."""
    fields = []
    for field in msgspec.structs.fields(KINDS[kind].settings):
        usual = "" if field.default is msgspec.NODEFAULT else field.default
        is_choice = isinstance(field.type, type) and issubclass(field.type, Enum)
        choices = tuple(str(one.value) for one in field.type) if is_choice else ()
        fields.append(Field(field.encode_name, field.required, usual, choices))
    return fields


def webhook_settings(entry: SourceEntry) -> WebhookSettings:
    """Return the settings of a webhook; raises BadSource."""
    settings = _converted(entry, WebhookSettings)
    if not TOKEN.fullmatch(settings.token):
        raise BadSource(f"the token of {entry.source} can be guessed", todo="let Todoku make one: leave it out")
    return settings


def open_source(entry: SourceEntry, keyring: Keyring, clock: Clock) -> MailSource:
    """Return the source that an entry describes; nothing is connected yet. Raises BadSource."""
    kind = kind_of(entry)
    return kind.open(_converted(entry, kind.settings), keyring, clock)


def require_settings(entry: SourceEntry) -> None:
    """Raise BadSource, naming the setting, unless the entry's kind can use what it says."""
    if entry.kind == WEBHOOK:
        webhook_settings(entry)
    else:
        _converted(entry, kind_of(entry).settings)


def kind_of(entry: SourceEntry) -> Kind:
    """Return the entry's kind; raises BadSource."""
    kind = KINDS.get(entry.kind)
    if kind is None:
        raise BadSource(
            f"there is no kind of source named {entry.kind}", todo=f"choose one of {', '.join([*KINDS, WEBHOOK])}"
        )
    return kind


def _converted(entry: SourceEntry, wanted: type[Settings]) -> Settings:
    try:
        return msgspec.convert(entry.settings, wanted, strict=False)
    except (msgspec.ValidationError, ConfigurationError) as error:
        names = ", ".join(field.encode_name for field in msgspec.structs.fields(wanted))
        raise BadSource(
            f"the settings of {entry.source} can't be used: {error}", todo=f"{entry.kind} knows: {names}"
        ) from error
