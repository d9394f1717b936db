"""What a message of the queue tells, in every form that is known, and in none."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todoku.sources.s3.notifications import Told, read_notification

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
KNOWN = ["Type", "Message", "Records", "s3", "bucket", "object", "key", "name", "source", "detail", "detail-type"]
KNOWN += ["notificationType", "receipt", "action", "content", "encoding", "mail", "messageId", "Event", "eventName"]
NEARLY = st.recursive(
    st.sampled_from(["Notification", "Received", "aws.s3", "Object Created", "S3", "SNS", "BASE64", "=", "{}", ""])
    | st.none()
    | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KNOWN), inner, max_size=5),
    max_leaves=15,
)


def records(*objects: tuple[str, str], event: str = "ObjectCreated:Put") -> str:
    found = [
        {"eventName": event, "s3": {"bucket": {"name": bucket}, "object": {"key": quote_plus(name), "eTag": "0"}}}
        for bucket, name in objects
    ]
    return json.dumps({"Records": found})


def wrapped(message: str, kind: str = "Notification") -> str:
    return json.dumps({"Type": kind, "MessageId": "1", "TopicArn": "arn:aws:sns:x:1:t", "Message": message})


def bridge(bucket: str, name: str, kind: str = "Object Created") -> str:
    detail = {"bucket": {"name": bucket}, "object": {"key": name}}
    return json.dumps({"version": "0", "source": "aws.s3", "detail-type": kind, "detail": detail})


def receipt(action: Mapping[str, object], content: str | None = None, message_id: object = "abc") -> str:
    said = {"notificationType": "Received", "mail": {"messageId": message_id}, "receipt": {"action": action}}
    return json.dumps(said if content is None else {**said, "content": content})


@given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=4, unique=True))
def test_objects_are_told_by_their_own_names_however_wrapped(objects: list[tuple[str, str]]) -> None:
    bare = records(*objects)
    assert read_notification(bare) == read_notification(wrapped(bare)) == Told(objects=tuple(objects))
    assert read_notification(wrapped(wrapped(bare))) == Told(objects=tuple(objects))


@given(NAMES, NAMES)
def test_eventbridge_and_ses_do_not_encode_names(bucket: str, name: str) -> None:
    assert read_notification(bridge(bucket, name)) == Told(objects=((bucket, name),))
    said = receipt({"type": "S3", "bucketName": bucket, "objectKey": name, "objectKeyPrefix": ""})
    assert read_notification(wrapped(said)) == Told(objects=((bucket, name),))


def test_a_plus_is_a_space_and_a_percent_is_an_octet() -> None:
    assert read_notification(records(("b", "in/a b+c%@予約"))).objects == (("b", "in/a b+c%@予約"),)
    assert "a+b%2Bc%25%40" in records(("b", "in/a b+c%@"))


@given(st.binary(min_size=1, max_size=400))
def test_a_mail_in_base64_comes_byte_for_byte(raw: bytes) -> None:
    text = base64.b64encode(raw).decode()
    folded = "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76))
    for action in ({"type": "SNS", "encoding": "BASE64"}, {"type": "SNS", "encoding": "Base64"}, {"type": "SNS"}):
        for content in (text, folded):
            ((key, found),) = read_notification(wrapped(receipt(action, content))).mails
            assert found == raw
            assert key.startswith("abc@sns-")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200), st.sampled_from(["UTF8", "UTF-8", ""]))
def test_a_mail_as_text_comes_as_its_characters(text: str, encoding: str) -> None:
    raw = f"Subject: {text}\r\n\r\n{text}"
    ((_, found),) = read_notification(receipt({"type": "SNS", "encoding": encoding}, raw)).mails
    assert found == raw.encode()


def test_what_is_said_to_be_base64_and_is_not_is_kept_as_it_came() -> None:
    ((_, found),) = read_notification(receipt({"type": "SNS", "encoding": "BASE64"}, "abc")).mails
    assert found == b"abc"
    ((_, found),) = read_notification(receipt({"type": "SNS", "encoding": "UTF8"}, "YWJj")).mails
    assert found == b"YWJj"
    ((_, found),) = read_notification(receipt({"type": "SNS"}, "Subject: \ud800")).mails
    assert found.startswith(b"Subject: "), "half a character loses no mail"


@pytest.mark.parametrize("message_id", ["m", None, 7, "\r\n", "x" * 5_000])
def test_a_mail_has_one_key_for_its_bytes_however_often_it_is_told(message_id: object) -> None:
    def key(content: str) -> str:
        ((found, _),) = read_notification(receipt({"type": "SNS"}, content, message_id)).mails
        return found

    assert key("Subject: a\r\n\r\n") == key("Subject: a\r\n\r\n") != key("Subject: b\r\n\r\n")
    assert len(key("Subject: a")) < 300
    assert key("Subject: a").isprintable()


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"}),
        wrapped(json.dumps({"Event": "s3:TestEvent"})),
        wrapped("You have chosen to subscribe", "SubscriptionConfirmation"),
        records(("b", "k"), event="ObjectRemoved:Delete"),
        records(("b", "k"), event="s3:ObjectRemoved:DeleteMarkerCreated"),
        bridge("b", "k", "Object Deleted"),
        json.dumps({"Records": []}),
        json.dumps({"notificationType": "Bounce", "bounce": {}}),
    ],
)
def test_what_tells_of_no_mail_is_understood(body: str) -> None:
    assert read_notification(body) == Told()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no json",
        "[]",
        "1",
        "{}",
        "[" * 100_000,
        '{"a": ' * 50_000,
        wrapped("no json"),
        wrapped("{}"),
        json.dumps({"Records": [1]}),
        json.dumps({"source": "aws.s3", "detail-type": "Object Created", "detail": {}}),
        json.dumps({"source": "aws.s3", "detail-type": "Object Created", "detail": {"bucket": {"name": "b"}}}),
        bridge("b", "\ud800"),
        receipt({"type": "Lambda"}),
        receipt({"type": "S3", "bucketName": "b"}),
        records(("b", "k"))[:-1],
        wrapped(wrapped(wrapped(wrapped(wrapped("{}"))))),
    ],
)
def test_what_is_not_understood_says_why(body: str) -> None:
    told = read_notification(body)
    assert told.problem
    assert not told.objects
    assert not told.mails


def test_one_broken_record_does_not_hide_the_others() -> None:
    document = json.loads(records(("b", "good")))
    document["Records"].insert(0, {"s3": None})
    told = read_notification(json.dumps(document))
    assert told.objects == (("b", "good"),)
    assert told.problem


@given(st.text(max_size=200) | JSON.map(json.dumps) | NEARLY.map(json.dumps) | NEARLY.map(json.dumps).map(wrapped))
def test_nothing_that_anybody_sends_raises(body: str) -> None:
    told = read_notification(body)
    assert all(bucket is not None and name.encode() is not None for bucket, name in told.objects)


def test_much_white_space_costs_no_time() -> None:
    read_notification(receipt({"type": "SNS"}, "A" * 100_000 + " " * 100_000 + "!"))
