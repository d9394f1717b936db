"""Calls of Amazon SES over SNS: signatures, topics, confirmations, mails in a bucket."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tests.integration.sources import webhook_bench as bench
from tests.integration.sources.conftest import Intake
from tests.integration.sources.webhook_bench import MAIL, Amazon, Hook

from todoku.sources.errors import CannotFetch, MailVanished
from todoku.sources.webhook import Answer, Call, Provider, WebhookPlace
from todoku.sources.webhook.types import ReadObject


@pytest.fixture
def hook(intake: Intake) -> Callable[..., Hook]:
    def make(provider: Provider, *secrets: object, read_object: ReadObject | None = None) -> Hook:
        return Hook(intake, bench.place_for(provider, intake.project, *secrets), read_object)  # type: ignore[arg-type]

    return make


@pytest.mark.parametrize(("version", "encoding"), [("1", "BASE64"), ("2", "BASE64"), ("2", "UTF-8")])
async def test_messages_of_sns_are_verified(version: str, encoding: str, hook: Callable[..., Hook]) -> None:
    one = hook(Provider.SES)
    call = one.amazon.mail(version=version, encoding=encoding)
    assert (await one.take(call)).status == 200
    (arrival,) = await one.intake.arrivals()
    assert arrival.cursor == "ses:o3vrnil0e2ic"
    assert await one.raw_mails() == [MAIL]
    values = json.loads(call.body)
    for name, value in (("Message", "{}"), ("SignatureVersion", "3"), ("Signature", "??"), ("Subject", "added")):
        assert (await one.take(bench.as_json({**values, name: value}))).status == 503, name
    assert len(await one.intake.arrivals()) == 1
    assert one.amazon.asked == [Amazon.certificate_url], "fetched once"


async def test_a_topic_of_somebody_else_is_not_believed_or_confirmed(hook: Callable[..., Hook]) -> None:
    one = hook(Provider.SES)
    foreign = "arn:aws:sns:us-east-1:999999999999:theirs"
    assert (await one.take(one.amazon.subscription(foreign))).status == 503
    assert (await one.take(one.amazon.signed("Notification", "{}", topic=foreign))).status == 503
    assert one.amazon.asked == []
    assert "is not one of this source" in one.book.not_proven[0][1]


async def test_a_known_topic_is_confirmed_when_amazon_can_be_asked(hook: Callable[..., Hook]) -> None:
    one = hook(Provider.SES)
    one.amazon.away = True
    assert (await one.take(one.amazon.subscription())).status == 503
    one.amazon.away = False
    assert await one.take(one.amazon.subscription()) == Answer.kept("confirmed")
    assert "Action=ConfirmSubscription" in one.amazon.asked[-1]
    assert await one.intake.arrivals() == []
    elsewhere = one.amazon.subscription(address="https://sns.ap-northeast-1.amazonaws.com/?Action=DeleteTopic")
    assert (await one.take(elsewhere)).status == 503
    ended = one.amazon.signed("UnsubscribeConfirmation", "ended", SubscribeURL="https://x", Token="1")
    assert (await one.take(ended)).status == 200
    assert "do not come any more" in one.book.not_proven[-1][1]


async def test_what_ses_says_at_setup_is_no_mail(hook: Callable[..., Hook]) -> None:
    one = hook(Provider.SES)
    for words in (
        "Successfully validated SNS topic for Amazon SES event publishing.",
        '{"notificationType": "AmazonSnsSubscriptionSucceeded", "message": "You have"}',
    ):
        assert await one.take(one.amazon.signed("Notification", words)) == Answer.kept("noted")
    assert await one.intake.arrivals() == []


async def test_a_mail_in_a_bucket_is_read_or_shown_to_a_person(hook: Callable[..., Hook]) -> None:
    lying: dict[str, bytes | Exception] = {"mail/1": MAIL, "gone": MailVanished("gone"), "away": CannotFetch("away")}

    async def read_object(_place: WebhookPlace, bucket: str, key: str) -> bytes:
        assert bucket == "mails"
        found = lying[key]
        if isinstance(found, Exception):
            raise found
        return found

    def call(amazon: Amazon, key: str) -> Call:
        event = bench.ses_event(key, "", type="S3", bucketName="mails", objectKey=key)
        return amazon.signed("Notification", json.dumps(event))

    one = hook(Provider.SES, read_object=read_object)
    assert (await one.take(call(one.amazon, "mail/1"))).status == 200
    assert (await one.take(call(one.amazon, "away"))).status == 503
    assert await one.raw_mails() == [MAIL]
    gone = call(one.amazon, "gone")
    assert (await one.take(gone)).text.endswith("unread")
    assert await one.raw_mails() == [MAIL, gone.body]
    nobody = hook(Provider.SES)
    assert (await nobody.take(call(nobody.amazon, "mail/1"))).text.endswith("unread")
