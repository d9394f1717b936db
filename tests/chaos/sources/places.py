"""One place of each kind from which or by which mails come, with whoever delivers there in hand."""

from __future__ import annotations

import asyncio
import json
import smtplib
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tests.acceptance.conftest import Todoku
from tests.integration.sources.dovecot import PASSWORD, Address, Dovecot
from tests.integration.sources.maildir_bench import MaildirBench
from tests.integration.sources.s3_bench import S3Bench, s3_bench
from tests.integration.sources.s3_servers import REGION, STATIC, seaweed

PROJECT = "todoku-demo"
FETCHED = ("maildir", "imap", "pop3", "s3")
TRY_SECONDS = 5.0
Deliver = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Places:
    """By kind, how a mail is delivered there; each call returns when the other side has taken it."""

    deliver: dict[str, Deliver]


@contextmanager
def all_places(todoku: Todoku, folder: Path, smtp: str, make_folder: Callable[[], Path]) -> Iterator[Places]:
    """Name a source of each kind to the running program, and give the places."""
    maildir = MaildirBench(folder / "maildir")
    dovecot = Dovecot.started(make_folder)
    try:
        with seaweed() as port, _bucket(port) as (name, put):
            imap, pop3 = dovecot.new_user(), dovecot.new_user()
            hook = _name_sources(todoku, maildir, dovecot, (imap, pop3), (port, name), folder)
            yield Places(
                {
                    "maildir": lambda raw: asyncio.run(maildir.deliver(raw)),
                    "imap": lambda raw: _ignore(dovecot.deliver(imap, raw)),
                    "pop3": lambda raw: _ignore(dovecot.deliver(pop3, raw)),
                    "s3": put,
                    "webhook": lambda raw: _call(hook, raw),
                    "smtp": lambda raw: _send(smtp, raw),
                }
            )
    finally:
        dovecot.stop(kill=True)


@contextmanager
def _bucket(port: int) -> Iterator[tuple[str, Deliver]]:
    """Make a bucket, and give its name and who puts mails there; the bench wants one event loop that stays."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    made, end = asyncio.run_coroutine_threadsafe(_hold_bucket(port), loop).result(60)

    def put(raw: bytes) -> None:
        asyncio.run_coroutine_threadsafe(made.put(f"in/{uuid4().hex}", raw), loop).result(60)

    yield made.bucket, put
    asyncio.run_coroutine_threadsafe(end.aclose(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(60)
    loop.close()


async def _hold_bucket(port: int) -> tuple[S3Bench, AsyncExitStack]:
    stack = AsyncExitStack()
    return await stack.enter_async_context(s3_bench(port)), stack


def _name_sources(
    todoku: Todoku, maildir: MaildirBench, dovecot: Dovecot, users: tuple[str, str], s3: tuple[int, str], folder: Path
) -> str:
    """Return the address of the webhook."""
    secret = folder / "secret"
    secret.write_text(PASSWORD, encoding="utf-8")
    key = folder / "key"
    key.write_text(STATIC.secret("secret_key"), encoding="utf-8")
    todoku.run("source", "add", "-p", PROJECT, "maildir", "--kind", "maildir", "--set", f"folder={maildir.folder}")
    ports = {"imap": dovecot.imap, "pop3": dovecot.pop3}
    for kind, user in zip(("imap", "pop3"), users, strict=True):
        username, password = ("--set", f"username={user}"), ("--secret", f"password={secret}")
        todoku.run("credential", "add", "-p", PROJECT, f"c-{kind}", "--kind", "password", *username, *password)
        where = ("--set", f"host={Address.GOOD}", "--set", f"port={ports[kind]}", "--set", "encryption=none")
        todoku.run(
            "source", "add", "-p", PROJECT, kind, "--kind", kind, *where, "-c", f"c-{kind}", "--poll-seconds", "1"
        )
    access = ("--set", f"access_key={STATIC.secret('access_key')}", "--secret", f"secret_key={key}")
    todoku.run("credential", "add", "-p", PROJECT, "c-s3", "--kind", "static_key", *access)
    settings = {"bucket": s3[1], "region": REGION, "endpoint": f"http://127.0.0.1:{s3[0]}", "allow_http": "true"}
    bucket = tuple(word for name, value in settings.items() for word in ("--set", f"{name}={value}"))
    todoku.run("source", "add", "-p", PROJECT, "s3", "--kind", "s3", *bucket, "--set", "poll_seconds=1", "-c", "c-s3")
    said = todoku.run("source", "add", "-p", PROJECT, "hook", "--kind", "webhook", "--set", "provider=postmark")
    return said.split()[-1]


def _call(url: str, raw: bytes) -> None:
    """Call as a provider does: again and again until it is told 200."""
    body = json.dumps({"MessageID": uuid4().hex, "RawEmail": raw.decode()}).encode()
    while True:
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - loopback
        try:
            with urllib.request.urlopen(request, timeout=TRY_SECONDS) as answer:  # noqa: S310
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            continue


def _send(smtp: str, raw: bytes) -> None:
    """Send as a mail server does: again and again until it is told 250."""
    host, _, port = smtp.rpartition(":")
    while True:
        try:
            with smtplib.SMTP(host, int(port), timeout=TRY_SECONDS) as door:
                door.sendmail("plan-reserve@gnavi.co.jp", ["demo-ginza-gnavi@in.todoku.example"], raw)
                return
        except (smtplib.SMTPException, OSError):
            continue


def _ignore(_: object) -> None:
    return None
