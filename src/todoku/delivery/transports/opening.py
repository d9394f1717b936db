"""From a URL to a transport.

    smtp://relay.example:25         smtps://user:secret@relay.example:465        docs/transports.md has the options
    ses://ap-northeast-1?configuration_set=campaigns
    null:                           a rehearsal: accepts everything, sends nothing
    URL,URL                         fail-over: the second takes what the first certainly did not

Other schemes (`anymail+...`) come from whoever may know Django, as `also`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from todoku.delivery.transports.failover import FailOverTransport
from todoku.delivery.transports.null import NullTransport
from todoku.delivery.transports.size_limit import SizeLimited
from todoku.delivery.transports.smtp import SmtpTransport
from todoku.delivery.types import Transport
from todoku.kernel.clock import Clock
from todoku.kernel.errors import ConfigurationError

MOST_OCTETS = 10_000_000  # mailboxes commonly take 10-25 MB; a campaign far below that is already a mistake
_NEXT_URL = re.compile(r"\s*,\s*(?=[a-z][a-z0-9+.-]*:)")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}\Z")

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*\Z")
_HOST = re.compile(r"(?:[A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?\Z")  # `user:secret` without a host is none

Opener = Callable[[str, Clock], Transport]
"""Make a transport from its whole URL; raises ConfigurationError, which never repeats a secret."""


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """What all transports share. most_octets: of one message. also: openers of more schemes, by scheme."""

    most_octets: int = MOST_OCTETS
    also: Mapping[str, Opener] | None = None


def open_transport(url: str, clock: Clock, options: OpenOptions | None = None) -> Transport:
    """Make the transport that a URL, or several with commas between them, describes; connects nothing yet.

    Raises ConfigurationError that says what is wrong without repeating user names, secrets or options.
    """
    chosen = options or OpenOptions()
    if not 1_000 <= chosen.most_octets <= 100_000_000:
        raise ConfigurationError(f"the limit for one message must be 1000-100000000 octets, not {chosen.most_octets}")
    urls = _urls_of(url)
    if not urls:
        raise ConfigurationError("no URL of a relay is given")
    openers = {**_OPENERS, **(chosen.also or {})}
    relays = [(shown(one), _open_one(one, clock, openers)) for one in urls]
    whole = relays[0][1] if len(relays) == 1 else FailOverTransport(relays, clock)
    return SizeLimited(whole, chosen.most_octets)


def read_named_urls(text: str) -> dict[str, str]:
    """Read `name=url name=url`, as TODOKU_TRANSPORTS has it; raises ConfigurationError for names that don't fit."""
    urls: dict[str, str] = {}
    for number, pair in enumerate(text.split(), start=1):
        name, equals, url = pair.partition("=")
        if not equals or not _NAME.match(name) or not url:
            raise ConfigurationError(
                f"TODOKU_TRANSPORTS, entry {number}: it must be name=url; a name has a-z, 0-9, - and _"
            )
        if name in urls:
            raise ConfigurationError(f"TODOKU_TRANSPORTS names {name} twice")
        urls[name] = url
    return urls


def shown_ways(url: str) -> str:
    """Return what `open_transport` takes, each URL without anything that may be a secret."""
    return ", ".join(shown(one) for one in _urls_of(url))


def _urls_of(url: str) -> list[str]:
    return [one for one in _NEXT_URL.split(url.strip()) if one]


def shown(url: str) -> str:
    """Return the URL without anything that may be a secret: scheme, host and port."""
    scheme, colon, rest = url.partition(":")
    if not colon or not _SCHEME.match(scheme):
        return "…"
    host = re.split(r"[/?#]", rest.removeprefix("//"), maxsplit=1)[0].rpartition("@")[2]
    if not rest.startswith("//"):
        return f"{scheme}:"
    return f"{scheme}://{host if _HOST.match(host) else '…'}"


def _open_one(url: str, clock: Clock, openers: Mapping[str, Opener]) -> Transport:
    scheme = url.partition(":")[0]
    opener = openers.get(scheme) or openers.get(scheme.partition("+")[0] + "+")
    if opener is None:
        known = ", ".join(sorted(f"{one}{'…' * one.endswith('+')}" for one in openers))
        raise ConfigurationError(f"a relay's URL begins with one of {known}; this one does not: {shown(url)}")
    if "…" in shown(url):
        raise ConfigurationError(f"the host and port of a {scheme} URL can't be read: letters that it reserves are %XX")
    return opener(url, clock)


def _open_smtp(url: str, clock: Clock) -> Transport:
    return SmtpTransport(url, clock=clock)


def _open_ses(url: str, clock: Clock) -> Transport:
    from todoku.delivery.transports.ses import SesTransport  # aiohttp and botocore cost 0.3 s, so only who needs them

    return SesTransport(url, clock)


def _open_null(url: str, clock: Clock) -> Transport:
    if url.partition(":")[2].strip("/"):
        raise ConfigurationError("null: takes no host and no options")
    return NullTransport()


_OPENERS: dict[str, Opener] = {"smtp": _open_smtp, "smtps": _open_smtp, "ses": _open_ses, "null": _open_null}
