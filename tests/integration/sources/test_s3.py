"""A bucket as a source: a real S3 server (SeaweedFS), a real SQS server (moto)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from tests.integration.sources.s3_bench import MAIL, S3Bench, s3_bench
from tests.integration.sources.s3_servers import LISTER, STATIC, seaweed_port, session_key, sqs_url

from todoku.kernel.clock import SystemClock, VirtualClock
from todoku.sources.conformance import NotedKeyring, check_logins, check_source
from todoku.sources.errors import CannotFetch, CannotLook, Cause, MailVanished
from todoku.sources.s3 import S3Source

__all__ = ["seaweed_port", "sqs_url"]  # fixtures


@pytest.fixture
async def bench(seaweed_port: int) -> AsyncIterator[S3Bench]:
    async with s3_bench(seaweed_port) as one:
        yield one


@pytest.fixture
async def told_bench(seaweed_port: int, sqs_url: str) -> AsyncIterator[S3Bench]:
    async with s3_bench(seaweed_port, f"{sqs_url}/") as one:
        yield one


async def _keys(source: S3Source) -> list[str]:
    return [one.key async for one in source.list_mails()]


async def test_a_bucket_does_what_sources_do(bench: S3Bench) -> None:
    await check_source(bench)


async def test_a_bucket_with_a_queue_does_what_sources_do(told_bench: S3Bench) -> None:
    await check_source(told_bench)


async def test_a_bucket_asks_who_comes(bench: S3Bench) -> None:
    await check_logins(bench)


async def test_an_object_with_other_bytes_is_another_mail(bench: S3Bench) -> None:
    await bench.put("in/one", b"first")
    source = bench.open()
    (first,) = await _keys(source)
    await bench.put("in/one", b"second")
    (second,) = await _keys(source)
    assert first != second
    assert await source.fetch(second) == b"second"
    with pytest.raises(MailVanished):
        await source.fetch(first)


async def test_names_of_every_kind_come_as_they_are(bench: S3Bench) -> None:
    names = [
        "in/a b+c%2B&d=e?f#g",
        "in/予約 メール.eml",
        "in/@@",
        "in/quote\"'<>&;",
        "in/~tilde!*()",
        "in/line\nend\ttab",
    ]
    for name in names:
        await bench.put(name, name.encode())
    source = bench.open()
    keys = await _keys(source)
    assert sorted(key.rpartition("@")[0] for key in keys) == sorted(names)
    assert sorted([await source.fetch(key) for key in keys]) == sorted(name.encode() for name in names)


async def test_what_is_no_mail_and_what_is_elsewhere_is_left_alone(bench: S3Bench) -> None:
    for name in ("in/AMAZON_SES_SETUP_NOTIFICATION", "in/folder/", "other/mail", "inside/mail"):
        await bench.put(name, b"" if name.endswith("/") else MAIL)
    await bench.put("in/folder/mail", MAIL)
    source = bench.open()
    assert [key.rpartition("@")[0] for key in await _keys(source)] == ["in/folder/mail"]


async def test_an_object_with_a_content_encoding_is_those_bytes(bench: S3Bench) -> None:
    await bench.put("in/one", b"not gzip at all", **{"Content-Encoding": "gzip", "Content-Type": "message/rfc822"})
    source = bench.open()
    (key,) = await _keys(source)
    assert await source.fetch(key) == b"not gzip at all"


async def test_one_mail_that_is_too_large_does_not_stop_the_next(
    bench: S3Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from todoku.sources.s3 import source as module

    monkeypatch.setattr(module, "MAX_MAIL_BYTES", 500 * 1024)
    await bench.put("in/1", b"x" * (500 * 1024 + 1))
    await bench.put("in/2", b"y")
    source = bench.open()
    large, small = sorted(await _keys(source))
    with pytest.raises(CannotFetch, match="larger than"):
        await source.fetch(large)
    assert await source.fetch(small) == b"y"


async def test_a_clock_that_is_wrong_is_no_bad_key(bench: S3Bench) -> None:
    keyring = NotedKeyring([STATIC])
    late = VirtualClock(SystemClock().now_utc() - timedelta(hours=2))
    source = bench.open_with(keyring, late)
    with pytest.raises(CannotLook, match=r"our clock is wrong by 7(19|20)\d seconds \(slow\)") as caught:
        await _keys(source)
    assert caught.value.cause is Cause.PROTOCOL
    assert keyring.refusals == []


async def test_a_bucket_that_is_not_there_is_missing(bench: S3Bench) -> None:
    source = bench.open(bucket="nobody-made-this")
    with pytest.raises(CannotLook, match="NoSuchBucket") as caught:
        await _keys(source)
    assert caught.value.cause is Cause.MISSING


async def test_a_key_that_may_list_and_not_read_is_said_for_each_mail(bench: S3Bench) -> None:
    await bench.put("in/one", MAIL)
    keyring = NotedKeyring([LISTER])
    source = bench.open_with(keyring)
    (key,) = await _keys(source)
    with pytest.raises(CannotFetch, match="AccessDenied"):
        await source.fetch(key)
    keyring.credentials.append(STATIC)
    assert await source.fetch(key) == MAIL, "the next key is tried at once"
    assert await _keys(source) == [key]


async def test_a_renewed_key_is_used_at_once(bench: S3Bench) -> None:
    await bench.put("in/one", MAIL)
    keyring = NotedKeyring([STATIC])
    source = bench.open_with(keyring)
    (key,) = await _keys(source)
    keyring.credentials = [session_key(bench.link._target[1], "renewed")]
    assert await _keys(source) == [key]
    assert await source.fetch(key) == MAIL
    assert keyring.uses == ["static", "renewed"], "each look goes to the keyring"


async def test_a_large_bucket_is_listed_whole(bench: S3Bench) -> None:
    names = [f"in/{number:05d}" for number in range(3_000)]
    waiting = iter(names)

    async def fill() -> None:
        for name in waiting:
            await bench.put(name, b"x")

    await asyncio.gather(*(fill() for _ in range(12)))
    source = bench.open()
    assert [key.rpartition("@")[0] for key in await _keys(source)] == names
