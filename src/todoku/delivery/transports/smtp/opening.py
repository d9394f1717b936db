"""The first words with a relay: greeting, EHLO, STARTTLS, AUTH. A generator, so it needs no socket.

It yields what to write and is sent the reply; it yields `StartTls` and is resumed when the handshake is done.
Sources: RFC 5321 sections 3.1-3.2, RFC 3207 (STARTTLS), RFC 4954 and 4616 (AUTH, PLAIN).
"""

from __future__ import annotations

import base64
from collections.abc import Generator
from dataclasses import dataclass
from typing import Final

from todoku.delivery.transports.smtp.offers import Offers, read_offers
from todoku.delivery.transports.smtp.relay import AuthMechanism, Relay, TlsMode
from todoku.delivery.transports.smtp.replies import Reply

_NOT_KNOWN: Final = frozenset({500, 501, 502, 504})  # a server from before RFC 1869
_LOGGED_IN: Final = 235
_CONTINUE: Final = 334


@dataclass(frozen=True, slots=True)
class StartTls:
    """Encrypt now; every octet that came before the handshake is a stranger's (RFC 3207 section 6)."""


Step = bytes | StartTls
Talk = Generator[Step, Reply | None, Offers]


class RelayRefused(Exception):
    """No mail can go over this connection; the text says why, without secrets."""


def talk_to(relay: Relay, ehlo_name: str) -> Talk:
    """Lead the first words; returns what the relay offers, raises RelayRefused. Begin with `next`: it yields b""."""
    greeting = yield from _ask(b"")
    if greeting.code != 220:
        raise RelayRefused(f"the relay refuses us: {greeting.verbatim()}")
    offers = yield from _introduce(ehlo_name)
    encrypted = relay.tls is TlsMode.IMPLICIT
    if relay.tls is TlsMode.REQUIRED and not offers.starttls:
        raise RelayRefused("the relay offers no STARTTLS, and tls=required")
    if offers.starttls and relay.tls in (TlsMode.REQUIRED, TlsMode.OPPORTUNISTIC):
        reply = yield from _ask(b"STARTTLS\r\n")
        if reply.code == 220:
            yield StartTls()
            encrypted = True
            offers = yield from _introduce(ehlo_name)  # what was said before in clear is forgotten
        elif relay.tls is TlsMode.REQUIRED:
            raise RelayRefused(f"the relay refuses STARTTLS: {reply.verbatim()}")
    if relay.user:
        if not (encrypted or relay.on_this_machine or relay.auth_in_clear_unsafe):
            raise RelayRefused("not logged in: the connection is not encrypted, and the secret does not go in clear")
        yield from _log_in(relay, offers)
    return offers


def _ask(command: bytes) -> Generator[Step, Reply | None, Reply]:
    reply = yield command
    if reply is None:
        raise RuntimeError("a command was resumed without its reply")
    return reply


def _introduce(ehlo_name: str) -> Generator[Step, Reply | None, Offers]:
    name = ehlo_name.encode("ascii")
    reply = yield from _ask(b"EHLO %b\r\n" % name)
    if reply.code in _NOT_KNOWN:
        reply = yield from _ask(b"HELO %b\r\n" % name)
    if reply.code != 250:
        raise RelayRefused(f"the relay refuses EHLO: {reply.verbatim()}")
    return read_offers(reply)


def _log_in(relay: Relay, offers: Offers) -> Generator[Step, Reply | None, None]:
    mechanism = _mechanism(relay, offers)
    user, secret = relay.user.encode(), relay.secret.encode()
    if mechanism is AuthMechanism.LOGIN:
        reply = yield from _ask(b"AUTH LOGIN\r\n")
        for word in (user, secret):
            if reply.code != _CONTINUE:
                break
            reply = yield from _ask(_base64(word) + b"\r\n")
    else:
        first = b"\0%b\0%b" % (user, secret)
        if mechanism is AuthMechanism.XOAUTH2:
            first = b"user=%b\x01auth=Bearer %b\x01\x01" % (user, secret)
        reply = yield from _ask(b"AUTH %b %b\r\n" % (mechanism.value.upper().encode(), _base64(first)))
        if reply.code == _CONTINUE:  # why it failed, as a challenge; the 535 comes after an empty answer
            reply = yield from _ask(b"\r\n")
    if reply.code != _LOGGED_IN:
        raise RelayRefused(f"the relay refuses the login of {relay.user!r}: {_without_secrets(reply, relay)}")


def _mechanism(relay: Relay, offers: Offers) -> AuthMechanism:
    wanted = [AuthMechanism.PLAIN, AuthMechanism.LOGIN] if relay.auth is AuthMechanism.AUTO else [relay.auth]
    for mechanism in wanted:
        if mechanism.value.upper() in offers.auth:
            return mechanism
    known = ", ".join(sorted(offers.auth)) or "none"
    raise RelayRefused(f"no way to log in: the relay offers {known}, wanted is {' or '.join(wanted)}")


def _base64(text: bytes) -> bytes:
    return base64.b64encode(text)


def _without_secrets(reply: Reply, relay: Relay) -> str:
    """Return the reply; a relay that repeats what it was sent must not bring a secret into the books."""
    text = reply.verbatim()
    secret = relay.secret.encode()
    hidden = [_base64(b"\0%b\0%b" % (relay.user.encode(), secret)), _base64(secret), secret]
    for one in hidden:
        text = text.replace(one.decode(), "…")
    return text
