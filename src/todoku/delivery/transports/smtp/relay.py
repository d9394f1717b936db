"""Which relay, and how to talk to it, read from its URL.

    smtp://user:secret@host:587?tls=required&ca=/etc/ssl/relay.pem&connections=10&depth=8&chunking=auto
    smtps://host:465

Letters of user and secret that a URL reserves are written as %XX.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from todoku.kernel.errors import ConfigurationError

_OPTIONS = frozenset(
    {"tls", "ca", "auth", "auth_in_clear_unsafe", "connections", "depth", "chunking", "max_bytes", "ehlo"}
)


_Choice = TypeVar("_Choice", bound=StrEnum)


class TlsMode(StrEnum):
    """When a connection is encrypted. Wherever it is, the certificate is checked."""

    OFF = "off"
    OPPORTUNISTIC = "opportunistic"  # STARTTLS when the relay offers it
    REQUIRED = "required"  # no STARTTLS, no mail
    IMPLICIT = "implicit"  # TLS from the first octet (RFC 8314), scheme smtps


class AuthMechanism(StrEnum):
    """How to log in (RFC 4954); AUTO takes PLAIN, else LOGIN, as the relay offers."""

    AUTO = "auto"
    PLAIN = "plain"
    LOGIN = "login"
    XOAUTH2 = "xoauth2"  # the secret is a bearer token; who fetches new ones is not this transport


@dataclass(frozen=True, slots=True)
class Relay:
    """One relay as its URL describes it.

    connections: 1-1000. depth: messages a connection may have in flight with CHUNKING, 1-100; after a kill at most
    connections x depth recipients are unknown. max_bytes: own limit for one message, 0 = only the relay's.
    """

    host: str
    port: int
    tls: TlsMode = TlsMode.OFF
    user: str = ""
    secret: str = field(default="", repr=False)
    auth: AuthMechanism = AuthMechanism.AUTO
    auth_in_clear_unsafe: bool = False
    ca_file: str = ""
    connections: int = 10
    depth: int = 8
    chunking: bool = True
    max_bytes: int = 0
    ehlo_name: str = ""

    @property
    def name(self) -> str:
        """Return host and port, as logs and answers say it."""
        return f"{self.host}:{self.port}"

    @property
    def on_this_machine(self) -> bool:
        """Tell whether the relay is on loopback, where no cable can be tapped."""
        return _is_loopback(self.host)


def read_relay_url(relay_url: str) -> Relay:
    """Read a relay's URL; raises ConfigurationError, which never repeats the secret."""
    try:
        parts = urlsplit(relay_url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigurationError(f"the relay's URL can't be read: {error}") from None
    if parts.scheme not in ("smtp", "smtps") or not host or parts.path.strip("/"):
        raise ConfigurationError(f"the relay must be smtp://host:port or smtps://host:port, not {_shown(relay_url)!r}")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := options.keys() - _OPTIONS:
        raise ConfigurationError(f"the relay's URL has unknown options: {', '.join(sorted(unknown))}")
    user, secret = unquote(parts.username or ""), unquote(parts.password or "")
    if bool(user) != bool(secret):
        raise ConfigurationError("the relay's URL needs both user and secret, or none of them")
    tls = _tls(parts.scheme, options, host, with_login=bool(user))
    return Relay(
        host=host,
        port=port or (465 if tls is TlsMode.IMPLICIT else 25),
        tls=tls,
        user=user,
        secret=secret,
        auth=_choice(AuthMechanism, options, "auth", AuthMechanism.AUTO),
        auth_in_clear_unsafe=_flag(options, "auth_in_clear_unsafe"),
        ca_file=options.get("ca", ""),
        connections=_number(options, "connections", 10, 1, 1_000),
        depth=_number(options, "depth", 8, 1, 100),
        chunking=_choice(_Chunking, options, "chunking", _Chunking.AUTO) is _Chunking.AUTO,
        max_bytes=_number(options, "max_bytes", 0, 0, 1 << 40),
        ehlo_name=_ehlo_name(options),
    )


class _Chunking(StrEnum):
    AUTO = "auto"
    OFF = "off"


def _tls(scheme: str, options: Mapping[str, str], host: str, *, with_login: bool) -> TlsMode:
    if scheme == "smtps":
        if options.get("tls", "implicit") != "implicit":
            raise ConfigurationError("smtps:// is encrypted from the first octet: leave `tls` out")
        return TlsMode.IMPLICIT
    elsewhere = TlsMode.REQUIRED if with_login else TlsMode.OPPORTUNISTIC
    usual = TlsMode.OFF if _is_loopback(host) else elsewhere
    tls = _choice(TlsMode, options, "tls", usual)
    if tls is TlsMode.IMPLICIT:
        raise ConfigurationError("TLS from the first octet is written smtps://")
    return tls


def _choice(kind: type[_Choice], options: Mapping[str, str], name: str, usual: _Choice) -> _Choice:
    try:
        return kind(options[name]) if name in options else usual
    except ValueError:
        raise ConfigurationError(
            f"the relay's URL: {name} is one of {', '.join(kind)}, not {options[name]!r}"
        ) from None


def _number(options: Mapping[str, str], name: str, usual: int, least: int, most: int) -> int:
    value = options.get(name, str(usual))
    if not (value.isascii() and value.isdigit() and least <= int(value) <= most):
        raise ConfigurationError(f"the relay's URL: {name} must be {least}-{most}, not {value!r}")
    return int(value)


def _flag(options: Mapping[str, str], name: str) -> bool:
    value = options.get(name, "no")
    if value not in ("yes", "no"):
        raise ConfigurationError(f"the relay's URL: {name} is yes or no, not {value!r}")
    return value == "yes"


def _ehlo_name(options: Mapping[str, str]) -> str:
    name = options.get("ehlo", "")
    if name and not (name.isascii() and name.isprintable() and " " not in name):
        raise ConfigurationError(f"the relay's URL: ehlo must be a host name, not {name!r}")
    return name


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _shown(relay_url: str) -> str:
    """Return the URL without what may be a secret."""
    scheme, separator, rest = relay_url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2].partition('?')[0]}"
