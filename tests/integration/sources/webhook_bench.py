"""Calls as mail providers make them, with invented mails; and an Amazon that signs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote_from_bytes
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID
from tests.integration.sources.conftest import Intake

from todoku.api.inbound.rebuild import rebuild
from todoku.kernel.clock import VirtualClock
from todoku.sources.arrivals import ArrivalWriter
from todoku.sources.collecting import Place
from todoku.sources.credentials import Credential, CredentialKind
from todoku.sources.errors import CannotLook, Cause
from todoku.sources.webhook import Answer, Call, MemoryBook, Provider, Reception, WebhookPlace
from todoku.sources.webhook.types import ReadObject

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
SUBJECT = "=?ISO-2022-JP?B?GyRCTT1Ls0Q8NkhDTyRhGyhC?="
MAIL = (
    b"Received: from mx.site.example (192.0.2.7) by in.todoku.example; Sat, 21 Nov 2026 12:00:00 +0900\r\n"
    b"DKIM-Signature: v=1; a=rsa-sha256; d=site.example; s=k1; h=from:subject; bh=aaaa; b=bbbb\r\n"
    b"From: notice@site.example\r\nTo: ginza@in.todoku.example\r\nSubject: " + SUBJECT.encode() + b"\r\n"
    b"Message-ID: <m1@site.example>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=ISO-2022-JP\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
    b"\x1b$B;yKu!'%i%s%A\x1b(B 12:00\r\n--a line like a boundary\r\n\r\n  \r\nend without line end"
)
CP932 = MAIL.replace(b"charset=ISO-2022-JP", b"charset=Shift_JIS") + "　髙橋様 ①".encode("cp932")
TOPIC = "arn:aws:sns:ap-northeast-1:123456789012:bookings"


def password(name: str = "first", word: str = "s3cret") -> Credential:
    """Return a user name and password for basic authentication."""
    return Credential(name, CredentialKind.PASSWORD, {"username": "todoku", "password": word})


def signing_key(name: str = "first", key: str = "key-one") -> Credential:
    """Return a signing key of Mailgun."""
    return Credential(name, CredentialKind.STATIC_KEY, {"secret_key": key})


def place_for(provider: Provider, project: str, *secrets: Credential) -> WebhookPlace:
    """Return a place; SES has one known topic."""
    place = Place(project, f"hook-{provider.value}", shop_code="ginza", site="tabelog")
    return WebhookPlace(place, provider, secrets, (TOPIC,) if provider is Provider.SES else ())


def basic(secret: Credential) -> dict[str, str]:
    """Return the header that a provider sends for `https://user:password@…`."""
    plain = f"{secret.secret('username')}:{secret.secret('password')}".encode()
    return {"authorization": "Basic " + base64.b64encode(plain).decode()}


def multipart(fields: list[tuple[str, bytes] | tuple[str, bytes, str, str]], boundary: str = "xYzZY") -> Call:
    """Return a form of (name, content) and files of (name, content, filename, type)."""
    body = b""
    for name, content, *file in fields:
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'.encode()
        body += f'; filename="{file[0]}"\r\nContent-Type: {file[1]}'.encode() if file else b""
        body += b"\r\n\r\n" + content + b"\r\n"
    return Call(f"multipart/form-data; boundary={boundary}", {}, body + f"--{boundary}--\r\n".encode())


def urlencoded(fields: list[tuple[str, bytes]]) -> Call:
    """Return a form without files, as Mailgun sends it."""
    body = "&".join(f"{name}={quote_from_bytes(value, safe='').replace('%20', '+')}" for name, value in fields)
    return Call("application/x-www-form-urlencoded", {}, body.encode())


def as_json(value: object, **headers: str) -> Call:
    """Return a call with a JSON body."""
    return Call("application/json", headers, json.dumps(value).encode())


def with_headers(call: Call, headers: dict[str, str]) -> Call:
    """Return the call with headers more."""
    return Call(call.content_type, {**call.headers, **headers}, call.body)


ENVELOPE = ("envelope", b'{"to":["ginza@in.todoku.example"],"from":"bounce@site.example"}')


def sendgrid(raw: bytes = MAIL, boundary: str = "xYzZY") -> Call:
    """Return a call of Inbound Parse that sends the whole mail."""
    beside: list[Any] = [("to", b"ginza@in.todoku.example"), ("SPF", b"pass"), ("dkim", b"{@site.example : pass}")]
    return multipart([*beside, ("email", raw), ENVELOPE, ("spam_score", b"0.1")], boundary)


def sendgrid_pieces(boundary: str = "xYzZY") -> Call:
    """Return a call of Inbound Parse with the mail in pieces, of which the text is in ISO-2022-JP."""
    headers = MAIL.partition(b"\r\n\r\n")[0].replace(b"\r\n", b"\n")
    info = b'{"attachment1":{"filename":"seats.csv","name":"seats.csv","type":"text/csv"}}'
    fields: list[Any] = [
        ("headers", headers),
        ("text", "予約 12:00 髙橋様".encode("cp932")),
        ("charsets", b'{"to":"UTF-8","subject":"UTF-8","text":"shift_jis"}'),
        ENVELOPE,
        ("attachment-info", info),
        ("attachment1", b"a,b\r\n\x00\xff", "seats.csv", "text/csv"),
    ]
    return multipart(fields, boundary)


def sendgrid_key() -> tuple[ec.EllipticCurvePrivateKey, Credential]:
    """Return a key pair of a signed webhook, and what its owner sees of it."""
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public = base64.b64encode(key.public_key().public_bytes(serialization.Encoding.DER, form)).decode()
    return key, Credential("verification-key", CredentialKind.STATIC_KEY, {"secret_key": public})


def signed_by_sendgrid(call: Call, key: ec.EllipticCurvePrivateKey) -> Call:
    """Return the call with the headers of a signed webhook."""
    signature = key.sign(b"1795230000" + call.body, ec.ECDSA(hashes.SHA256()))
    word = "x-twilio-email-event-webhook-"
    return with_headers(
        call, {f"{word}signature": base64.b64encode(signature).decode(), f"{word}timestamp": "1795230000"}
    )


def postmark_event(
    message_id: str = "22c74902-a0c1-4511-804f-341342852c90", raw: bytes | None = MAIL
) -> dict[str, Any]:
    """Return what Postmark sends of a mail; raw: None without "Include raw email content"."""
    event: dict[str, Any] = {
        "FromName": "",
        "MessageStream": "inbound",
        "From": "notice@site.example",
        "FromFull": {"Email": "notice@site.example", "Name": '通知 "係"', "MailboxHash": ""},
        "To": "ginza@in.todoku.example",
        "ToFull": [{"Email": "ginza@in.todoku.example", "Name": "", "MailboxHash": ""}],
        "OriginalRecipient": "ginza@in.todoku.example",
        "Subject": "予約のお知らせ",
        "MessageID": message_id,
        "Date": "Sat, 21 Nov 2026 12:00:00 +0900",
        "TextBody": "予約 12:00",
        "HtmlBody": "<p>予約 12:00</p>",
        "Headers": [
            {"Name": "Return-Path", "Value": "<bounce@site.example>"},
            {"Name": "Message-ID", "Value": "<m1@site.example>"},
            {"Name": "X-Odd", "Value": "one\r\nX-Injected: two"},
        ],
        "Attachments": [{"Name": "席.csv", "Content": "YSxi", "ContentType": "text/csv", "ContentID": ""}],
    }
    if raw is not None:
        event["RawEmail"] = raw.decode("utf-8")
    return event


def postmark(raw: bytes | None = MAIL, **headers: str) -> Call:
    """Return a call of an inbound stream."""
    return as_json(postmark_event(raw=raw), **headers)


def mailgun_signature(key: str = "key-one", at: datetime = NOW, token: str = "") -> list[tuple[str, bytes]]:
    """Return the fields by which Mailgun proves a call."""
    token = token or uuid4().hex + uuid4().hex[:18]
    timestamp = str(int(at.timestamp()))
    signature = hmac.new(key.encode(), f"{timestamp}{token}".encode(), hashlib.sha256).hexdigest()
    return [("timestamp", timestamp.encode()), ("token", token.encode()), ("signature", signature.encode())]


def mailgun(raw: bytes = MAIL, **signed: Any) -> Call:
    """Return a call of a route whose address ends in `mime`."""
    beside = [("recipient", b"ginza@in.todoku.example"), ("sender", b"bounce@site.example"), ("subject", b"x")]
    return urlencoded([*beside, ("body-mime", raw), *mailgun_signature(**signed)])


def mailgun_pieces(**signed: Any) -> Call:
    """Return a call of a route with the mail in pieces and two files."""
    headers = json.dumps([["Subject", "予約"], ["From", "notice@site.example"], ["Content-Type", "text/plain"]])
    fields: list[Any] = [
        ("recipient", b"ginza@in.todoku.example"),
        ("sender", b"bounce@site.example"),
        ("message-headers", headers.encode()),
        ("body-plain", "予約 12:00".encode()),
        ("body-html", "<p>予約 <img src=cid:logo></p>".encode()),
        ("attachment-count", b"2"),
        ("content-id-map", b'{"<logo>":"attachment-1"}'),
        ("attachment-1", b"\x89PNG", "logo.png", "image/png"),
        ("attachment-2", b"", "", "application/pdf"),
    ]
    return multipart([*fields, *mailgun_signature(**signed)])


class Amazon:
    """Signs messages of a topic, and answers what is asked at its addresses."""

    certificate_url = "https://sns.ap-northeast-1.amazonaws.com/SimpleNotificationService-0f3a.pem"

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        self.asked: list[str] = []
        self.away = False
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
        made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self.key.public_key())
        made = made.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=365))
        self.certificate = made.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    async def __call__(self, address: str) -> bytes:
        """Answer as Amazon does: certificates at their address, and a little XML for a confirmation."""
        self.asked.append(address)
        if self.away:
            raise CannotLook(Cause.UNREACHABLE, "sns.ap-northeast-1.amazonaws.com can't be asked: timed out")
        return self.certificate if address == self.certificate_url else b"<ConfirmSubscriptionResponse/>"

    def signed(self, kind: str, message: str, *, version: str = "1", topic: str = TOPIC, **more: str) -> Call:
        """Return a message of SNS."""
        values = {"Type": kind, "MessageId": str(uuid4()), "TopicArn": topic, "Message": message, **more}
        values |= {"Timestamp": "2026-11-21T03:00:00.000Z", "SignatureVersion": version}
        names = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
        if kind != "Notification":
            names = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
        text = "".join(f"{name}\n{values[name]}\n" for name in names if name in values)
        hashed = hashes.SHA1() if version == "1" else hashes.SHA256()  # noqa: S303
        signature = self.key.sign(text.encode(), padding.PKCS1v15(), hashed)
        values |= {"Signature": base64.b64encode(signature).decode(), "SigningCertURL": self.certificate_url}
        return Call("text/plain; charset=UTF-8", {}, json.dumps(values).encode())

    def mail(
        self, raw: bytes = MAIL, *, version: str = "1", encoding: str = "BASE64", ses_id: str = "o3vrnil0e2ic"
    ) -> Call:
        """Return the notification of a mail that came."""
        content = base64.b64encode(raw).decode() if encoding == "BASE64" else raw.decode("utf-8")
        return self.signed(
            "Notification", json.dumps({**ses_event(ses_id, encoding), "content": content}), version=version
        )

    def subscription(self, topic: str = TOPIC, address: str = "") -> Call:
        """Return the question whether a subscription is wanted."""
        address = address or (
            "https://sns.ap-northeast-1.amazonaws.com/?Action=ConfirmSubscription"
            f"&TopicArn={topic}&Token=2336412f37fb687f5d51e6e2425f"
        )
        return self.signed(
            "SubscriptionConfirmation", "You have chosen", topic=topic, SubscribeURL=address, Token="233"
        )


def ses_event(ses_id: str, encoding: str, **action: str) -> dict[str, Any]:
    """Return what SES says of a mail."""
    return {
        "notificationType": "Received",
        "mail": {"messageId": ses_id, "source": "bounce@site.example", "destination": ["ginza@in.todoku.example"]},
        "receipt": {
            "recipients": ["ginza@in.todoku.example"],
            "spamVerdict": {"status": "PASS"},
            "action": {"type": "SNS", "topicArn": TOPIC, "encoding": encoding, **action},
        },
    }


class Hook:
    """One place, with its reception and book."""

    def __init__(self, intake: Intake, place: WebhookPlace, read_object: ReadObject | None = None) -> None:
        self.intake, self.place, self.read_object = intake, place, read_object
        self.book, self.amazon, self.clock = MemoryBook(), Amazon(), VirtualClock(NOW)
        self.restart()

    def restart(self) -> None:
        """Be another process, which remembers nothing."""
        writer = ArrivalWriter(self.intake.vault, self.intake.bus, self.clock)
        self.reception = Reception(self.book, writer, rebuild=rebuild, web=self.amazon, read_object=self.read_object)

    async def take(self, call: Call) -> Answer:
        return await self.reception.receive(self.place, call)

    async def raw_mails(self) -> list[bytes]:
        return [await self.intake.vault.get(one.vault_key) for one in await self.intake.arrivals()]

    def call(self, raw: bytes = MAIL) -> Call:
        """Return a call of its provider with the whole mail."""
        if self.place.provider is Provider.SES:
            return self.amazon.mail(raw)
        if self.place.provider is Provider.POSTMARK:
            return postmark(raw)
        return sendgrid(raw) if self.place.provider is Provider.SENDGRID else mailgun(raw)
