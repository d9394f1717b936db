"""Calls of providers become arrivals: a real vault, a real bus."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from datetime import timedelta

import pytest
from tests.integration.sources import webhook_bench as bench
from tests.integration.sources.conftest import Intake
from tests.integration.sources.webhook_bench import CP932, MAIL, NOW, Hook

from todoku.bus.errors import BusUnavailable
from todoku.bus.streams import MAIL as MAIL_STREAM
from todoku.bus.streams import UNROUTED_PROJECT
from todoku.sources import arrivals
from todoku.sources.arrived_keys import ArrivedKeys
from todoku.sources.webhook import Answer, Call, Provider, Reception, WebhookPlace
from todoku.sources.webhook.types import ReadObject
from todoku.vault.errors import VaultUnavailable


@pytest.fixture
def hook(intake: Intake) -> Callable[..., Hook]:
    def make(provider: Provider, *secrets: object, read_object: ReadObject | None = None) -> Hook:
        return Hook(intake, bench.place_for(provider, intake.project, *secrets), read_object)  # type: ignore[arg-type]

    return make


@pytest.mark.parametrize("provider", Provider)
async def test_the_raw_mail_is_kept_octet_by_octet(provider: Provider, hook: Callable[..., Hook]) -> None:
    one = hook(provider)
    answer = await one.take(one.call())
    (arrival,) = await one.intake.arrivals()
    assert answer == Answer.kept(f"kept as {arrival.arrival_id}")
    assert await one.raw_mails() == [MAIL]
    assert (arrival.source, arrival.shop_code, arrival.site) == (f"hook-{provider}", "ginza", "tabelog")
    assert arrival.rcpt_to == "ginza@in.todoku.example"
    assert arrival.mail_from == "bounce@site.example"


@pytest.mark.parametrize("provider", [Provider.SENDGRID, Provider.MAILGUN, Provider.SES])
async def test_octets_that_are_no_utf8_are_kept_too(provider: Provider, hook: Callable[..., Hook]) -> None:
    one = hook(provider)
    await one.take(one.call(CP932))
    assert await one.raw_mails() == [CP932]


@pytest.mark.parametrize("provider", Provider)
async def test_a_mail_larger_than_django_takes_is_kept(provider: Provider, hook: Callable[..., Hook]) -> None:
    one = hook(provider)
    raw = MAIL + b"\r\n0123456789abcdef" * 200_000
    assert (await one.take(one.call(raw))).status == 200
    assert await one.raw_mails() == [raw]


@pytest.mark.parametrize("provider", Provider)
async def test_fifty_repetitions_are_one_mail(provider: Provider, hook: Callable[..., Hook]) -> None:
    one = hook(provider)
    calls = [one.call() for _ in range(25)]
    for call in calls:
        assert (await one.take(call)).status == 200
    assert len(await one.intake.arrivals()) == 1, "the process knows what it took"
    one.restart()
    for call in calls:
        assert (await one.take(call)).status == 200
    found = await one.intake.arrivals()
    assert len({arrival.cursor for arrival in found}) == len({arrival.vault_key for arrival in found}) == 1
    assert len(await ArrivedKeys.load(one.intake.bus, one.intake.project, one.place.place.source)) == 1


async def test_repetitions_at_once_have_one_name(hook: Callable[..., Hook]) -> None:
    one = hook(Provider.POSTMARK)
    answers = await asyncio.gather(*(one.take(bench.postmark()) for _ in range(50)))
    assert {answer.status for answer in answers} == {200}
    assert len({(arrival.cursor, arrival.vault_key) for arrival in await one.intake.arrivals()}) == 1


@pytest.mark.parametrize("pieces", [bench.sendgrid_pieces, bench.sendgrid])
async def test_another_boundary_is_the_same_mail(pieces: Callable[..., Call], hook: Callable[..., Hook]) -> None:
    one = hook(Provider.SENDGRID)
    for boundary in ("aaaa", "bbbb"):
        await one.take(pieces(boundary=boundary))
        one.restart()
    found = await one.intake.arrivals()
    assert len(found) == 2
    assert found[0].cursor == found[1].cursor
    assert found[0].vault_key == found[1].vault_key


async def test_one_name_for_two_mails_loses_none(hook: Callable[..., Hook]) -> None:
    one = hook(Provider.POSTMARK)
    await one.take(bench.postmark())
    await one.take(bench.postmark(MAIL + b"2"))
    assert await one.raw_mails() == [MAIL, MAIL + b"2"]


async def test_a_mail_without_a_name_gets_one_of_its_own(hook: Callable[..., Hook]) -> None:
    one = hook(Provider.POSTMARK)
    for raw in (MAIL, MAIL + b"2"):
        await one.take(bench.as_json({**bench.postmark_event(raw=raw), "MessageID": ""}))
    assert len({arrival.cursor for arrival in await one.intake.arrivals()}) == 2


@pytest.mark.parametrize("provider", Provider)
async def test_a_vault_that_is_away_is_waited_for(
    provider: Provider, hook: Callable[..., Hook], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = hook(provider)
    call = one.call()

    async def full(_project_id: str, _content: bytes) -> object:
        raise VaultUnavailable("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(one.intake.vault, "put", full)
        answer = await one.take(call)
    assert (answer.status, answer.retry_after_seconds) == (503, 60)
    assert one.reception.counts["webhook.not_kept"] == 1
    assert (await one.take(call)).status == 200
    assert await one.raw_mails() == [MAIL]


@pytest.mark.parametrize("provider", Provider)
async def test_a_bus_that_is_away_is_waited_for(
    provider: Provider, hook: Callable[..., Hook], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = hook(provider)
    call = one.call()

    async def away(*_args: object, **_more: object) -> None:
        raise BusUnavailable("no connection")

    with monkeypatch.context() as patch:
        patch.setattr(one.intake.bus, "publish", away)
        patch.setattr(arrivals, "PUBLISH_ATTEMPTS", 1)
        assert (await one.take(call)).status == 503
    assert await one.intake.arrivals() == []
    assert (await one.take(call)).status == 200
    assert await one.raw_mails() == [MAIL]


async def test_a_mail_in_pieces_is_put_together(hook: Callable[..., Hook]) -> None:
    for provider, call in (
        (Provider.SENDGRID, bench.sendgrid_pieces()),
        (Provider.POSTMARK, bench.postmark(None)),
        (Provider.MAILGUN, bench.mailgun_pieces()),
    ):
        one = hook(provider)
        assert (await one.take(call)).status == 200
        assert f"X-Todoku-Rebuilt: {provider}\r\n".encode() in (await one.raw_mails())[-1]


async def test_pieces_are_kept_as_they_came_when_nobody_can_put_them_together(hook: Callable[..., Hook]) -> None:
    one = hook(Provider.MAILGUN)
    one.reception = Reception(one.book, one.intake.writer)
    call = bench.mailgun_pieces()
    assert (await one.take(call)).status == 200
    assert await one.raw_mails() == [call.body]


@pytest.mark.parametrize(
    ("provider", "call"),
    [
        (Provider.SENDGRID, Call("multipart/form-data; boundary=x", {}, b"--x\r\nContent-Disposition: form-da")),
        (Provider.SENDGRID, Call("multipart/form-data", {}, b"--x--\r\n")),
        (Provider.SENDGRID, bench.multipart([("event", b"open")])),
        (Provider.SENDGRID, Call("application/json", {}, b"[]")),
        (Provider.SENDGRID, Call("", {}, b"")),
        (Provider.POSTMARK, Call("application/json", {}, b'{"RawEmail": "cut')),
        (Provider.POSTMARK, Call("application/json", {}, b"[" * 100_000)),
        (Provider.POSTMARK, Call("application/json", {}, b'"text"')),
        (Provider.POSTMARK, bench.as_json({"RecordType": "Bounce", "From": "a@b.example"})),
        (Provider.POSTMARK, bench.as_json({"From": "a@b.example", "Attachments": [{"Content": "a"}]})),
        (Provider.MAILGUN, Call("application/x-www-form-urlencoded", {}, b"")),
        (Provider.MAILGUN, bench.urlencoded([("subject", b"x")])),
    ],
)
async def test_a_call_that_can_not_be_read_is_kept_as_it_came(
    provider: Provider, call: Call, hook: Callable[..., Hook]
) -> None:
    one = hook(provider)
    answer = await one.take(call)
    assert answer.status == 200
    assert answer.text.endswith("unread")
    assert await one.raw_mails() == [call.body]
    assert (await one.take(bench.postmark() if provider is Provider.POSTMARK else one.call())).status == 200
    assert len(await one.intake.arrivals()) == 2, "the next one"


async def test_a_call_that_nobody_can_read_or_prove_is_in_nobodys_book(
    intake: Intake, hook: Callable[..., Hook]
) -> None:
    unrouted = Intake(intake.bus, intake.vault, intake.writer, UNROUTED_PROJECT)
    for provider, call in (
        (Provider.MAILGUN, Call("multipart/form-data; boundary=x", {}, b"--x\r\ncut")),
        (Provider.SES, Call("text/plain", {}, b'{"Type": "Notification", "Message": "cut')),
        (Provider.SES, bench.as_json(bench.ses_event("raw-delivery", "BASE64"))),
    ):
        one = hook(provider, *([bench.signing_key()] if provider is Provider.MAILGUN else []))
        assert (await one.take(call)).status == 200
        assert await one.intake.arrivals() == []
        sha256 = hashlib.sha256(call.body).hexdigest()
        kept = [arrival for arrival in await unrouted.arrivals() if arrival.sha256 == sha256]
        assert await intake.vault.get(kept[-1].vault_key) == call.body
    await intake.bus.purge(MAIL_STREAM, f"mail.{UNROUTED_PROJECT}.*")


async def test_a_wrong_password_is_put_off_and_kept_nowhere(hook: Callable[..., Hook]) -> None:
    for provider, call in ((Provider.SENDGRID, bench.sendgrid()), (Provider.POSTMARK, bench.postmark())):
        one = hook(provider, bench.password())
        wrong = bench.basic(bench.password(word="other"))
        for tried in (call, bench.with_headers(call, wrong), bench.with_headers(call, {"authorization": "Basic ??"})):
            assert (await one.take(tried)).status == 503
        assert one.reception.counts["webhook.refused"] == len(one.book.not_proven) == 3
        assert "s3cret" not in str(one.book.not_proven)
        assert (await one.take(bench.with_headers(call, bench.basic(bench.password())))).status == 200
        assert one.book.proven == [(one.place.place.source, "first")]
        assert await one.raw_mails() == [MAIL] * (1 + (provider is Provider.POSTMARK))


async def test_while_a_secret_is_replaced_both_work(hook: Callable[..., Hook]) -> None:
    new, old = bench.password("new", "n"), bench.password("old", "o")
    one = hook(Provider.POSTMARK, new, old)
    for secret in (old, new):
        assert (await one.take(bench.with_headers(bench.postmark(), bench.basic(secret)))).status == 200
    assert [credential_id for _, credential_id in one.book.proven] == ["old", "new"]
    one = hook(Provider.MAILGUN, bench.signing_key("new", "k2"), bench.signing_key("old", "k1"))
    for key in ("k1", "k2"):
        assert (await one.take(bench.mailgun(key=key))).status == 200
    assert [credential_id for _, credential_id in one.book.proven] == ["old", "new"]


async def test_a_signature_of_sendgrid_covers_the_body(hook: Callable[..., Hook]) -> None:
    key, secret = bench.sendgrid_key()
    one = hook(Provider.SENDGRID, secret)
    call = bench.signed_by_sendgrid(bench.sendgrid(), key)
    assert (await one.take(call)).status == 200
    forged = Call(call.content_type, call.headers, call.body.replace(b"12:00", b"13:00"))
    other = bench.signed_by_sendgrid(bench.sendgrid(), bench.sendgrid_key()[0])
    for wrong in (forged, other, bench.sendgrid()):
        assert (await one.take(wrong)).status == 503
    assert await one.raw_mails() == [MAIL]


async def test_a_signature_of_mailgun_is_wrong_old_or_used_up(hook: Callable[..., Hook]) -> None:
    one = hook(Provider.MAILGUN, bench.signing_key())
    for wrong in (
        bench.mailgun(key="other"),
        bench.mailgun(at=NOW - timedelta(hours=24, seconds=1)),
        bench.mailgun(at=NOW + timedelta(hours=2)),
        bench.urlencoded([("body-mime", MAIL)]),
    ):
        assert (await one.take(wrong)).status == 503
    assert await one.intake.arrivals() == []
    assert "within the last 24 hours" in one.book.not_proven[1][1]
    call = bench.mailgun(token="t" * 50)
    assert (await one.take(call)).status == 200
    one.clock.advance(8 * 3600)
    assert (await one.take(call)).status == 200, "Mailgun itself, after eight hours of trying"
    assert (await one.take(bench.mailgun(MAIL + b"forged", token="t" * 50))).status == 503
    assert set(await one.raw_mails()) == {MAIL}


async def test_what_nobody_expected_of_a_body_loses_nothing(
    hook: Callable[..., Hook], monkeypatch: pytest.MonkeyPatch
) -> None:
    from todoku.sources.webhook import reception as module

    def break_down(_call: Call, _place: WebhookPlace) -> object:
        raise ZeroDivisionError

    one = hook(Provider.POSTMARK)
    with monkeypatch.context() as patch:
        patch.setattr(module, "read_postmark", break_down)
        assert (await one.take(bench.postmark())).text.endswith("unread")
    assert (await one.take(bench.postmark())).status == 200
    assert await one.raw_mails() == [MAIL]


async def test_a_mail_above_the_limit_stays_at_its_provider(
    hook: Callable[..., Hook], monkeypatch: pytest.MonkeyPatch
) -> None:
    from todoku.sources.webhook import reception as module

    monkeypatch.setattr(module, "MAX_MAIL_BYTES", 1024 * 1024)
    one = hook(Provider.SENDGRID)
    assert (await one.take(bench.sendgrid(b"x" * (1024 * 1024 + 1)))).status == 503
    assert "larger than 1 MB" in one.book.not_proven[0][1]
    assert (await one.take(bench.sendgrid())).status == 200


async def test_a_token_is_nobodys_anothers_or_not_known_yet(
    hook: Callable[..., Hook], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = hook(Provider.POSTMARK)
    token = one.book.add(one.place)
    assert await one.reception.find("postmark", token) == one.place
    for provider, wrong in (("postmark", "x" * 43), ("sendgrid", token), ("", "")):
        answer = await one.reception.find(provider, wrong)
        assert isinstance(answer, Answer)
        assert answer.status == 503

    async def away(_token: str) -> WebhookPlace | None:
        raise BusUnavailable("no connection")

    monkeypatch.setattr(one.book, "find", away)
    answer = await one.reception.find("postmark", token)
    assert isinstance(answer, Answer)
    assert answer.status == 503
    assert dict(one.reception.counts) == {
        "webhook.unknown_token": 2,
        "webhook.wrong_provider": 1,
        "webhook.book_away": 1,
    }
