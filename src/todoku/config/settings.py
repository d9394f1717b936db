"""The few settings of an installation, typed and checked at start.

Purpose   read the environment once, refuse odd values loudly.
Reads     environment variables named TODOKU_*; `<home>/secret.key` (made on first start, mode 0600).
Settings  TODOKU_HOME            folder of all data; default /var/lib/todoku for root, ~/.local/share/todoku for users
          TODOKU_DATABASE_URL    external PostgreSQL; empty = embedded
          TODOKU_NATS_URL        external NATS, several servers of a cluster with commas; empty = embedded
          TODOKU_NATS_REPLICAS   copies of each stream; 0 (default) = three in a cluster of three, else one
          TODOKU_VAULT_URL       s3://bucket/prefix; empty = folder `<home>/vault`
          TODOKU_WEB_LISTEN      host:port of the pages, default 127.0.0.1:8090
          TODOKU_SMTP_LISTEN     host:port of the SMTP door, default 127.0.0.1:8025
          TODOKU_LMTP_LISTEN     host:port of the LMTP door, for a mail server in front; empty = none
          TODOKU_SMTP_CERTIFICATE      PEM file, own certificate first, then its chain; empty = no STARTTLS;
                                 credential:<name> = a certificate of the installation's inventory
          TODOKU_SMTP_CERTIFICATE_KEY  PEM file of its key, without a password; both are read again when they change
          TODOKU_SMTP_TRUSTED    networks of the mail servers in front, by blanks: no counts and paces for them
          TODOKU_RELAY_URL       smtp://host:port that campaigns leave through; empty = the demo's own, or they wait;
                                 all kinds, and several for fail-over: docs/transports.md
          TODOKU_TRANSPORTS      name=URL name=URL: more ways out, which campaigns choose by name
          TODOKU_TRANSPORT_PACES name=number …: messages a second of a way out, over all senders; `default` too
          TODOKU_DOMAIN_PACES    domain=number …: messages a second to recipients of that domain, over all senders
          TODOKU_MESSAGE_MAX_OCTETS  a longer message is not sent, default 10000000
          TODOKU_SEAL_LEAD_SECONDS  how long before its due time a run is sealed, default 900
          TODOKU_PRE_SEAL_SECONDS   and a first time, against a database that is away by then, default 86400
          TODOKU_LEDGER_MONTHS   so long after its end a month's records stay in the database, then they go to the vault
                                 as Parquet; default 12, 3 at least, 0 = nothing moves by itself
          TODOKU_MAIL_DOMAIN     domain of the intake addresses, default in.todoku.example
          TODOKU_SECRETS_KEYS    keys that encrypt credentials, the newest first, separated by blanks; or file:<path>;
                                 empty = <home>/secrets.key, made on first use. On several machines: the same keys
          TODOKU_PUBLIC_URL      the URL that people use, default http://<TODOKU_WEB_LISTEN>
          TODOKU_DEMO            1 when the sample group is played: pages show the outbox
          TODOKU_ALLOWED_HOSTS   host names besides those of the URLs above, separated by commas
"""

from __future__ import annotations

import ipaddress
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from todoku.kernel.errors import ConfigurationError
from todoku.kernel.ids import require_subject_token


@dataclass(frozen=True, slots=True)
class Listen:
    """A host and port to listen on."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


# A server or a wire that died without a word is noticed within half a minute, not after the two hours of TCP's default.
_NOTICE_DEATH = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one installation; made by `load_settings`, never changed."""

    home: Path
    database_url: str
    nats_url: str
    nats_replicas: int
    vault_url: str
    web_listen: Listen
    smtp_listen: Listen
    lmtp_listen: Listen | None
    smtp_certificate: str
    smtp_certificate_key: str
    smtp_trusted: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    relay_url: str
    transports: str
    transport_paces: Mapping[str, float]
    domain_paces: Mapping[str, float]
    message_max_octets: int
    seal_lead_seconds: float
    pre_seal_seconds: float
    ledger_months: int
    mail_domain: str
    secrets_keys: str = field(repr=False)
    public_url: str
    demo: bool
    extra_hosts: tuple[str, ...]

    @property
    def smtp_credential(self) -> str:
        """Return the credential of the installation whose certificate the SMTP door shows, "" = it shows files."""
        prefix = "credential:"
        return self.smtp_certificate.removeprefix(prefix) if self.smtp_certificate.startswith(prefix) else ""

    @property
    def served_over_https(self) -> bool:
        """Tell whether people reach the pages over https."""
        return self.public_url.startswith("https://")

    @property
    def allowed_hosts(self) -> list[str]:
        """Return the host names under which pages answer."""
        public = urlsplit(self.public_url).hostname or "localhost"
        return sorted({public, self.web_listen.host, "localhost", "127.0.0.1", *self.extra_hosts})

    @property
    def trusted_origins(self) -> list[str]:
        """Return the origins from which forms are accepted."""
        return [self.public_url.rstrip("/")]

    def environment(self) -> dict[str, str]:
        """Return these settings as environment variables, for a child process."""
        return {
            "TODOKU_HOME": str(self.home),
            "TODOKU_DATABASE_URL": self.database_url,
            "TODOKU_NATS_URL": self.nats_url,
            "TODOKU_NATS_REPLICAS": str(self.nats_replicas),
            "TODOKU_VAULT_URL": self.vault_url,
            "TODOKU_WEB_LISTEN": str(self.web_listen),
            "TODOKU_SMTP_LISTEN": str(self.smtp_listen),
            "TODOKU_LMTP_LISTEN": str(self.lmtp_listen or ""),
            "TODOKU_SMTP_CERTIFICATE": self.smtp_certificate,
            "TODOKU_SMTP_CERTIFICATE_KEY": self.smtp_certificate_key,
            "TODOKU_SMTP_TRUSTED": " ".join(map(str, self.smtp_trusted)),
            "TODOKU_RELAY_URL": self.relay_url,
            "TODOKU_TRANSPORTS": self.transports,
            "TODOKU_TRANSPORT_PACES": _shown(self.transport_paces),
            "TODOKU_DOMAIN_PACES": _shown(self.domain_paces),
            "TODOKU_MESSAGE_MAX_OCTETS": str(self.message_max_octets),
            "TODOKU_SEAL_LEAD_SECONDS": str(self.seal_lead_seconds),
            "TODOKU_PRE_SEAL_SECONDS": str(self.pre_seal_seconds),
            "TODOKU_LEDGER_MONTHS": str(self.ledger_months),
            "TODOKU_MAIL_DOMAIN": self.mail_domain,
            "TODOKU_SECRETS_KEYS": self.secrets_keys,
            "TODOKU_PUBLIC_URL": self.public_url,
            "TODOKU_DEMO": "1" if self.demo else "0",
            "TODOKU_ALLOWED_HOSTS": ",".join(self.extra_hosts),
        }

    def secret_key(self) -> str:
        """Return the installation's own secret; made once, kept in `<home>/secret.key` with mode 0600."""
        path = self.home / "secret.key"
        try:
            return path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            self.home.mkdir(parents=True, exist_ok=True)
            fresh = secrets.token_urlsafe(48)
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                return path.read_text(encoding="ascii").strip()
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(fresh)
            return fresh

    def django_database(self) -> dict[str, Any]:
        """Return Django's description of the database; the embedded one when no URL is set."""
        url = self.database_url or embedded_database_url(self.home)
        parts = urlsplit(url)
        if parts.scheme not in {"postgresql", "postgres"}:
            raise ConfigurationError(f"TODOKU_DATABASE_URL must begin with postgresql://, not {parts.scheme!r}")
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(parts.path.lstrip("/")) or "todoku",
            "USER": unquote(parts.username or query.pop("user", "todoku")),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": query.pop("host", None) or parts.hostname or "",
            "PORT": str(parts.port or query.pop("port", "") or ""),
            "CONN_MAX_AGE": 0,  # an ASGI server runs each request on a thread of its own; kept ones pile up
            "OPTIONS": {**_NOTICE_DEATH, **query},
        }


def embedded_database_url(home: Path) -> str:
    """Return the URL of the embedded PostgreSQL as its engine wrote it at its last start, or its default socket."""
    try:
        return (home / "run" / "postgres.url").read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return f"postgresql://todoku@/todoku?host={home / 'run'}"


def embedded_nats_url(home: Path) -> str:
    """Return the URL of the embedded NATS as its engine wrote it at its last start; raises when it never ran."""
    path = home / "run" / "nats.url"
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"no embedded NATS has run in {home}: start `todoku serve` or set TODOKU_NATS_URL"
        ) from error


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read and check the settings; raises ConfigurationError that names the variable and the value."""
    env = os.environ if environment is None else environment
    web = _listen(env, "TODOKU_WEB_LISTEN", "127.0.0.1:8090")
    certificate, certificate_key = _certificate(env)
    return Settings(
        home=Path(env.get("TODOKU_HOME") or default_home()).expanduser().absolute(),
        database_url=env.get("TODOKU_DATABASE_URL", ""),
        nats_url=env.get("TODOKU_NATS_URL", ""),
        nats_replicas=_replicas(env, "TODOKU_NATS_REPLICAS"),
        vault_url=env.get("TODOKU_VAULT_URL", ""),
        web_listen=web,
        smtp_listen=_listen(env, "TODOKU_SMTP_LISTEN", "127.0.0.1:8025"),
        lmtp_listen=_listen(env, "TODOKU_LMTP_LISTEN", "") if env.get("TODOKU_LMTP_LISTEN") else None,
        smtp_certificate=certificate,
        smtp_certificate_key=certificate_key,
        smtp_trusted=_networks(env, "TODOKU_SMTP_TRUSTED"),
        relay_url=env.get("TODOKU_RELAY_URL", ""),
        transports=env.get("TODOKU_TRANSPORTS", ""),
        transport_paces=_paces(env, "TODOKU_TRANSPORT_PACES"),
        domain_paces=_paces(env, "TODOKU_DOMAIN_PACES"),
        message_max_octets=_octets(env, "TODOKU_MESSAGE_MAX_OCTETS", 10_000_000),
        seal_lead_seconds=_seconds(env, "TODOKU_SEAL_LEAD_SECONDS", 900.0),
        pre_seal_seconds=_seconds(env, "TODOKU_PRE_SEAL_SECONDS", 86_400.0),
        ledger_months=_months(env, "TODOKU_LEDGER_MONTHS", 12),
        mail_domain=env.get("TODOKU_MAIL_DOMAIN", "in.todoku.example").casefold(),
        secrets_keys=env.get("TODOKU_SECRETS_KEYS", ""),
        public_url=env.get("TODOKU_PUBLIC_URL") or f"http://{web}",
        demo=_yes_or_no(env, "TODOKU_DEMO"),
        extra_hosts=tuple(host.strip() for host in env.get("TODOKU_ALLOWED_HOSTS", "").split(",") if host.strip()),
    )


def default_home() -> Path:
    """Return where data goes when nothing is set: a system folder for root, the user's own otherwise."""
    if os.geteuid() == 0:
        return Path("/var/lib/todoku")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "todoku"


def _certificate(env: Mapping[str, str]) -> tuple[str, str]:
    """Return the paths of certificate and key, both or none; that the files are there is seen when they are read."""
    names = ("TODOKU_SMTP_CERTIFICATE", "TODOKU_SMTP_CERTIFICATE_KEY")
    certificate, key = (env.get(name, "") for name in names)
    if certificate.startswith("credential:"):
        try:
            require_subject_token(certificate.removeprefix("credential:"))
        except ValueError as error:
            raise ConfigurationError(f"{names[0]}: {error}") from error
        if key:
            raise ConfigurationError(f"{names[1]} must be empty: the credential has its own key")
        return certificate, ""
    if bool(certificate) is not bool(key):
        raise ConfigurationError(f"{names[not key]} is missing: certificate and key go together")
    return certificate, key


def _networks(env: Mapping[str, str], name: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    networks = []
    for text in env.get(name, "").replace(",", " ").split():
        try:
            networks.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise ConfigurationError(f"{name} must be networks such as 192.0.2.0/24, not {text!r}: {error}") from error
    return tuple(networks)


def _replicas(env: Mapping[str, str], name: str) -> int:
    text = env.get(name) or "0"
    if text not in {"0", "1", "3", "5"}:
        raise ConfigurationError(f"{name} must be 0 (automatic), 1, 3 or 5, not {text!r}")
    return int(text)


def _months(env: Mapping[str, str], name: str, usual: int) -> int:
    text = env.get(name) or str(usual)
    if not (text.isascii() and text.isdigit() and (int(text) == 0 or 3 <= int(text) <= 1_200)):
        raise ConfigurationError(f"{name} must be 0 (never) or 3-1200 months, not {text!r}")
    return int(text)


def _yes_or_no(env: Mapping[str, str], name: str) -> bool:
    text = env.get(name, "")
    if text not in {"", "0", "1"}:
        raise ConfigurationError(f"{name} must be 0 or 1, not {text!r}")
    return text == "1"


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name, "")
    try:
        seconds = float(text) if text else default
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds <= 30 * 86_400.0:
        raise ConfigurationError(f"{name} must be a number of seconds between 0 and 30 days, not {text!r}")
    return seconds


def _octets(env: Mapping[str, str], name: str, usual: int) -> int:
    text = env.get(name) or str(usual)
    if not (text.isascii() and text.isdigit() and 1_000 <= int(text) <= 100_000_000):
        raise ConfigurationError(f"{name} must be 1000-100000000 octets, not {text!r}")
    return int(text)


def _paces(env: Mapping[str, str], name: str) -> dict[str, float]:
    """Read `word=number word=number`; words in lower case, numbers above 0."""
    paces = {}
    for item in env.get(name, "").split():
        word, _, number = item.rpartition("=")
        try:
            pace = float(number)
        except ValueError:
            pace = 0.0
        if not word or not 0.0 < pace < 1e6:
            raise ConfigurationError(f"{name} must be word=messages a second, separated by blanks, not {item!r}")
        paces[word.casefold()] = pace
    return paces


def _shown(paces: Mapping[str, float]) -> str:
    return " ".join(f"{word}={pace:g}" for word, pace in paces.items())


def _listen(env: Mapping[str, str], name: str, default: str) -> Listen:
    text = env.get(name) or default
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 <= int(port) <= 65_535:
        raise ConfigurationError(f"{name} must be host:port (port 0-65535), not {text!r}")
    return Listen(host.strip("[]"), int(port))
