"""The signing desk: keys from files, processes, and changes while a sender runs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import dkim
from todoku.delivery.signing import KeyFolder, SigningDesk
from todoku.delivery.signing.crew import SigningCrew
from todoku.delivery.signing.key_folder import RELOAD_SECONDS
from todoku.delivery.transports.conformance import WatchingSink
from todoku.delivery.transports.scripted_relay import ScriptedRelay
from todoku.delivery.transports.smtp import SmtpTransport
from todoku.delivery.types import Envelope
from todoku.kernel.clock import VirtualClock
from todoku.kernel.errors import ConfigurationError
from todoku.mail.dkim import DkimKey, KeyKind, new_key
from todoku.mail.errors import Unsignable

MESSAGES = [b"From: shop@todoku.example\r\nSubject: %d\r\n\r\nhello %d\r\n" % (n, n) for n in range(40)]


KILLED_SENDER = """
import asyncio
from todoku.delivery.signing.crew import SigningCrew
from todoku.mail.dkim import KeyKind, new_key

async def main() -> None:
    crew, pem = SigningCrew(2), new_key("todoku.example", "e1", KeyKind.ED25519).pem()
    await asyncio.gather(*(crew.sign(pem, [bytes(32)]) for _ in range(2)))
    print("signed", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def signing_children(pid: int | None = None) -> list[psutil.Process]:
    return [one for one in psutil.Process(pid).children() if any("signing_process" in word for word in one.cmdline())]


@pytest.fixture(scope="module")
def rsa_key() -> DkimKey:
    return new_key("todoku.example", "r1", KeyKind.RSA2048)


@pytest.fixture(scope="module")
def ed_key() -> DkimKey:
    return new_key("todoku.example", "e1", KeyKind.ED25519)


def selectors(message: bytes) -> list[bytes]:
    head = message.partition(b"\r\nFrom:")[0]
    return [part.strip()[2:] for part in head.split(b";") if part.strip().startswith(b"s=")]


async def test_messages_come_back_signed_in_order(tmp_path: Path, clock: VirtualClock, rsa_key: DkimKey) -> None:
    folder = KeyFolder(tmp_path, clock)
    folder.add(rsa_key, in_use=True)
    desk = SigningDesk(folder, clock, processes=3)
    signer = desk.signer_of("Shop@Todoku.Example")
    assert signer is not None
    signed = await signer.sign(MESSAGES)
    assert len(signed) == len(MESSAGES)
    for before, after in zip(MESSAGES, signed, strict=True):
        assert after.endswith(before)
        assert dkim.verify(after, dnsfunc=lambda name, timeout=5: rsa_key.record().encode())
    assert await signer.sign([]) == []
    with pytest.raises(Unsignable):
        await signer.sign([*MESSAGES, b"Subject: nobody\r\n\r\n"])
    await desk.close()


async def test_a_signing_process_that_is_killed_costs_nothing(
    tmp_path: Path, clock: VirtualClock, rsa_key: DkimKey
) -> None:
    folder = KeyFolder(tmp_path, clock)
    folder.add(rsa_key, in_use=True)
    desk = SigningDesk(folder, clock, processes=2)
    signer = desk.signer_of("shop@todoku.example")
    assert signer is not None
    await signer.sign(MESSAGES[:2])
    killed = signing_children()
    assert len(killed) == 2
    signing = asyncio.create_task(signer.sign(MESSAGES * 10))
    await asyncio.sleep(0)
    for child in killed:
        child.kill()
    signed = await signing
    assert [after[-len(before) :] for before, after in zip(MESSAGES * 10, signed, strict=True)] == MESSAGES * 10
    for after in signed[::40]:
        assert dkim.verify(after, dnsfunc=lambda name, timeout=5: rsa_key.record().encode())
    assert not {child.pid for child in killed} & {child.pid for child in signing_children()}
    await desk.close()
    assert signing_children() == []


async def test_a_signing_process_that_stands_still_is_replaced(
    monkeypatch: pytest.MonkeyPatch, ed_key: DkimKey
) -> None:
    monkeypatch.setattr("todoku.delivery.signing.crew._PATIENCE_SECONDS", 1.0)
    crew = SigningCrew(1)
    digests = [hashlib.sha256(b"%d" % number).digest() for number in range(3)]
    expected = [ed_key.sign_digest(digest) for digest in digests]
    assert await crew.sign(ed_key.pem(), digests) == expected
    (still,) = signing_children()
    still.suspend()
    answers = await asyncio.gather(*(crew.sign(ed_key.pem(), digests) for _ in range(4)))
    assert answers == [expected] * 4
    assert still.pid not in {child.pid for child in signing_children()}
    await crew.close()
    assert signing_children() == []


async def test_where_no_process_can_be_started_the_sender_signs_itself(
    monkeypatch: pytest.MonkeyPatch, ed_key: DkimKey
) -> None:
    monkeypatch.setattr("todoku.delivery.signing.crew._COMMAND", ("/nowhere/python",))
    crew = SigningCrew(2)
    digests = [hashlib.sha256(b"%d" % number).digest() for number in range(3)]
    assert await crew.sign(ed_key.pem(), digests) == [ed_key.sign_digest(digest) for digest in digests]
    assert signing_children() == []
    await crew.close()


def test_signing_processes_end_with_a_sender_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED_SENDER], stdout=subprocess.PIPE, text=True) as sender:
        assert sender.stdout is not None
        assert sender.stdout.readline() == "signed\n"
        children = signing_children(sender.pid)
        assert len(children) == 2
        sender.kill()
        _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []


async def test_the_nearest_domain_with_a_key_signs(tmp_path: Path, clock: VirtualClock, ed_key: DkimKey) -> None:
    folder = KeyFolder(tmp_path, clock)
    folder.add(ed_key, in_use=True)
    desk = SigningDesk(folder, clock)
    below = desk.signer_of("shop@news.todoku.example")
    assert below is not None
    assert b" d=todoku.example;" in (await below.sign(MESSAGES[:1]))[0]
    assert desk.signer_of("shop@nottodoku.example") is None
    assert desk.signer_of("shop@example") is None
    assert desk.signer_of("") is None
    await desk.close()


async def test_keys_may_change_while_a_run_is_under_way(
    tmp_path: Path, clock: VirtualClock, rsa_key: DkimKey, ed_key: DkimKey
) -> None:
    folder = KeyFolder(tmp_path, clock)
    desk = SigningDesk(folder, clock)
    assert desk.signer_of("shop@todoku.example") is None
    folder.add(rsa_key, in_use=True)
    folder.add(ed_key, in_use=False)
    assert desk.signer_of("shop@todoku.example") is None, "the folder was looked at again too soon"
    clock.advance(RELOAD_SECONDS)
    signer = desk.signer_of("shop@todoku.example")
    assert signer is not None
    assert selectors((await signer.sign(MESSAGES[:1]))[0]) == [b"r1"]
    folder.use("todoku.example", "e1", in_use=True)
    clock.advance(RELOAD_SECONDS)
    assert selectors((await signer.sign(MESSAGES[:1]))[0]) == [b"r1", b"e1"]
    (tmp_path / "todoku.example" / "r1.pem").chmod(0o644)
    clock.advance(RELOAD_SECONDS)
    assert selectors((await signer.sign(MESSAGES[:1]))[0]) == [b"r1", b"e1"], "a wrong mode unsigned a run"
    for selector in ("r1", "e1"):
        (tmp_path / "todoku.example" / f"{selector}.pem").unlink()
    clock.advance(RELOAD_SECONDS)
    assert await signer.sign(MESSAGES[:1]) == MESSAGES[:1]
    await desk.close()


def test_keys_that_others_may_read_are_refused(tmp_path: Path, clock: VirtualClock, ed_key: DkimKey) -> None:
    folder = KeyFolder(tmp_path, clock)
    path = folder.add(ed_key, in_use=True)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match=r"may be read by others \(mode 0640\): run chmod 600"):
        folder.reload()
    path.chmod(0o600)
    assert folder.reload() == 1
    path.write_bytes(b"-----BEGIN PRIVATE KEY-----\n")
    with pytest.raises(ConfigurationError, match="unencrypted PEM"):
        folder.reload()


def test_a_selector_is_given_once(tmp_path: Path, clock: VirtualClock, ed_key: DkimKey) -> None:
    folder = KeyFolder(tmp_path, clock)
    folder.add(ed_key, in_use=False)
    with pytest.raises(ConfigurationError, match="choose another --selector"):
        folder.add(ed_key, in_use=True)
    with pytest.raises(ConfigurationError, match="there is no key"):
        folder.find("todoku.example", "other")


def test_the_command_makes_shows_and_lists_keys(tmp_path: Path) -> None:
    def todoku(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "todoku.cli.main", "dkim", *words]
        environment = {"TODOKU_HOME": str(tmp_path), "PYTHONPATH": "src", "PATH": "/usr/bin:/bin"}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    made = json.loads(todoku("new", "shop.example", "--selector", "e1", "--kind", "ed25519", "--json").stdout)
    assert made["record_name"] == "e1._domainkey.shop.example"
    assert made["record"].startswith("v=DKIM1; k=ed25519; p=")
    assert not made["in_use"]
    assert todoku("use", "shop.example", "e1").returncode == 0
    (listed,) = json.loads(todoku("list", "--json").stdout)
    assert (listed["domain"], listed["selector"], listed["in_use"]) == ("shop.example", "e1", True)
    shown = todoku("show", "shop.example", "e1").stdout
    assert made["record"] in shown
    assert "PRIVATE" not in shown
    assert todoku("stop", "shop.example", "e1").returncode == 0
    refused = todoku("new", "no domain")
    assert refused.returncode == 1
    assert "is not a domain" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("chunking", [True, False])
async def test_a_signature_survives_the_way_to_the_relay(
    tmp_path: Path, clock: VirtualClock, rsa_key: DkimKey, *, chunking: bool
) -> None:
    folder = KeyFolder(tmp_path, clock)
    folder.add(rsa_key, in_use=True)
    desk = SigningDesk(folder, clock)
    signer = desk.signer_of("shop@todoku.example")
    assert signer is not None
    bodies = [b".dot\r\n..\r\n.\r\n", b"  indented \t\r\n\r\n\r\n", b"", b"no end"]
    contents = await signer.sign([b"From: shop@todoku.example\r\nSubject: x\r\n\r\n" + body for body in bodies])
    relay = ScriptedRelay(chunking=chunking)
    transport = SmtpTransport(await relay.start(), clock=clock)
    envelopes = [
        Envelope(ref, "shop@todoku.example", f"accept.{ref}@relay.example", content)
        for ref, content in enumerate(contents)
    ]
    await transport.send(envelopes, WatchingSink())
    assert len(relay.contents) == len(bodies)
    for arrived in relay.contents.values():
        assert dkim.verify(arrived, dnsfunc=lambda name, timeout=5: rsa_key.record().encode()), arrived
    await transport.close()
    await relay.stop()
    await desk.close()
