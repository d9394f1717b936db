"""An SQS queue: receive and delete. Source: Amazon SQS API reference (AWS JSON protocol 1.0)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from todoku.sources.credentials import Credential
from todoku.sources.errors import CannotLook, Cause
from todoku.sources.s3.answers import Answer, trouble
from todoku.sources.s3.client import AwsClient, Login
from todoku.sources.s3.settings import S3Settings
from todoku.sources.s3.signature import Request

AT_ONCE: Final = 10  # what SQS gives and takes in one request
LONG_POLL_SECONDS: Final = 20  # the longest that SQS waits


class Message(NamedTuple):
    """One message as it was received. times: how often it has been, this time counted."""

    message_id: str
    receipt: str
    body: str
    times: int


class Queue:
    """The queue of one source. Raises CannotLook."""

    def __init__(self, settings: S3Settings, client: AwsClient, login: Login) -> None:
        self._settings = settings
        self._client = client
        self._login = login

    async def receive(self, wait_seconds: int) -> list[Message]:
        """Return up to ten messages, hidden from others for `visibility_seconds`. wait_seconds: 0-20, for the first."""
        answer = await self._call(
            "ReceiveMessage",
            {
                "MaxNumberOfMessages": AT_ONCE,
                "WaitTimeSeconds": wait_seconds,
                "VisibilityTimeout": self._settings.visibility_seconds,
                "AttributeNames": ["ApproximateReceiveCount"],
            },
            patience_seconds=wait_seconds,
        )
        found = answer.get("Messages") or []
        if not isinstance(found, list):
            raise CannotLook(Cause.PROTOCOL, f"{self._settings.queue_url}: an answer without a list of messages")
        return [message for one in found if (message := _message(one)) is not None]

    async def delete(self, receipts: Sequence[str]) -> int:
        """Let go of up to ten messages; return how many were not deleted: they come again."""
        entries = [{"Id": str(number), "ReceiptHandle": receipt} for number, receipt in enumerate(receipts)]
        answer = await self._call("DeleteMessageBatch", {"Entries": entries})
        failed = answer.get("Failed") or []
        return len(failed) if isinstance(failed, list) else 0

    async def _call(
        self, action: str, asked: Mapping[str, object], *, patience_seconds: float = 0.0
    ) -> Mapping[str, object]:
        settings = self._settings
        request = Request(
            "POST",
            settings.queue_endpoint,
            {},
            {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AmazonSQS.{action}"},
            json.dumps({"QueueUrl": settings.queue_url, **asked}).encode(),
        )

        async def attempt(credential: Credential) -> Answer:
            answer = await self._client.ask(request, credential, "sqs", patience_seconds=patience_seconds)
            if answer.status != 200:
                raise trouble(answer, f"{action} at {settings.queue_url}", self._client.clock.now_utc())
            return answer

        answer = await self._login.run(attempt)
        try:
            document = json.loads(answer.body) if answer.body else {}
        except (ValueError, RecursionError) as error:
            raise CannotLook(Cause.PROTOCOL, f"{settings.queue_url}: an answer that is no JSON") from error
        if not isinstance(document, dict):
            raise CannotLook(Cause.PROTOCOL, f"{settings.queue_url}: an answer that is no object")
        return document


def _message(one: object) -> Message | None:
    """Return the message, None when it has no receipt: it can't be deleted, and comes again."""
    if not isinstance(one, dict):
        return None
    receipt, body, message_id = one.get("ReceiptHandle"), one.get("Body"), one.get("MessageId")
    if not isinstance(receipt, str) or not isinstance(body, str):
        return None
    attributes = one.get("Attributes")
    count = str(attributes.get("ApproximateReceiveCount", "")) if isinstance(attributes, dict) else ""
    times = int(count) if count.isascii() and count.isdecimal() and len(count) < 10 else 1
    return Message(message_id if isinstance(message_id, str) else receipt, receipt, body, times)
