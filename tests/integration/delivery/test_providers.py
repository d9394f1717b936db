"""Providers by django-anymail: the promises of every HTTP transport, what requests say, and what answers mean."""

from __future__ import annotations

import base64
import email
import email.policy
import json
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import parseaddr
from typing import Any

import pytest

from todoku.delivery.providers import AnymailTransport, open_provider
from todoku.delivery.transports.conformance import WatchingSink, envelopes_for
from todoku.delivery.transports.http_conformance import check_http_transport
from todoku.delivery.transports.http_post import HttpLimits
from todoku.delivery.transports.one_by_one import Verdict
from todoku.delivery.transports.opening import OpenOptions, open_transport
from todoku.delivery.transports.scripted_api import ApiBehaviour, Dialect, Request, ScriptedApi, answer_of
from todoku.delivery.types import Answer, AnswerKind, Envelope, Transport
from todoku.kernel.clock import VirtualClock
from todoku.kernel.errors import ConfigurationError
from todoku.mail.compose import Composer, MessageParts, SenderIdentity
from todoku.mail.dkim import KeyKind, new_key, sign_message

NOON = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


def campaign_message(*, eight_bit: bool = True) -> bytes:
    identity = SenderIdentity("炭火とどく, 渋谷店", "shop@todoku.example", "contact@todoku.example", "todoku.example")
    composer = Composer(identity, run_key="0198f0aabbcc", feedback_id="a:b:c:d", eight_bit=eight_bit)
    html, text, link = "<p>秋の <b>ご案内</b></p>\n", "秋のご案内\n.点\n", "https://todoku.example/u/abc"
    parts = MessageParts('見本 "太郎"', "taro@example.com", "秋のご案内", html, text, "r.1.2", link)
    return composer.compose(parts, NOON)


def of_postmark(behaviour: ApiBehaviour, recipient: str) -> bytes:
    accepted = {"ErrorCode": 0, "Message": "OK", "MessageID": "made-up-id", "To": recipient}
    inactive = {
        "ErrorCode": 406,
        "Message": f"Found inactive addresses: {recipient}. Inactive recipients are ones that",
    }
    return {
        ApiBehaviour.ACCEPT: answer_of(200, json.dumps(accepted)),
        ApiBehaviour.REFUSE: answer_of(422, json.dumps(inactive)),
        ApiBehaviour.THROTTLE: answer_of(429, '{"ErrorCode": 429, "Message": "slow down"}'),
        ApiBehaviour.HOLD: answer_of(401, '{"ErrorCode": 10, "Message": "bad server token"}'),
        ApiBehaviour.BUSY: answer_of(503, '{"ErrorCode": 100, "Message": "maintenance"}'),
    }[behaviour]


def of_mailgun(behaviour: ApiBehaviour, _recipient: str) -> bytes:
    return {
        ApiBehaviour.ACCEPT: answer_of(200, '{"id": "<made-up@mg.example>", "message": "Queued. Thank you."}'),
        ApiBehaviour.REFUSE: answer_of(400, '{"message": "to parameter is not a valid address"}'),
        ApiBehaviour.THROTTLE: answer_of(429, '{"message": "too many requests"}'),
        ApiBehaviour.HOLD: answer_of(403, '{"message": "account is disabled"}'),
        ApiBehaviour.BUSY: answer_of(503, "busy"),
    }[behaviour]


def form_of(request: Request) -> dict[str, bytes]:
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    whole = email.message_from_bytes(head + request.body, policy=email.policy.HTTP)
    assert isinstance(whole, EmailMessage)
    start = {str(part.get_param("name", header="content-disposition")): part for part in whole.iter_parts()}
    fields: dict[str, bytes] = {}
    for name in start:
        _, _, rest = request.body.partition(f'name="{name}"'.encode())
        content = rest.partition(b"\r\n\r\n")[2]
        fields[name] = content.partition(b"\r\n--" + str(whole.get_boundary()).encode())[0]
    return fields


POSTMARK = Dialect(
    lambda request: parseaddr(json.loads(request.body)["To"])[1], of_postmark, cut_answer=AnswerKind.UNKNOWN
)
MAILGUN = Dialect(lambda request: form_of(request)["to"].decode(), of_mailgun, cut_answer=AnswerKind.UNKNOWN)
SETTINGS = {"postmark": "hunter2@", "mailgun": "hunter2@?sender_domain=mg.todoku.example&"}


def make(provider: str, origin: str, path: str = "/") -> AnymailTransport:
    settings = SETTINGS[provider]
    joint = "" if "?" in settings else "?"
    url = f"anymail+{provider}://{settings}{joint}api_url={origin}{path}"
    return AnymailTransport(url, limits=HttpLimits(answer_seconds=1.0, whole_seconds=2.0))


async def test_postmark_keeps_what_every_http_transport_promises() -> None:
    await check_http_transport(lambda origin: make("postmark", origin), POSTMARK)


async def test_mailgun_keeps_what_every_http_transport_promises() -> None:
    await check_http_transport(lambda origin: make("mailgun", origin, "/v3"), MAILGUN)


async def one_request(provider: str, dialect: Dialect, content: bytes, path: str = "/") -> tuple[Request, Answer]:
    api = ScriptedApi(dialect)
    transport = make(provider, await api.start(), path)
    try:
        sink = WatchingSink()
        await transport.send([Envelope(0, "shop@todoku.example", "accept.0@relay.example", content)], sink)
        (request,) = api.requests.values()
        return request, sink.answers[0]
    finally:
        await transport.close()
        await api.stop()


async def test_parts_say_what_the_message_said() -> None:
    key = new_key("todoku.example", "e1", KeyKind.ED25519)
    request, answer = await one_request("postmark", POSTMARK, sign_message(campaign_message(), [key], NOON))
    assert (answer.kind, answer.text) == (AnswerKind.ACCEPTED, "200 sent made-up-id")
    assert request.target == "/email"
    assert request.headers["x-postmark-server-token"] == "hunter2"
    document: dict[str, Any] = json.loads(request.body)
    assert str(email.message_from_string(f"X: {document['From']}", policy=email.policy.default)["X"]) is not None
    assert decoded(document["From"]) == ("炭火とどく, 渋谷店", "shop@todoku.example")
    assert decoded(document["To"]) == ('見本 "太郎"', "accept.0@relay.example")
    assert decoded(document["ReplyTo"]) == ("", "contact@todoku.example")
    assert document["Subject"] == "秋のご案内"
    assert document["TextBody"].replace("\r\n", "\n") == "秋のご案内\n.点\n"
    assert document["HtmlBody"].replace("\r\n", "\n") == "<p>秋の <b>ご案内</b></p>\n"
    headers = {one["Name"].lower(): one["Value"] for one in document["Headers"]}
    assert headers["message-id"] == "<r.1.2@todoku.example>"
    assert headers["list-unsubscribe"] == "<https://todoku.example/u/abc>"
    assert headers["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"
    assert headers["x-todoku-recipient"] == "r.1.2"
    assert not {"dkim-signature", "date", "from", "content-type"} & set(headers)


def decoded(mailbox: str) -> tuple[str, str]:
    header: Any = email.message_from_string(f"To: {mailbox}", policy=email.policy.default)["To"]
    (address,) = header.addresses
    return address.display_name, address.addr_spec


async def test_mailgun_gets_our_mime_as_it_is() -> None:
    content = campaign_message(eight_bit=False)
    key = new_key("todoku.example", "e1", KeyKind.ED25519)
    request, answer = await one_request("mailgun", MAILGUN, sign_message(content, [key], NOON), "/v3")
    assert answer.kind is AnswerKind.ACCEPTED
    assert request.target == "/v3/mg.todoku.example/messages.mime"
    assert request.headers["authorization"] == "Basic " + base64.b64encode(b"api:hunter2").decode()
    form = form_of(request)
    assert form["to"] == b"accept.0@relay.example"
    assert form["message"] == content


async def test_an_answer_that_nobody_understands_is_unknown() -> None:
    odd = Dialect(POSTMARK.recipient_of, lambda _behaviour, _recipient: answer_of(200, "<html>welcome</html>"))
    _, answer = await one_request("postmark", odd, campaign_message())
    assert answer.kind is AnswerKind.UNKNOWN


async def test_an_address_that_breaks_smtp_is_refused_alone() -> None:
    api = ScriptedApi(POSTMARK)
    transport = make("postmark", await api.start())
    envelopes = envelopes_for(["accept"] * 2)
    envelopes[0] = Envelope(0, "shop@todoku.example", "accept.0@relay.example", campaign_message())
    envelopes[1] = Envelope(1, "shop@todoku.example", "名前@relay.example", campaign_message())
    sink = WatchingSink()
    await transport.send(envelopes, sink)
    assert [sink.answers[ref].kind for ref in (0, 1)] == [AnswerKind.ACCEPTED, AnswerKind.PERMANENT]
    await transport.close()
    await api.stop()


@pytest.mark.parametrize(
    "settings",
    [
        "brevo://k@",
        "mailersend://k@",
        "mailjet://k:s@",
        "mailtrap://k@",
        "mandrill://k@",
        "postal://k@?api_url=https://postal.example",
        "resend://k@",
        "scaleway://k@?project_id=1",
        "sparkpost://k@",
        "unisender-go://k@?api_url=https://go.example",
        "sendgrid://k@",
    ],
)
async def test_every_provider_of_anymail_can_build_our_message(settings: str, clock: VirtualClock) -> None:
    transport = open_provider(f"anymail+{settings}", clock)
    assert isinstance(transport, AnymailTransport)
    order = transport._build(Envelope(0, "shop@todoku.example", "guest@relay.example", campaign_message()))
    assert not isinstance(order, Verdict), order.text
    assert b"guest@relay.example" in order.body
    await transport.close()


def opened(url: str, clock: VirtualClock) -> Transport:
    return open_transport(url, clock, OpenOptions(also={"anymail+": open_provider}))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("anymail+postmark://", "server_token is missing|setting postmark_server_token is missing"),
        ("anymail+postmark://hunter2", "takes no host"),
        ("anymail+postmark://hunter2@?speed=hunter2", "knows no setting speed"),
        ("anymail+postmark://hunter2@?api_url=http://hunter2.example", "it must be https"),
        ("anymail+postmark://hunter2@?connections=0", "1-999"),
        ("anymail+nobody://hunter2@", "knows no provider nobody"),
        ("anymail+amazon-ses://hunter2@", "use ses://"),
        ("anymail+test://hunter2@", "does not send over HTTP"),
        ("anymail+://hunter2@", "anymail.NAME"),
    ],
)
def test_wrong_urls_are_refused_without_printing_secrets(url: str, words: str, clock: VirtualClock) -> None:
    with pytest.raises(ConfigurationError, match=words) as refusal:
        opened(url, clock)
    assert "hunter2" not in str(refusal.value)
