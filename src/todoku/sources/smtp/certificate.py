"""The certificate that the door shows, read again when its files change."""

from __future__ import annotations

import ipaddress
import ssl
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from todoku.kernel.clock import Clock
from todoku.sources.errors import SourceError

log = structlog.get_logger(__name__)

CHECK_SECONDS: Final = 30.0
_LARGEST_PEM_BYTES: Final = 1024 * 1024  # a chain has some kilobytes; a wrong path may lead to anything
_MEND: Final = "put a valid certificate and its key there; it is taken within half a minute, without a restart"


class CertificateUnusable(SourceError):
    """The files can't be shown to clients; what was in use before stays in use."""

    transient = True


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What the inventory of credentials wants to know of the certificate in use; nothing of it is secret.

    names: DNS names and IP addresses of subjectAltName, else the common name. fingerprint: SHA-256 of the DER, hex.
    """

    issuer: str
    names: tuple[str, ...]
    not_before_utc: datetime
    not_after_utc: datetime
    fingerprint: str


@dataclass(frozen=True, slots=True)
class CertificateStanding:
    """How the certificate stands. facts: None while there is none to show.

    written_at_utc: when its file was written. used_at_utc: its last handshake, None before the first.
    trouble, trouble_at_utc: why what is in the files now is not taken, and since when; "" = it is in use.
    """

    facts: CertificateFacts | None
    written_at_utc: datetime | None
    used_at_utc: datetime | None
    trouble: str
    trouble_at_utc: datetime | None


@dataclass(frozen=True, slots=True)
class _Loaded:
    context: ssl.SSLContext
    facts: CertificateFacts


class ServedCertificate:
    """A certificate and its key in PEM files that somebody else renews.

    certificate: the server's own first, then the chain. key: not encrypted, because nobody is there to type its
    password. The two are read at the first `check`, and again when a file was changed, at most every CHECK_SECONDS.
    New files that are broken, do not fit each other, or are not valid now leave the old certificate in use. Without an
    old one, an expired certificate is shown all the same: most senders encrypt without looking at the date (RFC 7435),
    and in the clear nobody would be better off.
    """

    def __init__(self, certificate: Path, key: Path, clock: Clock) -> None:
        self._certificate = certificate
        self._key = key
        self._clock = clock
        self._loaded: _Loaded | None = None
        self._stamp: tuple[tuple[int, int, int], ...] = ()
        self._checked_seconds: float | None = None
        self._complaint = ""
        self._complained_at_utc: datetime | None = None
        self._written_at_utc: datetime | None = None
        self._used_at_utc: datetime | None = None

    def facts(self) -> CertificateFacts | None:
        """Return the facts of the certificate in use; None while there is none."""
        return self._loaded.facts if self._loaded is not None else None

    def standing(self) -> CertificateStanding:
        """Return how it stands, for the inventory."""
        return CertificateStanding(
            self.facts(), self._written_at_utc, self._used_at_utc, self._complaint, self._complained_at_utc
        )

    def used(self) -> None:
        """Note that a client has done a handshake just now."""
        self._used_at_utc = self._clock.now_utc()

    def context(self) -> ssl.SSLContext | None:
        """Return what the next handshake is done with, after a check when one is due; None: offer no TLS."""
        self.check()
        return self._loaded.context if self._loaded is not None else None

    def check_at_once(self) -> None:
        """Check now: for who has just written the files."""
        self._checked_seconds = None
        self.check()

    def check(self) -> None:
        """Read the files when they were changed and the last look is CHECK_SECONDS ago. Never raises; logs instead."""
        now_seconds = self._clock.monotonic_seconds()
        if self._checked_seconds is not None and now_seconds - self._checked_seconds < CHECK_SECONDS:
            return
        self._checked_seconds = now_seconds
        try:
            stamp = self._look()
            if stamp == self._stamp:
                self._complaint, self._complained_at_utc = "", None  # the files were away for a while, and are back
                return
            loaded = self._read()
            self._require_valid_now(loaded.facts)
        except CertificateUnusable as error:
            self._complain(error.what)
            return
        if self._loaded is None or self._loaded.facts.fingerprint != loaded.facts.fingerprint:
            self._used_at_utc = None
        self._written_at_utc = datetime.fromtimestamp(stamp[0][0] / 1e9, UTC)
        self._loaded, self._stamp, self._complaint, self._complained_at_utc = loaded, stamp, "", None
        log.info("smtp.certificate_loaded", names=loaded.facts.names, not_after_utc=loaded.facts.not_after_utc)

    def _look(self) -> tuple[tuple[int, int, int], ...]:
        """Return what changes when a file is written or another is put in its place."""
        try:
            found = [path.stat() for path in (self._certificate, self._key)]
        except OSError as error:
            raise CertificateUnusable(f"{error.filename}: {error.strerror}", todo=_MEND) from error
        if not all(stat.S_ISREG(status.st_mode) for status in found):  # a pipe would never end
            raise CertificateUnusable(f"{self._certificate} or {self._key} is no plain file", todo=_MEND)
        return tuple((status.st_mtime_ns, status.st_ino, status.st_size) for status in found)

    def _read(self) -> _Loaded:
        before = self._contents()
        facts = _facts(self._certificate, before[0])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
        except (ssl.SSLError, ValueError, OSError) as error:
            # OpenSSL's words name the trouble and never quote the key
            raise CertificateUnusable(
                f"{self._certificate} and {self._key} can't be used together: {error}", todo=_MEND
            ) from error
        if self._contents() != before:
            raise CertificateUnusable(f"{self._certificate} or {self._key} is just being written", todo=_MEND)
        return _Loaded(context, facts)

    def _contents(self) -> tuple[bytes, bytes]:
        try:
            certificate, key = (_read_pem(path) for path in (self._certificate, self._key))
        except OSError as error:
            raise CertificateUnusable(f"{error.filename}: {error.strerror}", todo=_MEND) from error
        return certificate, key

    def _require_valid_now(self, facts: CertificateFacts) -> None:
        now_utc = self._clock.now_utc()
        if now_utc < facts.not_before_utc:
            trouble = f"{self._certificate} is valid only from {facts.not_before_utc.isoformat()} on"
        elif now_utc >= facts.not_after_utc:
            trouble = f"{self._certificate} expired at {facts.not_after_utc.isoformat()}"
        else:
            return
        if self._loaded is not None:
            raise CertificateUnusable(trouble, todo=_MEND)
        log.error("smtp.certificate_not_valid", trouble=trouble, kept="it is shown: there is no other", todo=_MEND)

    def _complain(self, complaint: str) -> None:
        """Say it once, not at every look."""
        if complaint == self._complaint:
            return
        self._complaint, self._complained_at_utc = complaint, self._clock.now_utc()
        in_use = self._loaded.facts.not_after_utc if self._loaded is not None else None
        log.error("smtp.certificate_not_reloaded", trouble=complaint, in_use_until_utc=in_use, todo=_MEND)


def _read_pem(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LARGEST_PEM_BYTES)


def _no_password() -> str:
    """Answer for an encrypted key: OpenSSL would ask at the terminal and stop the door."""
    raise ValueError("the key is encrypted, and there is nobody to type its password")


def _facts(path: Path, pem: bytes) -> CertificateFacts:
    try:
        own = x509.load_pem_x509_certificates(pem)[0]
        return CertificateFacts(
            issuer=own.issuer.rfc4514_string(),
            names=_names(own),
            not_before_utc=own.not_valid_before_utc,
            not_after_utc=own.not_valid_after_utc,
            fingerprint=own.fingerprint(hashes.SHA256()).hex(),
        )
    except ValueError as error:
        raise CertificateUnusable(f"{path} holds no readable PEM certificate: {error}", todo=_MEND) from error


def _names(own: x509.Certificate) -> tuple[str, ...]:
    try:
        listed = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return tuple(str(one.value) for one in own.subject.get_attributes_for_oid(NameOID.COMMON_NAME))
    addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address | ipaddress.IPv4Network | ipaddress.IPv6Network]
    addresses = listed.get_values_for_type(x509.IPAddress)
    return (*listed.get_values_for_type(x509.DNSName), *(str(address) for address in addresses))
