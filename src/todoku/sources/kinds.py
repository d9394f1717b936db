"""The kinds of sources from which mails are fetched, each by its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from todoku.kernel.clock import Clock
from todoku.kernel.errors import ConfigurationError
from todoku.sources.credentials import CredentialKind, Keyring
from todoku.sources.errors import BadSource
from todoku.sources.maildir import MaildirSettings, MaildirSource
from todoku.sources.registry import SourceEntry
from todoku.sources.s3 import S3Settings, S3Source
from todoku.sources.types import MailSource


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind asks for. settings: a struct with its settings; logs_in_with: none where nobody asks who comes."""

    settings: type[msgspec.Struct]
    logs_in_with: tuple[CredentialKind, ...]
    open: Callable[[Any, Keyring, Clock], MailSource]


KINDS: Final[dict[str, Kind]] = {
    "s3": Kind(S3Settings, (CredentialKind.STATIC_KEY, CredentialKind.SESSION_KEY), S3Source),
    "maildir": Kind(MaildirSettings, (), lambda settings, _keyring, clock: MaildirSource(Path(settings.folder), clock)),
}


def open_source(entry: SourceEntry, keyring: Keyring, clock: Clock) -> MailSource:
    """Return the source that an entry describes; nothing is connected yet. Raises BadSource."""
    kind = kind_of(entry)
    return kind.open(_settings_of(entry, kind), keyring, clock)


def require_settings(entry: SourceEntry) -> None:
    """Raise BadSource, naming the setting, unless the entry's kind can use what it says."""
    _settings_of(entry, kind_of(entry))


def kind_of(entry: SourceEntry) -> Kind:
    """Return the entry's kind; raises BadSource."""
    kind = KINDS.get(entry.kind)
    if kind is None:
        raise BadSource(f"there is no kind of source named {entry.kind}", todo=f"choose one of {', '.join(KINDS)}")
    return kind


def _settings_of(entry: SourceEntry, kind: Kind) -> msgspec.Struct:
    try:
        return msgspec.convert(entry.settings, kind.settings, strict=False)
    except (msgspec.ValidationError, ConfigurationError) as error:
        names = ", ".join(field.encode_name for field in msgspec.structs.fields(kind.settings))
        raise BadSource(
            f"the settings of {entry.source} can't be used: {error}", todo=f"{entry.kind} knows: {names}"
        ) from error
