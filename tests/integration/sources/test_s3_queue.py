"""A queue that tells of mails at once: each arrives once, whatever the queue does. Real S3, SQS, bus and vault."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import pytest
from structlog.testing import capture_logs
from tests.integration.sources.conftest import Intake
from tests.integration.sources.s3_bench import MAIL, S3Bench, s3_bench
from tests.integration.sources.s3_servers import REGION, STATIC, Asked, ScriptedPeer, http, seaweed_port, sqs_url

from todoku.kernel.clock import SystemClock
from todoku.sources.arrived_keys import ArrivedKeys
from todoku.sources.collecting import Collector, Place
from todoku.sources.conformance import NotedKeyring
from todoku.sources.errors import CannotLook, Cause
from todoku.sources.s3 import S3Settings, S3Source
from todoku.sources.types import Listed, Look
from todoku.vault.errors import VaultUnavailable

__all__ = ["seaweed_port", "sqs_url"]  # fixtures


@pytest.fixture
async def bench(seaweed_port: int, sqs_url: str) -> AsyncIterator[S3Bench]:
    async with s3_bench(seaweed_port, f"{sqs_url}/") as one:
        yield one


@pytest.fixture
async def silent_bench(seaweed_port: int) -> AsyncIterator[S3Bench]:
    async with s3_bench(seaweed_port) as one:
        yield one


async def _collector(intake: Intake, source: S3Source) -> Collector:
    """Return a collector as a process has it that was just started."""
    place = Place(intake.project, "s3-ginza", shop_code="ginza")
    return Collector(place, source, intake.writer, await ArrivedKeys.load(intake.bus, place.project_id, place.source))


@asynccontextmanager
async def _collecting(collector: Collector) -> AsyncIterator[asyncio.Queue[Look]]:
    stop, told = asyncio.Event(), asyncio.Queue[Look]()
    running = asyncio.create_task(collector.run(stop, told.put, poll_seconds=600.0))
    async with asyncio.timeout(60):
        yield told
        stop.set()
        await running


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110  # the other side is another process
            await asyncio.sleep(0.05)


async def _keys(source: S3Source) -> list[str]:
    return [one.key async for one in source.list_mails()]


async def test_every_mail_arrives_once_with_listing_only(intake: Intake, silent_bench: S3Bench) -> None:
    for number in range(20):
        await silent_bench.put(f"in/{number}", b"Subject: %d\r\n\r\n" % number)
    async with _collecting(await _collector(intake, silent_bench.open())) as told:
        assert (await told.get()).arrived == 20
        await silent_bench.put("in/3", b"Subject: other bytes under the same name\r\n\r\n")
        while not (await told.get()).arrived:
            pass
    look = await (await _collector(intake, silent_bench.open())).look()
    assert (look.listed, look.fresh) == (20, 0), "a restart changes nothing"
    arrivals = await intake.arrivals()
    assert len(arrivals) == len({one.cursor for one in arrivals}) == 21


async def test_every_mail_arrives_once_with_notifications(intake: Intake, bench: S3Bench) -> None:
    for number in range(5):
        await bench.put(f"in/before-{number}", MAIL)
    async with _collecting(await _collector(intake, bench.open())) as told:
        count = (await told.get()).arrived
        assert count == 5
        for number in range(25):
            await bench.put(f"in/after-{number}", MAIL)
        while count < 30:
            count += (await told.get()).arrived
        await _until(lambda: _is_empty(bench))
    arrivals = await intake.arrivals()
    assert len(arrivals) == len({one.cursor for one in arrivals}) == 30


async def _is_empty(bench: S3Bench) -> bool:
    return await bench.in_queue() == 0


async def test_a_notification_that_comes_fifty_times_is_one_mail(intake: Intake, bench: S3Bench) -> None:
    async with _collecting(await _collector(intake, bench.open())) as told:
        await told.get()
        await bench.put("in/one", MAIL)
        for _ in range(49):
            await bench.tell("in/one")
        await _until(lambda: _is_empty(bench))
    assert len(await intake.arrivals()) == 1


async def test_a_notification_is_kept_until_its_mail_has_arrived(
    intake: Intake, bench: S3Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = bench.open(visibility_seconds=1)
    collector = await _collector(intake, source)
    await bench.put("in/one", MAIL)
    await bench.say(_ses(b"Subject: in the notification\r\n\r\n"))

    async def full(project_id: str, content: bytes) -> object:
        raise VaultUnavailable("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(intake.vault, "put", full)
        look = await collector.look()
    assert (look.fresh, look.left) == (2, 2)
    await source.close()  # the process dies here
    assert await bench.in_queue() == 2, "what has not arrived is still told"
    async with _collecting(await _collector(intake, bench.open())) as told:
        count = 0
        while count < 2:
            count += (await told.get()).arrived
        await _until(lambda: _is_empty(bench))
    assert {await intake.vault.get(one.vault_key) for one in await intake.arrivals()} == {
        MAIL,
        b"Subject: in the notification\r\n\r\n",
    }


async def test_a_mail_that_was_told_and_could_not_be_kept_is_listed_again(
    intake: Intake, bench: S3Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = bench.open()
    collector = await _collector(intake, source)
    await collector.look()
    await source.until_changed(0.0)
    await bench.put("in/one", MAIL)
    async with asyncio.timeout(20):
        await source.until_changed(600.0)

    async def full(project_id: str, content: bytes) -> object:
        raise VaultUnavailable("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(intake.vault, "put", full)
        assert (await collector.look()).left == 1
    assert await bench.in_queue() == 1
    assert (await collector.look()).arrived == 1, "the next look lists all, and does not forget what was left"
    assert await bench.in_queue() == 1
    await source.until_changed(0.0)
    assert await bench.in_queue() == 0


async def test_waiting_twice_without_a_look_lets_go_of_nothing(bench: S3Bench) -> None:
    source = bench.open()
    await _keys(source)
    await bench.say(_ses(MAIL))
    await bench.deliver(MAIL)
    for _ in range(3):
        async with asyncio.timeout(20):
            await source.until_changed(600.0)
    assert await bench.in_queue() == 2
    assert len(await _keys(source)) == 2
    await source.until_changed(0.0)
    assert await bench.in_queue() == 0


def _ses(raw: bytes, message_id: str = "ses-1") -> str:
    action = {"type": "SNS", "topicArn": "arn:aws:sns:x:1:t", "encoding": "BASE64"}
    said = {"notificationType": "Received", "mail": {"messageId": message_id}, "receipt": {"action": action}}
    return json.dumps({**said, "content": base64.b64encode(raw).decode()})


async def test_a_mail_inside_a_notification_comes_through_sns_byte_for_byte(intake: Intake, bench: S3Bench) -> None:
    """A real topic and a real subscription; the same mail told twice is one."""
    raw = b"Subject: =?iso-2022-jp?B?GyRCTT1Ocxsob?=\r\n\r\n\xe4\xba\x88\xff\x00\r\n"

    async def sns(**asked: str) -> str:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        body = urlencode({"Version": "2010-03-31", **asked}).encode()
        return (await bench._ask("POST", bench._queue_host, body, form, "sns")).body.decode()

    topic = (await sns(Action="CreateTopic", Name=bench.bucket)).partition("<TopicArn>")[2].partition("<")[0]
    attributes = (await bench.queue("GetQueueAttributes", AttributeNames=["QueueArn"]))["Attributes"]
    assert isinstance(attributes, dict)
    await sns(Action="Subscribe", TopicArn=topic, Protocol="sqs", Endpoint=attributes["QueueArn"])
    async with _collecting(await _collector(intake, bench.open())) as told:
        await told.get()
        for _ in range(2):
            await sns(Action="Publish", TopicArn=topic, Message=_ses(raw))
        await _until(lambda: _is_empty(bench))
    (arrival,) = await intake.arrivals()
    assert await intake.vault.get(arrival.vault_key) == raw
    assert arrival.cursor.startswith("ses-1@sns-")


async def test_a_source_without_a_bucket_has_what_the_queue_has(bench: S3Bench) -> None:
    source = bench.open(bucket="", prefix="")
    assert await _keys(source) == []
    await bench.say(_ses(MAIL))
    async with asyncio.timeout(20):
        await source.until_changed(600.0)
    (key,) = await _keys(source)
    assert await source.fetch(key) == MAIL
    await bench.queue("DeleteQueue")
    with pytest.raises(CannotLook) as caught:
        await _keys(bench.open(bucket="", prefix=""))
    assert caught.value.cause is Cause.MISSING


async def test_a_notification_without_a_mail_is_let_go_after_some_tries(bench: S3Bench) -> None:
    source = bench.open(visibility_seconds=0, tries=3)
    await bench.tell("in/never-written")
    with capture_logs() as logs:
        for round_number in range(3):
            assert await bench.in_queue() == 1, round_number
            await _keys(source)
            await source.until_changed(0.0)
    assert await bench.in_queue() == 0
    (said,) = [one for one in logs if one["event"] == "source.notification_without_mail"]
    assert said["keys"] == ["in/never-written"]
    assert source.without_mail == 1


async def test_rubbish_in_the_queue_never_stops_the_next(intake: Intake, bench: S3Bench) -> None:
    rubbish = [
        "no json",
        "{}",
        "[" * 5_000,
        json.dumps({"Records": [None]}),
        "\u00e9" * 100,
        '{"Type":"x","Message":"{"}',
    ]
    with capture_logs() as logs:
        async with _collecting(await _collector(intake, bench.open(visibility_seconds=0))) as told:
            await told.get()
            for body in rubbish * 3:
                await bench.say(body)
            await bench.tell("in/x", bucket="of-somebody-else")
            await bench.put("in/one", MAIL)
            while not (await told.get()).arrived:
                pass
            await _until(lambda: _is_empty(bench))
    problems = [one for one in logs if one["event"] == "source.notification_unreadable" and one["let_go"]]
    assert len(problems) >= 3 * 5, "each is said, and let go after its tries"
    assert len(await intake.arrivals()) == 1


async def test_what_is_told_is_given_without_a_listing_under_the_same_key(bench: S3Bench) -> None:
    for name in ("in/a", "in/a.b", "in/a/b"):
        await bench.put_untold(name, MAIL)
    source = bench.open()
    assert await source.noticed() is None, "at first all is listed"
    await _keys(source)
    assert await source.noticed() is None, "nobody said that what was listed has arrived"
    await _keys(source)
    await source.until_changed(0.0)
    assert await source.noticed() == [], "nothing came, and no listing is due"
    await bench.tell("in/a", "in/a.b", "in/a", "in/gone", "elsewhere/in/a", "in/folder/")
    await source.until_changed(600.0)
    noticed = await source.noticed()
    assert noticed is not None
    keys = await _keys(source)
    assert sorted(one.key for one in noticed) == sorted(key for key in keys if not key.startswith("in/a/b"))
    await bench.break_off()
    with pytest.raises(CannotLook):
        await _keys(source)
    await bench.restore()
    assert await source.noticed() is None, "after every trouble all is listed"
    await _keys(source)
    await source.until_changed(0.0)
    assert await source.noticed() == []
    other = bench.open(list_every_seconds=0.0)
    await _keys(other)
    await other.until_changed(0.0)
    assert await other.noticed() is None, "after so long all is listed"


async def test_a_mail_that_is_gone_when_it_is_fetched_is_let_go(intake: Intake, bench: S3Bench) -> None:
    source = bench.open(visibility_seconds=0, tries=2)
    await bench.put("in/one", MAIL)
    (key,) = await _keys(source)
    await bench.remove("in/one")
    collector = await _collector(intake, source)
    collector._list = lambda: _listed(key)  # type: ignore[method-assign]  # listed, and removed before it is fetched
    look = await collector.look()
    assert look.vanished == 1
    await source.until_changed(0.0)
    assert await bench.in_queue() == 1, "it may have been the listing that was wrong: tried once more"
    await _keys(source)
    await source.until_changed(0.0)
    assert await bench.in_queue() == 0


async def _listed(key: str) -> tuple[list[Listed], int]:
    return [Listed(key)], 1


async def test_a_queue_that_is_away_is_no_trouble_for_the_looks(intake: Intake, bench: S3Bench) -> None:
    keyring = NotedKeyring([STATIC])
    source = S3Source(bench.settings(queue_url="http://127.0.0.1:1/nobody"), keyring, SystemClock())
    with capture_logs() as logs:
        async with _collecting(await _collector(intake, source)) as told:
            await told.get()
            await bench.put("in/one", MAIL)
            while not (look := await told.get()).arrived:
                assert look.outcome == "fetched"
    assert source.queue_trouble
    assert [one["event"] for one in logs].count("source.queue_away") == 1, "said once, not at each try"


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (400, b'{"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "no queue"}', "QueueDoesNotExist"),
        (403, b'{"__type": "com.amazon.coral#AccessDeniedException", "message": "no"}', "AccessDenied"),
        (400, b'{"__type": "x#InvalidSignatureException", "message": "Signature expired: a < b"}', "clock"),
        (403, b"<ErrorResponse><Error><Code>InvalidClientTokenId</Code></Error></ErrorResponse>", "access key"),
        (503, b"", "503"),
        (200, b"<html>", "no JSON"),
        (200, b"[1]", "no object"),
        (200, b'{"Messages": {}}', ""),
        (200, b'{"Messages": 7}', "list of messages"),
        (200, b'{"Messages": [1, {}, {"Body": 1}, {"Body": "x"}]}', ""),
    ],
)
async def test_whatever_a_queue_says_waiting_raises_nothing(status: int, body: bytes, words: str) -> None:
    def answer(asked: Asked) -> bytes:
        if asked.method == "POST":
            return http(status, body)
        return http(200, b"<ListBucketResult></ListBucketResult>")

    async with ScriptedPeer(answer) as peer:
        usual = {"bucket": "mails", "region": REGION, "endpoint": peer.url, "queue_url": f"{peer.url}/1/q"}
        keyring = NotedKeyring([STATIC])
        source = S3Source(S3Settings(**usual, allow_http=True, poll_seconds=0.1), keyring, SystemClock())  # type: ignore[arg-type]
        await source.until_changed(0.3)
        assert await _keys(source) == []
        assert words in source.queue_trouble
        assert bool(source.queue_trouble) is bool(words)
        assert keyring.refusals == [], "a queue's refusal must not retire a key that the bucket takes"
        await source.close()


async def test_a_queue_is_asked_by_long_poll_and_for_nothing_more_than_needed() -> None:
    answers = iter([http(200, b"{}"), http(200, b'{"Messages": []}')])

    def answer(asked: Asked) -> bytes:
        return next(answers, http(200, b"{}"))

    async with ScriptedPeer(answer) as peer:
        settings = S3Settings(bucket="mails", region=REGION, queue_url=f"{peer.url}/1/q", allow_http=True)
        source = S3Source(settings, NotedKeyring([STATIC]), SystemClock())
        waiting = asyncio.create_task(source.until_changed(600.0))
        await _until(lambda: _has(peer))
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await source.close()
    first = peer.asked[0]
    assert first.headers["x-amz-target"] == "AmazonSQS.ReceiveMessage"
    assert (first.says["WaitTimeSeconds"], first.says["MaxNumberOfMessages"]) == (20, 10)
    assert first.says["VisibilityTimeout"] == 120
    assert "/us-east-1/sqs/aws4_request" in first.headers["authorization"]


async def _has(peer: ScriptedPeer) -> bool:
    return len(peer.asked) >= 2
