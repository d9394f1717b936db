"""S3 servers that misbehave: what they say is told apart, and half an answer is none."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.integration.sources.s3_servers import REGION, STATIC, Asked, ScriptedPeer, http, s3_error

from todoku.kernel.clock import SystemClock
from todoku.kernel.retry import BackOff
from todoku.sources.conformance import NotedKeyring
from todoku.sources.credentials import Credential, CredentialKind
from todoku.sources.errors import CannotFetch, CannotLook, Cause, MailVanished
from todoku.sources.s3 import S3Settings, S3Source, client

_TOKEN = "FwoGZXIvYXdzEXAMPLETOKEN"
SESSION = Credential("session", CredentialKind.SESSION_KEY, {**STATIC.secrets, "session_token": _TOKEN})
_ENTRY = (
    "<Contents><Key>in/{}</Key><LastModified>2026-11-21T02:00:00.000Z</LastModified>"
    "<ETag>&quot;e&quot;</ETag></Contents>"
)


def listing(*names: str, token: str = "") -> bytes:
    goes_on = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    entries = "".join(_ENTRY.format(name) for name in names)
    return http(200, f"<ListBucketResult>{goes_on}{entries}</ListBucketResult>".encode())


def query_of(asked: Asked) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(asked.target).query).items()}


@asynccontextmanager
async def source_at(
    answer: Callable[[Asked], bytes], keyring: NotedKeyring | None = None, **other: object
) -> AsyncIterator[tuple[S3Source, ScriptedPeer]]:
    async with ScriptedPeer(answer) as peer:
        usual: dict[str, object] = {"bucket": "mails", "region": REGION, "endpoint": peer.url, "allow_http": True}
        settings = S3Settings(**(usual | other))  # type: ignore[arg-type]
        source = S3Source(settings, keyring or NotedKeyring([STATIC]), SystemClock())
        yield source, peer
        await source.close()


async def _keys(source: S3Source) -> list[str]:
    return [one.key async for one in source.list_mails()]


async def _trouble(answer: bytes, keyring: NotedKeyring | None = None) -> CannotLook:
    async with source_at(lambda _: answer, keyring) as (source, _):
        with pytest.raises(CannotLook) as caught:
            await _keys(source)
    return caught.value


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (400, "ExpiredToken", "the session key has expired"),
        (400, "InvalidToken", "the session token is not valid"),
        (403, "InvalidAccessKeyId", "nobody has this access key"),
        (403, "AccessDenied", "may not do this"),
    ],
)
async def test_a_refusal_is_told_without_our_secrets(status: int, code: str, words: str) -> None:
    keyring = NotedKeyring([SESSION])
    echo = " ".join(SESSION.secrets.values())  # some servers repeat what they got
    error = await _trouble(s3_error(status, code, f"No: {echo}"), keyring)
    assert error.cause is Cause.CREDENTIAL
    ((name, why),) = keyring.refusals
    assert name == "session"
    assert words in why
    assert words in error.what
    for secret in SESSION.secrets.values():
        assert secret not in f"{why} {error} {error!r} {SESSION!r}"


async def test_a_session_key_that_expires_in_the_middle_is_replaced_in_the_middle() -> None:
    """Of a listing of many pages the second is refused; the keyring has a new key by then."""
    keyring = NotedKeyring([SESSION])
    renewed = Credential("renewed", CredentialKind.SESSION_KEY, {**STATIC.secrets, "session_token": "new-token"})

    def answer(asked: Asked) -> bytes:
        if "continuation-token" not in query_of(asked):
            return listing("1", token="t1")
        if asked.headers["x-amz-security-token"] == _TOKEN:
            keyring.credentials = [renewed]
            return s3_error(400, "ExpiredToken")
        return listing("2")

    async with source_at(answer, keyring) as (source, _):
        assert await _keys(source) == ["in/1@e", "in/2@e"]
    assert keyring.uses == ["session", "renewed"]


async def test_a_wrong_clock_is_told_with_its_difference() -> None:
    server_time = "<ServerTime>2020-01-01T00:00:00Z</ServerTime>"
    keyring = NotedKeyring([STATIC])
    error = await _trouble(s3_error(403, "RequestTimeTooSkewed", "too large", server_time), keyring)
    assert error.cause is Cause.PROTOCOL
    assert "our clock is wrong by" in error.what
    assert "(fast)" in error.what
    assert keyring.refusals == []


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (s3_error(503, "SlowDown"), Cause.UNREACHABLE),
        (s3_error(500, "InternalError"), Cause.UNREACHABLE),
        (http(200, b"<Error><Code>InternalError</Code></Error>"), Cause.UNREACHABLE),  # an error that says 200
        (http(502, b"<html>bad gateway</html>"), Cause.UNREACHABLE),
        (b"", Cause.UNREACHABLE),  # closed without a word
        (http(200, listing("1")[:-20], length=5_000), Cause.UNREACHABLE),  # breaks off
        (s3_error(404, "NoSuchBucket"), Cause.MISSING),
        (http(301, b"", {"Location": "http://127.0.0.1:1/"}), Cause.PROTOCOL),  # never followed: it would be signed
        (http(403, b"<html>a proxy says no</html>"), Cause.PROTOCOL),
        (http(200, b"<html>a login page</html>"), Cause.PROTOCOL),
        (http(200, b"<ListBucketResult><Contents>"), Cause.PROTOCOL),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", Cause.PROTOCOL),
    ],
)
async def test_what_is_no_listing_is_never_an_empty_one(
    answer: bytes, cause: Cause, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_BACK_OFF", BackOff(0.01, 0.01))
    assert (await _trouble(answer)).cause is cause


async def test_one_busy_page_does_not_end_a_large_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_BACK_OFF", BackOff(0.01, 0.01))
    answers = iter([listing("1", token="a"), s3_error(503, "SlowDown"), b"", listing("2")])
    async with source_at(lambda _: next(answers)) as (source, _):
        assert await _keys(source) == ["in/1@e", "in/2@e"]


async def test_a_listing_that_goes_round_in_a_circle_is_left() -> None:
    def answer(asked: Asked) -> bytes:
        return listing("1", token="b" if query_of(asked).get("continuation-token") == "a" else "a")

    async with source_at(answer) as (source, _):
        with pytest.raises(CannotLook, match="circle"):
            await _keys(source)


async def test_a_million_objects_are_listed_in_the_memory_of_a_page() -> None:
    template = listing(*(f"PAGE!/{number:03d}-{'x' * 30}" for number in range(1_000)), token="PAGE+")

    def answer(asked: Asked) -> bytes:
        page = int(query_of(asked).get("continuation-token", "00000"))
        if page == 999:
            return listing(*(f"last/{number}" for number in range(1_000)))
        return template.replace(b"PAGE!", b"%05d" % page).replace(b"PAGE+", b"%05d" % (page + 1))

    async with source_at(answer) as (source, peer):
        count = 0
        tracemalloc.start()
        async for one in source.list_mails():
            count += 1
            if count == 5_000:
                tracemalloc.reset_peak()
                before, _ = tracemalloc.get_traced_memory()
                peer.asked.clear()
            assert one.key.endswith("@e")
            if count % 50_000 == 0:
                peer.asked.clear()
            if count == 50_000:
                tracemalloc.stop()  # it costs a third of the time; what grows has grown by now
            elif count == 49_999:
                _, peak = tracemalloc.get_traced_memory()
    assert count == 1_000_000
    assert peak - before < 16 * 1024 * 1024


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (http(200, b"half a mail", length=500), CannotFetch, "broke off after 11 octets"),
        (http(200, b"x", length=64 * 1024 * 1024 + 1), CannotFetch, "larger than 64 MB"),
        (http(200, b"other", {"ETag": '"other"'}), MailVanished, "other bytes"),
        (s3_error(404, "NoSuchKey"), MailVanished, "not in"),
        (s3_error(412, "PreconditionFailed"), MailVanished, "other bytes"),
        (http(404, b"<html>not found</html>"), CannotLook, "without a code"),  # a proxy's 404 is no vanished mail
        (s3_error(404, "NoSuchBucket"), CannotLook, "NoSuchBucket"),
        (s3_error(403, "InvalidObjectState"), CannotFetch, "InvalidObjectState"),  # in an archive
        (s3_error(400, "KMS.DisabledException"), CannotFetch, "KMS"),
        (s3_error(405, "MethodNotAllowed"), CannotFetch, "MethodNotAllowed"),
        (s3_error(400, "ExpiredToken"), CannotLook, "expired"),
        (s3_error(503, "SlowDown"), CannotLook, "SlowDown"),
    ],
)
async def test_what_is_no_whole_mail_is_none(
    answer: bytes, error: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_BACK_OFF", BackOff(0.01, 0.01))
    async with source_at(lambda asked: answer if "list-type" not in asked.target else listing("1")) as (source, _):
        (key,) = await _keys(source)
        with pytest.raises(error, match=words):
            await source.fetch(key)
        assert await _keys(source) == [key], "the next look goes on"


async def test_a_name_reaches_the_server_as_it_is() -> None:
    """Dots and double slashes are parts of a name, and nothing in it becomes a header or a query."""
    name = "in/a/../b//./c?x=1#y\r\nX-Injected: 1"

    def answer(asked: Asked) -> bytes:
        if "list-type" in asked.target:
            return listing("one")
        return http(200, json.dumps([asked.target, *asked.headers]).encode(), {"ETag": '"e"'})

    async with source_at(answer) as (source, _):
        target, *headers = json.loads(await source.fetch(f"{name}@e"))
    assert target == "/mails/in/a/../b//./c%3Fx%3D1%23y%0D%0AX-Injected%3A%201"
    assert "x-injected" not in headers
