"""What a message of the queue tells: which objects came, or the mail itself. Pure: bytes in, words out.

Sources: S3 user guide "Event message structure" and "EventBridge event structure"; SNS developer guide "Message
formats"; SES developer guide "Contents of notifications for Amazon SES email receiving".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_plus

_WRAPPINGS: Final = 4  # SNS in SNS, EventBridge in SNS: no one has more
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}")  # a mail in plain text has a colon, which is not in it
_CAME: Final = ("ObjectCreated", "ObjectRestore:Completed")
_BRIDGE_CAME: Final = ("Object Created", "Object Restore Completed")
_MOST_ID: Final = 200
MAIL_MARK: Final = "sns-"  # where an object's key has its ETag


@dataclass(frozen=True, slots=True)
class Told:
    """What one message of the queue tells. All empty: it is understood, and tells of no mail.

    objects: (bucket, name). mails: (key, bytes) of notifications that are themselves the mail. problem: why the message
    or a part of it is not understood, "" when all is.
    """

    objects: tuple[tuple[str, str], ...] = ()
    mails: tuple[tuple[str, bytes], ...] = ()
    problem: str = ""


def read_notification(body: str) -> Told:
    """Say what a message tells, in whatever it is wrapped. Never raises."""
    try:
        return _read(body, _WRAPPINGS)
    except (ValueError, RecursionError) as error:
        return Told(problem=f"no JSON: {type(error).__name__}")


def _read(text: str, wrappings: int) -> Told:
    document = json.loads(text)
    if not isinstance(document, dict):
        return Told(problem="JSON, and no object")
    if isinstance(message := document.get("Message"), str) and "Type" in document:
        return _unwrap(document, message, wrappings)
    if isinstance(document.get("Records"), list):
        return _read_records(document["Records"])
    if isinstance(document.get("detail"), dict) and document.get("source") == "aws.s3":
        return _read_bridge(document)
    if "notificationType" in document or "receipt" in document:
        return _read_ses(document)
    if document.get("Event") == "s3:TestEvent":
        return Told()
    return Told(problem="JSON, and none of the forms that are known")


def _unwrap(document: Mapping[str, object], message: str, wrappings: int) -> Told:
    if document.get("Type") != "Notification":
        return Told()  # SubscriptionConfirmation: who set the queue up confirms it
    if document.get("Subject") == "Amazon SES Email Receipt Subscription Notification":
        return Told()  # plain text, sent once
    if not wrappings:
        return Told(problem="wrapped too often")
    return _read(message, wrappings - 1)


def _read_records(records: list[object]) -> Told:
    objects: list[tuple[str, str]] = []
    problem = ""
    for record in records:
        event = str(_inside(record, "eventName") or "").removeprefix("s3:")
        if event and not event.startswith(_CAME):
            continue
        bucket, name = _inside(record, "s3", "bucket", "name"), _inside(record, "s3", "object", "key")
        if not isinstance(bucket, str) or not isinstance(name, str):
            problem = "a record without bucket or key"
            continue
        objects.append((bucket, unquote_plus(name)))
    return _of_objects(objects, problem)


def _read_bridge(document: Mapping[str, object]) -> Told:
    if document.get("detail-type") not in _BRIDGE_CAME:
        return Told()
    bucket, name = _inside(document, "detail", "bucket", "name"), _inside(document, "detail", "object", "key")
    if not isinstance(bucket, str) or not isinstance(name, str):
        return Told(problem="an event without bucket or key")
    return _of_objects([(bucket, name)])  # as it is: EventBridge does not encode it


def _read_ses(document: Mapping[str, object]) -> Told:
    if document.get("notificationType") not in (None, "Received"):
        return Told()  # Bounce, Complaint, Delivery: of mails that were sent
    content = document.get("content")
    if isinstance(content, str):
        raw = _content(content, str(_inside(document, "receipt", "action", "encoding") or ""))
        return Told(mails=((_key_of(document, raw), raw),))
    bucket = _inside(document, "receipt", "action", "bucketName")
    name = _inside(document, "receipt", "action", "objectKey")
    if isinstance(bucket, str) and isinstance(name, str):
        return _of_objects([(bucket, name)])
    action = str(_inside(document, "receipt", "action", "type") or "")
    return Told(problem=f"SES, action {action[:20] or 'unknown'}: neither mail nor object in it")


def _of_objects(objects: list[tuple[str, str]], problem: str = "") -> Told:
    good: list[tuple[str, str]] = []
    for bucket, name in dict.fromkeys(objects):
        try:
            name.encode()
        except UnicodeEncodeError:
            problem = "a key that is no text"
        else:
            good.append((bucket, name))
    return Told(objects=tuple(good), problem=problem)


def _content(content: str, encoding: str) -> bytes:
    """Return the mail: what is declared Base64, or can be nothing else, is decoded; the rest is the mail as text."""
    declared = encoding.upper().replace("-", "")
    compact = "".join(content.split())
    if declared != "UTF8" and _BASE64.fullmatch(compact):
        try:
            return base64.b64decode(compact, validate=True)
        except (binascii.Error, ValueError):
            pass  # kept as it came: a person can still read it
    return content.encode("utf-8", "surrogatepass")


def _key_of(document: Mapping[str, object], raw: bytes) -> str:
    """Return a key that is the same however often the mail is told, and another for other bytes."""
    message_id = _inside(document, "mail", "messageId")
    name = message_id if isinstance(message_id, str) else ""
    name = re.sub(r"[^!-~]", "_", name)[:_MOST_ID]
    return f"{name}@{MAIL_MARK}{hashlib.sha256(raw).hexdigest()[:32]}"


def _inside(value: object, *names: str) -> object:
    for name in names:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value
