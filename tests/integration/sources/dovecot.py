"""A Dovecot of our own in a folder of its own: IMAP and POP3, in clear, STARTTLS and TLS.

One server listens at several loopback addresses and shows another certificate at each (`Address`), so that every kind
of trouble with TLS is had from a real server. Users `u000` … come with PASSWORD; tokens are JWTs that Dovecot checks by
itself. Needs the Debian packages dovecot-imapd and dovecot-pop3d.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import itertools
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PASSWORD = "geheim und 秘密 123"
USERS = 400
_TOKEN_KEY = b"a key that only this test knows, 0123456789"
_START_SECONDS = 20.0
_numbers = itertools.count()


class Address(StrEnum):
    """What a client is shown, by the address it comes to."""

    GOOD = "127.0.0.1"
    CLIENT_CERTIFICATE = "127.0.0.2"  # wants one
    EXPIRED = "127.0.0.3"
    NOT_YET = "127.0.0.4"
    OTHER_NAME = "127.0.0.5"


_CONFIG = """
base_dir = {home}/run
state_dir = {home}/state
log_path = {home}/dovecot.log
login_log_format_elements = user=<%u> method=%m
default_internal_user = {internal}
default_internal_group = {internal_group}
default_login_user = {login}
first_valid_uid = 1
mail_uid = {mail}
mail_gid = {mail_group}
mail_location = maildir:{home}/mail/%u
listen = {addresses}
protocols = imap pop3
ssl = yes
disable_plaintext_auth = no
auth_mechanisms = plain login xoauth2 oauthbearer external
auth_ssl_username_from_cert = yes
auth_failure_delay = 0
auth_cache_size = 0
mail_max_userip_connections = 100
maildir_very_dirty_syncs = no
ssl_cert = <{home}/good.pem
ssl_key = <{home}/good.pem
ssl_dh =
ssl_ca = <{home}/ca.pem
ssl_require_crl = no
{extra}
local 127.0.0.2 {{
  ssl_verify_client_cert = yes
}}
{locals}
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {home}/oauth2.conf
}}
passdb {{
  driver = static
  mechanisms = external
  args = nopassword=y
}}
passdb {{
  driver = passwd-file
  mechanisms = plain login
  args = username_format=%u {home}/users
}}
userdb {{
  driver = static
  args = uid={mail} gid={mail_group} home={home}/mail/%u allow_all_users=yes
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = {pop3s}
    ssl = yes
  }}
}}
namespace inbox {{
  inbox = yes
  separator = /
}}
"""
_OAUTH2 = """
introspection_mode = local
local_validation_key_dict = fs:posix:prefix={home}/keys/
username_attribute = sub
"""


class Authority:
    """Signs certificates for the test; `ca_pem` is what its friends believe."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        self._name = name
        builder = _builder(name, name, self._key, timedelta(days=-1), timedelta(days=10))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.ca_pem = _pem(builder.sign(self._key, hashes.SHA256()))

    def pair(
        self, name: str, *, hosts: tuple[str, ...] = (), first_day: int = -1, last_day: int = 10
    ) -> tuple[str, str]:
        """Return (certificate, key) as PEM, valid between two days counted from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, self._name, key, timedelta(days=first_day), timedelta(days=last_day))
        if hosts:
            names: list[x509.GeneralName] = [x509.IPAddress(ip_address(host)) for host in hosts]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        key_pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return _pem(builder.sign(self._key, hashes.SHA256())), key_pem.decode()


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, first: timedelta, last: timedelta
) -> x509.CertificateBuilder:
    now_utc = datetime.now(UTC)  # Dovecot has no other clock
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now_utc + first).not_valid_after(now_utc + last)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def token_for(user: str, *, valid_seconds: int = 3600) -> str:
    """Return a bearer token for the user; one with negative seconds has expired."""
    now = int(datetime.now(UTC).timestamp())
    parts = [
        {"typ": "JWT", "alg": "HS256", "kid": "default"},
        {"sub": user, "iat": now - 7200, "nbf": now - 7200, "exp": now + valid_seconds},
    ]
    text = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    signature = hmac.new(_TOKEN_KEY, text, hashlib.sha256).digest()
    return (text + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


class Dovecot:
    """The server; `start` and `stop` may be called again and again, mails and ports stay."""

    def __init__(self, home: Path, *, extra: str = "") -> None:
        """home: an empty folder that others may walk through. extra: settings that go before the others' end."""
        self.home = home
        self.authority = Authority()
        self.imap, self.imaps, self.pop3, self.pop3s = _free_ports(4)
        self._process: subprocess.Popen[bytes] | None = None
        self._users = itertools.count()
        self._write(extra)

    @classmethod
    def started(cls, make_folder: Callable[[], Path], *, extra: str = "") -> Dovecot:
        """Return a running one, or skip the test when Dovecot is not installed."""
        if _program() is None:
            pytest.skip("Dovecot is not installed (apt install dovecot-imapd dovecot-pop3d)")
        server = cls(make_folder(), extra=extra)
        server.start()
        return server

    def new_user(self) -> str:
        """Return a user whose mailbox nobody has touched yet."""
        return f"u{next(self._users):03}"

    def maildir(self, user: str) -> Path:
        """Return the user's INBOX; subfolders are `.name` in it."""
        return self.home / "mail" / user

    def deliver(self, user: str, raw: bytes, folder: str = "") -> Path:
        """Put a mail into the INBOX as a delivery agent does it, or into a subfolder by its name on disk."""
        box = self.maildir(user) / folder
        for part in ("new", "cur", "tmp"):
            (box / part).mkdir(parents=True, exist_ok=True)
        self.own(self.maildir(user))
        name = f"1790000000.M{next(_numbers)}P1.host"
        (box / "tmp" / name).write_bytes(raw)
        (box / "tmp" / name).chmod(0o666)
        return (box / "tmp" / name).rename(box / "new" / name)

    def fill(self, user: str, count: int) -> None:
        """Put many equal mails into the INBOX, fast: links to a few files, with their sizes in the names."""
        raw = b"Subject: one of many\r\n\r\nx\r\n"
        folder, first = self.maildir(user) / "cur", ""
        for number in range(count):
            name = f"{folder}/1790000000.M{next(_numbers)}P2.host,S={len(raw)},W={len(raw)}:2,"
            if number % 30_000 == 0:  # a file has 65,000 links at most (ext4)
                self.deliver(user, raw).rename(name)
                first = name
            else:
                os.link(first, name)

    def remove_all(self, user: str) -> None:
        """Remove the mails behind the server's back, as another client's expunge does it."""
        for part in ("new", "cur"):
            for file in (self.maildir(user) / part).glob("*"):
                file.unlink()

    def own(self, folder: Path) -> None:
        """Give a folder, and the folders in it, to the user that Dovecot reads mails as."""
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)

    def start(self) -> None:
        """Start, and return when IMAP and POP3 answer."""
        program = _program()
        assert program is not None
        command = [program, "-F", "-c", str(self.home / "dovecot.conf")]
        self._process = subprocess.Popen(command, start_new_session=True)
        deadline = time.monotonic() + _START_SECONDS
        for port in (self.imap, self.pop3):
            while not _answers(port):
                assert self._process.poll() is None, self.log()
                assert time.monotonic() < deadline, self.log()
                time.sleep(0.02)

    def stop(self, *, kill: bool = False) -> None:
        """Stop at once; kill: its processes get no time to say anything."""
        process, self._process = self._process, None
        if process is None:
            return
        if not kill:
            process.terminate()
            process.wait(timeout=20)
        with contextlib.suppress(ProcessLookupError):  # children that still talk to a client outlive their master
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=20)
        for port in (self.imap, self.pop3):
            while _answers(port):  # a login process lets go of its listener when it sees that its master is gone
                time.sleep(0.02)

    def log(self) -> str:
        """Return what the server wrote down."""
        path = self.home / "dovecot.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _write(self, extra: str) -> None:
        home = self.home
        me = pwd.getpwuid(os.getuid())
        as_root = me.pw_uid == 0
        nobody = pwd.getpwnam("nobody") if as_root else me
        (home / "ca.pem").write_text(self.authority.ca_pem)
        everywhere = tuple(Address)
        days = {Address.EXPIRED: (-9, -2), Address.NOT_YET: (2, 9)}
        blocks = []
        for name, hosts in {
            "good": everywhere,
            Address.EXPIRED: everywhere,
            Address.NOT_YET: everywhere,
            Address.OTHER_NAME: ("192.0.2.1",),
        }.items():
            first, last = days.get(Address(name), (-1, 10)) if name != "good" else (-1, 10)
            pair = self.authority.pair("mail.example.jp", hosts=hosts, first_day=first, last_day=last)
            (home / f"{name}.pem").write_text("".join(pair))
            if name != "good":
                blocks.append(f"local {name} {{\n ssl_cert = <{home}/{name}.pem\n ssl_key = <{home}/{name}.pem\n}}")
        keys = home / "keys" / "default" / "HS256"
        keys.mkdir(parents=True)
        (keys / "default").write_bytes(base64.b64encode(_TOKEN_KEY))
        (home / "oauth2.conf").write_text(_OAUTH2.format(home=home))
        users = [f"u{number:03}:{{PLAIN}}{PASSWORD}" for number in range(USERS)]
        (home / "users").write_text("\n".join(users) + "\n")
        (home / "mail").mkdir()
        self.own(home / "mail")
        config = _CONFIG.format(
            home=home,
            internal="dovecot" if as_root else me.pw_name,
            internal_group="dovecot" if as_root else me.pw_gid,
            login="dovenull" if as_root else me.pw_name,
            mail=nobody.pw_uid,
            mail_group=nobody.pw_gid,
            addresses=", ".join(everywhere),
            imap=self.imap,
            imaps=self.imaps,
            pop3=self.pop3,
            pop3s=self.pop3s,
            locals="\n".join(blocks),
            extra=extra,
        )
        (home / "dovecot.conf").write_text(config)


def _program() -> str | None:
    return shutil.which("dovecot", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server((Address.GOOD, 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((Address.GOOD, port), timeout=2) as client:
            return bool(client.recv(1))
    except OSError:
        return False
