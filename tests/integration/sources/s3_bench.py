"""A bucket with whoever fills it in hand, and the queue that tells of it as S3 does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote_plus
from uuid import uuid4

from tests.integration.sources.s3_servers import REGION, STATIC, session_key

from todoku.drills.tcp_link import TcpLink
from todoku.kernel.clock import Clock, SystemClock
from todoku.sources.conformance import NotedKeyring
from todoku.sources.credentials import Credential, CredentialKind, Keyring
from todoku.sources.s3 import S3Settings, S3Source
from todoku.sources.s3.answers import Answer
from todoku.sources.s3.client import AwsClient
from todoku.sources.s3.signature import Request

MAIL = b"Subject: a booking\r\n\r\nfor two\r\n"


class S3Bench:
    """One bucket of its own, reached over a link that can be cut. With a queue every delivery is told."""

    def __init__(self, port: int, link: TcpLink, queue_host: str = "") -> None:
        self.bucket = f"mails-{uuid4().hex[:12]}"
        self.queue_url = ""
        self.link = link
        self._port = port
        self._queue_host = queue_host
        direct = S3Settings(bucket=self.bucket, region=REGION, endpoint=f"http://127.0.0.1:{port}", allow_http=True)
        self._direct = direct
        self._client = AwsClient(direct, SystemClock())
        self._sources: list[S3Source] = []

    def settings(self, **other: object) -> S3Settings:
        """Return settings that reach the bucket over the link."""
        usual: dict[str, object] = {
            "bucket": self.bucket,
            "region": REGION,
            "prefix": "in/",
            "endpoint": f"http://127.0.0.1:{self.link.port}",
            "queue_url": self.queue_url,
            "allow_http": True,
            "poll_seconds": 0.3,
        }
        return S3Settings(**(usual | other))  # type: ignore[arg-type]

    def open(self, clock: Clock | None = None, **other: object) -> S3Source:
        return self._opened(S3Source(self.settings(**other), NotedKeyring([STATIC]), clock or SystemClock()))

    def open_with(self, keyring: Keyring, clock: Clock | None = None) -> S3Source:
        return self._opened(S3Source(self.settings(), keyring, clock or SystemClock()))

    def _opened(self, source: S3Source) -> S3Source:
        self._sources.append(source)  # closed at the end: nobody has to think of it
        return source

    def good(self) -> list[Credential]:
        return [STATIC, session_key(self._port)]

    def bad(self) -> list[Credential]:
        def other(credential_id: str, credential: Credential, **secrets: str) -> Credential:
            return Credential(credential_id, CredentialKind.SESSION_KEY, {**credential.secrets, **secrets})

        session = session_key(self._port)
        return [
            other("wrong-secret", STATIC, secret_key="w" * 30),
            other("unknown", STATIC, access_key="AKIANOBODY0000000001"),
            other("empty", STATIC, secret_key=""),
            other("broken", STATIC, access_key="AKIATODOKU\r\nX-Injected: 1"),
            other("other-token", session, session_token=session.secret("session_token")[:-8] + "aaaaaaaa"),
            other("session-wrong-secret", session, secret_key="w" * 30),
        ]

    async def deliver(self, raw: bytes) -> None:
        await self.put(f"in/{uuid4().hex}", raw)

    async def put(self, name: str, raw: bytes, **headers: str) -> None:
        await self.put_untold(name, raw, **headers)
        if self.queue_url:
            await self.tell(name)

    async def put_untold(self, name: str, raw: bytes, **headers: str) -> None:
        """Write an object of which no notification speaks."""
        await self._ask("PUT", self._direct.object_url(name), raw, headers)

    async def tell(self, *names: str, bucket: str = "") -> None:
        """Send the notification that S3 sends (raw, without SNS)."""
        records = [
            {
                "eventName": "ObjectCreated:Put",
                "s3": {"bucket": {"name": bucket or self.bucket}, "object": {"key": quote_plus(name)}},
            }
            for name in names
        ]
        await self.say(json.dumps({"Records": records}))

    async def say(self, body: str) -> None:
        """Put any message into the queue."""
        await self.queue("SendMessage", MessageBody=body)

    async def queue(self, action: str, **asked: object) -> dict[str, object]:
        """Ask the queue's server for something."""
        if self.queue_url:
            asked["QueueUrl"] = self.queue_url
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AmazonSQS.{action}"}
        answer = await self._ask("POST", self._queue_host, json.dumps(asked).encode(), headers, "sqs")
        document = json.loads(answer.body or b"{}")
        assert isinstance(document, dict)
        return document

    async def in_queue(self) -> int:
        """Return how many messages the queue has, hidden ones too."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = await self.queue("GetQueueAttributes", AttributeNames=names)
        counts = answer["Attributes"]
        assert isinstance(counts, dict)
        return sum(int(counts[name]) for name in names)

    async def remove_all(self) -> None:
        source = S3Source(self._direct, NotedKeyring([STATIC]), SystemClock())
        names = [one.key.rpartition("@")[0] async for one in source.list_mails()]
        await source.close()
        for name in names:
            await self.remove(name)

    async def remove(self, name: str) -> None:
        await self._ask("DELETE", self._direct.object_url(name))

    async def break_off(self) -> None:
        await self.link.cut()

    async def restore(self) -> None:
        await self.link.restore()

    async def begin(self) -> None:
        """Make bucket and queue."""
        await self._ask("PUT", self._direct.bucket_url)
        if self._queue_host:
            self.queue_url = str((await self.queue("CreateQueue", QueueName=self.bucket))["QueueUrl"])

    async def end(self) -> None:
        for source in self._sources:
            await source.close()
        await self._client.close()

    async def _ask(
        self, method: str, url: str, body: bytes = b"", headers: dict[str, str] | None = None, service: str = "s3"
    ) -> Answer:
        answer = await self._client.ask(Request(method, url, {}, headers or {}, body), STATIC, service)
        assert answer.status in (200, 204), f"{method} {url}: {answer.status} {answer.body[:500]!r}"
        return answer


@asynccontextmanager
async def s3_bench(port: int, queue_host: str = "") -> AsyncIterator[S3Bench]:
    """Give a bench with a new bucket, and with a new queue when its server is named."""
    link = TcpLink("127.0.0.1", port)
    await link.start()
    bench = S3Bench(port, link, queue_host)
    await bench.begin()
    yield bench
    await bench.end()
    await link.stop()
