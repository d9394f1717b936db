"""Amazon SES over SNS: receipt rules with the action SNS (the mail is in the message) or S3 (it lies in a bucket).

Source: docs.aws.amazon.com/ses/latest/dg/receiving-email-notifications-contents.html.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

import structlog

from todoku.sources.errors import CredentialRefused, MailVanished
from todoku.sources.webhook.errors import MalformedCall
from todoku.sources.webhook.forms import read_json
from todoku.sources.webhook.sns import (
    SUBSCRIPTION,
    UNSUBSCRIPTION,
    SnsMessage,
    SnsVerifier,
    Web,
    read_message,
    require_confirm_address,
)
from todoku.sources.webhook.types import Call, Handed, ReadObject, WebhookBook, WebhookPlace, tidy_address

log = structlog.get_logger(__name__)

_SAID_AT_SETUP: Final = ("Successfully validated SNS topic", '{"notificationType":"AmazonSnsSubscriptionSucceeded"')


class SesReader:
    """Reads the calls of SES. read_object: gives mails that lie in S3; None when nobody can."""

    def __init__(self, book: WebhookBook, web: Web, read_object: ReadObject | None) -> None:
        self._book = book
        self._web = web
        self._verifier = SnsVerifier(web)
        self._read_object = read_object

    async def read(self, call: Call, place: WebhookPlace) -> Handed:
        """Return what a call hands over; raises CredentialRefused, MalformedCall, and CannotLook, CannotFetch."""
        message = read_message(call.body)
        if message.topic not in place.topics:  # before the signature: anybody may have a topic that Amazon signs
            raise CredentialRefused(
                f"the topic {message.topic[:200]!r} is not one of this source",
                kept="nothing: SNS tries again for an hour",
                todo="add the topic to the source, or remove the subscription",
            )
        await self._verifier.verify(message)
        if message.kind == SUBSCRIPTION:
            address = require_confirm_address(message.values.get("SubscribeURL", ""), message.topic)
            await self._web(address)
            log.info("webhook.subscribed", source=place.place.source, topic=message.topic)
            return Handed(note="confirmed")
        if message.kind == UNSUBSCRIPTION:
            why = f"the topic {message.topic} has ended its subscription: its mails do not come any more"
            log.error("webhook.unsubscribed", source=place.place.source, topic=message.topic)
            self._book.refused(place, why)
            return Handed(note="noted")
        return await self._mail_of(message, place)

    async def _mail_of(self, message: SnsMessage, place: WebhookPlace) -> Handed:
        text = message.values.get("Message", "")
        if text.replace(" ", "").startswith(tuple(one.replace(" ", "") for one in _SAID_AT_SETUP)):
            return Handed(note="noted")
        event = read_json(text)
        mail, receipt = _dict(event.get("mail")), _dict(event.get("receipt"))
        action = _dict(receipt.get("action"))
        recipients = receipt.get("recipients")
        return Handed(
            raw=await self._raw_of(event.get("content"), action, place),
            identity=tidy_address(mail.get("messageId")),
            mail_from=tidy_address(mail.get("source")),
            rcpt_to=tidy_address(recipients[0]) if isinstance(recipients, list) and recipients else "",
        )

    async def _raw_of(self, content: object, action: dict[str, Any], place: WebhookPlace) -> bytes:
        if isinstance(content, str) and content:
            if str(action.get("encoding") or "").upper() != "BASE64":
                return content.encode("utf-8", "surrogatepass")
            try:
                return base64.b64decode(content, validate=True)
            except (binascii.Error, ValueError) as error:
                raise MalformedCall(f"the mail is said to be base64, and is not: {error}") from error
        bucket, key = action.get("bucketName"), action.get("objectKey")
        if action.get("type") != "S3" or not isinstance(bucket, str) or not isinstance(key, str):
            raise MalformedCall("the message of SES has no mail in it and does not say where one is")
        if self._read_object is None:
            todo = "fetch this bucket with a source of the kind s3, which needs no webhook"
            log.error("webhook.mail_is_in_s3", source=place.place.source, bucket=bucket, key=key, todo=todo)
            raise MalformedCall(f"the mail lies in the bucket {bucket[:100]} under {key[:300]}", todo=todo)
        try:
            return await self._read_object(place, bucket, key)
        except MailVanished as error:
            raise MalformedCall(f"the mail is not in the bucket any more: {error.what}") from error


def _dict(found: object) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}
