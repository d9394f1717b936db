"""From nothing to a connection that is logged in with one credential."""

from __future__ import annotations

import ssl
from typing import Annotated, Final

import msgspec

from todoku.sources.credentials import Credential, CredentialKind
from todoku.sources.errors import CannotLook, Cause, CredentialRefused
from todoku.sources.imap.connection import ImapConnection
from todoku.sources.imap.responses import BadResponse, Status, quoted
from todoku.sources.line_stream import LineStream, words
from todoku.sources.sasl import Exchange, challenge_words, choose, is_not_now, require_clean
from todoku.sources.tls import Encryption, client_context

_REFUSED_CODES: Final = frozenset(
    {"AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED", "PRIVACYREQUIRED", "CONTACTADMIN", "NOPERM"}
)
_NOT_NOW_CODES: Final = frozenset({"UNAVAILABLE", "INUSE", "LIMIT", "SERVERBUG"})  # RFC 5530


class ImapSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the folder is.

    folder: its name as people write it, `INBOX` or `予約/食べログ`. ca_pem: authorities to believe instead of the
    system's. timeout_seconds: how long one answer, or 64 kB of a mail, may take.
    """

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 993
    encryption: Encryption = Encryption.TLS
    folder: Annotated[str, msgspec.Meta(min_length=1, max_length=500)] = "INBOX"
    ca_pem: str = ""
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=600)] = 30.0


async def open_connection(settings: ImapSettings, credential: Credential) -> ImapConnection:
    """Return a connection that is logged in; raises CredentialRefused, CannotLook."""
    require_clean(credential)
    context: ssl.SSLContext | None = None
    if settings.encryption is not Encryption.NONE:
        own = (credential.secret("certificate_pem"), credential.secret("key_pem"))
        context = client_context(settings.ca_pem, *own)
    at_once = context if settings.encryption is Encryption.TLS else None
    connection = ImapConnection(await LineStream.open(settings.host, settings.port, at_once, settings.timeout_seconds))
    try:
        greeting = await connection.greeting()
        if settings.encryption is Encryption.STARTTLS and context is not None:
            await _encrypt(connection, greeting, context)
        if greeting.word != "PREAUTH":
            if not connection.capabilities:
                await connection.command(b"CAPABILITY")
            await _prove(connection, credential, settings)
        await _after_login(connection)
    except BaseException:
        connection.close()
        raise
    return connection


async def _encrypt(connection: ImapConnection, greeting: Status, context: ssl.SSLContext) -> None:
    """Begin TLS or give up: a server that is already logged in, or refuses, may be a man in the middle (RFC 9051)."""
    host = connection.wire.host
    if greeting.word == "PREAUTH":
        raise CannotLook(Cause.PROTOCOL, f"{host} lets us in before TLS can begin: somebody may be in between")
    status = await connection.command(b"STARTTLS")
    if status.word != "OK":
        raise CannotLook(
            Cause.PROTOCOL,
            f"{host} does not begin TLS: {words(status.text)}",
            todo="choose encryption from the start (tls), mostly at port 993",
        )
    await connection.wire.start_tls(context)
    connection.capabilities = frozenset()  # what was said in clear does not count (RFC 9051 section 6.2.1)


async def _prove(connection: ImapConnection, credential: Credential, settings: ImapSettings) -> None:
    if credential.kind is CredentialKind.CLIENT_CERTIFICATE and not connection.wire.encrypted:
        raise CredentialRefused("a client certificate can be shown with TLS only")
    offered = {name.removeprefix("AUTH=") for name in connection.capabilities if name.startswith("AUTH=")}
    exchange = choose(credential, offered, settings.host, settings.port)
    if exchange is not None:
        status, challenge = await _authenticate(connection, exchange)
    elif credential.kind is CredentialKind.PASSWORD and "LOGINDISABLED" not in connection.capabilities:
        status, challenge = await _login(connection, credential), b""
    else:
        raise CredentialRefused(
            f"{settings.host} offers no way to log in with a credential of the kind {credential.kind}",
            todo="turn encryption on, or choose another kind",
        )
    if status.word == "OK":
        return
    secrets = list(credential.secrets.values())
    said = words(b" ".join(part for part in (status.text, challenge) if part), *secrets)
    if status.code in _NOT_NOW_CODES or (status.code not in _REFUSED_CODES and is_not_now(said)):
        raise CannotLook(Cause.UNREACHABLE, f"{settings.host} can't log us in now: {said}")
    raise CredentialRefused(f"{settings.host} says: {said}")


async def _authenticate(connection: ImapConnection, exchange: Exchange) -> tuple[Status, bytes]:
    """Return the end and what the server said of a refused token."""
    challenge = b""
    answers = [exchange.first_base64, exchange.after_base64, b"*"]  # the last gives up (RFC 9051 section 6.2.2)
    command = b"AUTHENTICATE " + exchange.mechanism.encode()
    if "SASL-IR" in connection.capabilities:  # RFC 4959: one turn less
        command += b" " + answers.pop(0)

    def more(asked: bytes) -> bytes:
        nonlocal challenge
        challenge = challenge_words(asked) or challenge
        answer = _next(answers)
        return b"" if answer == b"=" else answer  # "=" stands for no bytes in the command line only

    status = await connection.command(command, more)
    return status, challenge


async def _login(connection: ImapConnection, credential: Credential) -> Status:
    """LOGIN with counted strings, which every server takes, whatever the letters (RFC 9051 section 4.3)."""
    user, password = (credential.secret(name).encode() for name in ("username", "password"))
    if user.isascii() and password.isascii():
        return await connection.command(b"LOGIN " + quoted(user) + b" " + quoted(password))
    parts = [user + b" {%d}" % len(password), password]
    return await connection.command(b"LOGIN {%d}" % len(user), lambda _asked: _next(parts))


def _next(answers: list[bytes]) -> bytes:
    if not answers:
        raise BadResponse("it asks again and again")
    return answers.pop(0)


async def _after_login(connection: ImapConnection) -> None:
    """Ask what the server can now, and for mails as they are: without UTF8=ACCEPT it may rewrite them (RFC 6858)."""
    await connection.command(b"CAPABILITY")
    if connection.capabilities & {"UTF8=ACCEPT", "UTF8=ONLY"}:
        status = await connection.command(b"ENABLE UTF8=ACCEPT")
        if status.word != "OK":
            connection.capabilities -= {"UTF8=ACCEPT", "UTF8=ONLY"}
