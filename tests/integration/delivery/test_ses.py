"""Amazon SES: the promises of every HTTP transport, what the requests say, and what its errors mean."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from pathlib import Path
from typing import Any

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

from todoku.delivery.transports.conformance import WatchingSink, envelopes_for
from todoku.delivery.transports.failover import FailOverTransport
from todoku.delivery.transports.http_conformance import check_http_transport
from todoku.delivery.transports.http_post import HttpAnswer, HttpLimits
from todoku.delivery.transports.opening import open_transport
from todoku.delivery.transports.scripted_api import ApiBehaviour, Dialect, Request, ScriptedApi, answer_of
from todoku.delivery.transports.ses import SesTransport, read_ses_url
from todoku.delivery.transports.ses.answers import verdict_of
from todoku.delivery.transports.smtp import SmtpTransport
from todoku.delivery.types import AnswerKind, Envelope, Transport
from todoku.kernel.clock import SystemClock, VirtualClock
from todoku.kernel.errors import ConfigurationError
from todoku.mail.dkim import KeyKind, new_key, sign_message


def error_of(status: int, name: str, message: str) -> bytes:
    return answer_of(status, json.dumps({"message": message}), x_amzn_ErrorType=f"{name}:http://internal/")


def recipient_of(request: Request) -> str:
    (address,) = json.loads(request.body)["Destination"]["ToAddresses"]
    assert isinstance(address, str)
    return address


ANSWERS = {
    ApiBehaviour.ACCEPT: answer_of(200, '{"MessageId": "0106-made-up"}', Content_Type="application/json"),
    ApiBehaviour.REFUSE: error_of(400, "MessageRejected", "Message contains a virus"),
    ApiBehaviour.THROTTLE: error_of(429, "TooManyRequestsException", "Maximum sending rate exceeded."),
    ApiBehaviour.HOLD: error_of(400, "SendingPausedException", "Sending is paused"),
    ApiBehaviour.BUSY: error_of(503, "ServiceUnavailable", "Try later"),
}
SES = Dialect(recipient_of, lambda behaviour, _recipient: ANSWERS[behaviour])


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made-up-secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


def make(origin: str, more: str = "") -> SesTransport:
    url = f"ses://ap-northeast-1?endpoint={origin}{more}"
    return SesTransport(read_ses_url(url), SystemClock(), limits=HttpLimits(answer_seconds=1.0, whole_seconds=2.0))


async def test_it_keeps_what_every_http_transport_promises() -> None:
    await check_http_transport(make, SES)


async def test_with_one_connection_too() -> None:
    await check_http_transport(lambda origin: make(origin, "&connections=2"), SES)


async def test_behind_a_relay_that_is_away_too() -> None:
    def over_both(origin: str) -> FailOverTransport:
        relays: list[tuple[str, Transport]] = [("away", SmtpTransport("smtp://127.0.0.1:9")), ("ses", make(origin))]
        return FailOverTransport(relays, SystemClock())

    await check_http_transport(over_both, SES)


async def one_request(content: bytes, more: str = "", recipient: str = "accept.0@relay.example") -> Request:
    api = ScriptedApi(SES)
    transport = make(await api.start(), more)
    try:
        sink = WatchingSink()
        await transport.send([Envelope(0, "shop@todoku.example", recipient, content)], sink)
        assert sink.answers[0].kind is AnswerKind.ACCEPTED, sink.answers[0].text
        assert sink.answers[0].text == "200 0106-made-up"
        (request,) = api.requests.values()
        return request
    finally:
        await transport.close()
        await api.stop()


async def test_the_message_goes_as_it_was_composed_to_one_recipient() -> None:
    content = envelopes_for(["accept"])[0].content
    request = await one_request(content, "&configuration_set=campaigns")
    document = json.loads(request.body)
    assert request.target == "/v2/email/outbound-emails"
    assert base64.b64decode(document["Content"]["Raw"]["Data"]) == content
    assert document["Destination"] == {"ToAddresses": ["accept.0@relay.example"]}
    assert document["FromEmailAddress"] == "shop@todoku.example"
    assert document["ConfigurationSetName"] == "campaigns"


async def test_our_signature_is_left_out_because_ses_rewrites_what_it_covers() -> None:
    key = new_key("todoku.example", "e1", KeyKind.ED25519)
    content = b"From: shop@todoku.example\r\nSubject: x\r\n\r\nhello\r\n"
    signed = sign_message(content, [key, key], SystemClock().now_utc())
    request = await one_request(signed)
    assert base64.b64decode(json.loads(request.body)["Content"]["Raw"]["Data"]) == content


async def test_the_request_carries_the_signature_that_aws_computes() -> None:
    request = await one_request(b"From: a@b.example\r\n\r\nhello\r\n")
    said = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/(\d{8})/ap-northeast-1/ses/aws4_request, "
        r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})",
        request.headers["authorization"],
    )
    assert said is not None
    names = said[2].split(";")
    assert {"host", "x-amz-date"} <= set(names)
    again = botocore.awsrequest.AWSRequest(
        method="POST",
        url=f"http://{request.headers['host']}{request.target}",
        data=request.body,
        headers={name: request.headers[name] for name in names if name != "host"},
    )
    again.context["timestamp"] = request.headers["x-amz-date"]
    judge = botocore.auth.SigV4Auth(
        botocore.credentials.Credentials("AKIDEXAMPLE", "made-up-secret"), "ses", "ap-northeast-1"
    )
    assert judge.signature(judge.string_to_sign(again, judge.canonical_request(again)), again) == said[3]


async def test_without_credentials_everything_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    transport = make("http://127.0.0.1:9")
    sink = WatchingSink()
    answers = await transport.send(envelopes_for(["accept"] * 5), sink)
    assert {(one.kind, one.relay_failed) for one in answers} == {(AnswerKind.TEMPORARY, True)}
    assert "no AWS credentials were found" in answers[0].text
    assert not sink.marked
    await transport.close()


async def test_an_address_that_breaks_smtp_is_refused_alone() -> None:
    api = ScriptedApi(SES)
    transport = make(await api.start())
    envelopes = envelopes_for(["accept"] * 2)
    envelopes[1] = Envelope(1, "shop@todoku.example", "名前@relay.example", envelopes[0].content)
    sink = WatchingSink()
    await transport.send(envelopes, sink)
    assert [sink.answers[ref].kind for ref in (0, 1)] == [AnswerKind.ACCEPTED, AnswerKind.PERMANENT]
    await transport.close()
    await api.stop()


async def test_a_fault_of_the_sender_ends_in_the_books_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even an exception that nobody foresaw leaves one answer for each message, and never a better one."""
    api = ScriptedApi(SES)
    transport = make(await api.start())

    def breaks(_answer: HttpAnswer) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("todoku.delivery.transports.ses.transport.verdict_of", breaks)
    sink = WatchingSink()
    await transport.send(envelopes_for(["accept"] * 3), sink)
    assert [sink.answers[ref].kind for ref in range(3)] == [AnswerKind.UNKNOWN] * 3
    assert len(api.taken) == 3
    await transport.close()
    await api.stop()


async def test_the_pace_is_kept() -> None:
    api = ScriptedApi(SES)
    transport = make(await api.start(), "&rate=50")
    begin = asyncio.get_running_loop().time()
    await transport.send(envelopes_for(["accept"] * 11), WatchingSink())
    assert asyncio.get_running_loop().time() - begin >= 10 / 50
    await transport.close()
    await api.stop()


@pytest.mark.parametrize(
    ("status", "name", "message", "kind", "relay_failed"),
    [
        (200, "", "", AnswerKind.ACCEPTED, False),
        (400, "MessageRejected", "Email address is not verified. shop@todoku.example", AnswerKind.TEMPORARY, True),
        (400, "MessageRejected", "Illegal content", AnswerKind.PERMANENT, False),
        (400, "BadRequestException", "Local address contains control or whitespace", AnswerKind.PERMANENT, False),
        (400, "MailFromDomainNotVerifiedException", "", AnswerKind.TEMPORARY, True),
        (400, "AccountSuspendedException", "", AnswerKind.TEMPORARY, True),
        (400, "LimitExceededException", "Daily message quota exceeded", AnswerKind.TEMPORARY, True),
        (404, "NotFoundException", "Configuration set does not exist", AnswerKind.TEMPORARY, True),
        (403, "SignatureDoesNotMatch", "", AnswerKind.TEMPORARY, True),
        (403, "SomethingNewException", "", AnswerKind.TEMPORARY, True),
        (400, "ThrottlingException", "Rate exceeded", AnswerKind.TEMPORARY, False),
        (500, "InternalFailure", "", AnswerKind.TEMPORARY, True),
        (500, "", "", AnswerKind.UNKNOWN, False),
        (504, "", "", AnswerKind.UNKNOWN, False),
        (400, "", "", AnswerKind.TEMPORARY, True),
        (302, "", "", AnswerKind.TEMPORARY, True),
    ],
)
def test_what_answers_mean(status: int, name: str, message: str, kind: AnswerKind, *, relay_failed: bool) -> None:
    headers: dict[str, Any] = {"x-amzn-ErrorType": name} if name else {}
    verdict = verdict_of(HttpAnswer(status, headers, json.dumps({"message": message}).encode()))
    assert (verdict.kind, verdict.relay_failed) == (kind, relay_failed)
    in_body = verdict_of(HttpAnswer(status, {}, json.dumps({"__type": f"a.b#{name}", "message": message}).encode()))
    assert in_body.kind is kind


@pytest.mark.parametrize(
    "url",
    [
        "ses://",
        "ses://tokyo",
        "ses://AKID:hunter2@ap-northeast-1",
        "ses://ap-northeast-1/hunter2",
        "ses://ap-northeast-1?hunter2=1",
        "ses://ap-northeast-1?rate=hunter2",
        "ses://ap-northeast-1?connections=0",
        "ses://ap-northeast-1?endpoint=http://hunter2.example",
        "ses://ap-northeast-1?configuration_set=hunter2%0d",
    ],
)
def test_wrong_urls_are_refused_without_printing_secrets(url: str, clock: VirtualClock) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        open_transport(url, clock)
    assert "hunter2" not in str(refusal.value)


def test_where_ses_is() -> None:
    assert read_ses_url("ses://ap-northeast-1").origin == "https://email.ap-northeast-1.amazonaws.com"
    assert read_ses_url("ses://cn-north-1").origin == "https://email.cn-north-1.amazonaws.com.cn"
    assert read_ses_url("ses://us-east-1?rate=14&connections=7").rate_per_second == 14
