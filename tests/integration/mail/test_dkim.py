"""Our DKIM signatures, judged by dkimpy, which knows nothing of us; and what a forger can't change."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dkim
from todoku.mail.compose import Composer, MessageParts, SenderIdentity
from todoku.mail.dkim import SEALED, SIGNED, DkimKey, KeyKind, key_from_pem, new_key, sign_message
from todoku.mail.errors import BadDkimKey, Unsignable

SIGNED_AT = datetime(2026, 1, 5, 3, 0, tzinfo=UTC)
KEYS = [new_key("todoku.example", kind.value, kind) for kind in KeyKind]
RECORDS = {key.record_name: key.record().encode() for key in KEYS}

names = st.sampled_from([name.decode().title() for name in SIGNED if name != b"from"] + ["X-Other", "Received"])
# no control characters: dkimpy strips VT as well, which RFC 6376 section 3.4.2 does not allow
words = st.text(st.sampled_from("aB3;=:.<>@,ü と\t "), max_size=30).map(str.encode)
values = st.lists(words, max_size=4).map(b"\r\n ".join)
fields = st.lists(st.tuples(names, values), max_size=12)
lines = st.text(st.sampled_from("abc.=\t   とĀ<>-"), max_size=40).map(str.encode)
bodies = st.lists(lines, max_size=20).map(lambda some: b"".join(line + b"\r\n" for line in some))


def passes(message: bytes) -> list[bool]:
    """Return what dkimpy says to each signature, from the top."""

    def ask_dns(name: bytes, timeout: int = 5) -> bytes | None:
        return RECORDS.get(name.decode().rstrip("."))

    verdicts = []
    for place in range(len(KEYS)):
        try:
            verdicts.append(bool(dkim.DKIM(message).verify(idx=place, dnsfunc=ask_dns)))
        except dkim.DKIMException:
            verdicts.append(False)
    return verdicts


def campaign_message() -> bytes:
    identity = SenderIdentity("炭火とどく 渋谷店", "shop@todoku.example", "contact@todoku.example", "todoku.example")
    composer = Composer(identity, run_key="0198f0aabbcc", feedback_id="a:b:c:d", eight_bit=True)
    html = "<p>\n    秋の  ご案内\t\n</p>\n\n"
    return composer.compose(
        MessageParts(
            "見本 太郎", "taro@example.com", "秋のご案内", html, "秋\n", "r.1.2", "https://todoku.example/u/abc"
        ),
        SIGNED_AT,
    )


@settings(max_examples=150, deadline=None)
@given(fields=fields, body=bodies)
def test_another_verifier_believes_our_signatures(fields: list[tuple[str, bytes]], body: bytes) -> None:
    headers = b"".join(name.encode() + b": x" + value + b"\r\n" for name, value in fields)
    message = b"From: shop@todoku.example\r\n" + headers + b"\r\n" + body
    signed = sign_message(message, KEYS, SIGNED_AT)
    assert signed.endswith(message)
    assert passes(signed) == [True, True]


def test_a_campaigns_message_is_signed_whole() -> None:
    signed = sign_message(campaign_message(), KEYS, SIGNED_AT)
    assert passes(signed) == [True, True]
    chosen = re.search(rb"h=([^;]+);", signed)
    assert chosen is not None
    names = re.sub(rb"\s", b"", chosen[1]).split(b":")
    for name in (b"from", b"to", b"subject", b"date", b"message-id", b"mime-version", b"content-type"):
        assert names.count(name) == 2, f"{name!r} can be added a second time"
    for name in (b"list-unsubscribe", b"list-unsubscribe-post", b"feedback-id"):
        assert names.count(name) == 1
    assert max(map(len, signed.partition(b"\r\nDate:")[0].split(b"\r\n"))) <= 78


@pytest.mark.parametrize("name", [name.decode() for name in SEALED])
def test_a_sealed_field_can_neither_be_added_nor_changed(name: str) -> None:
    signed = sign_message(campaign_message(), KEYS, SIGNED_AT)
    assert passes(name.encode() + b": forged\r\n" + signed) == [False, False]
    field = re.compile(rb"^(%b:)" % name.encode(), re.IGNORECASE | re.MULTILINE)
    changed = field.sub(rb"\1 forged", signed)
    assert changed == signed or passes(changed) == [False, False]


def test_the_body_can_not_be_changed() -> None:
    signed = sign_message(campaign_message(), KEYS, SIGNED_AT)
    assert passes(signed.replace("ご案内".encode(), "ご案外".encode())) == [False, False]
    assert passes(signed + b"more\r\n") == [False, False]


def test_what_relays_change_on_the_way_breaks_nothing() -> None:
    signed = sign_message(campaign_message(), KEYS, SIGNED_AT)
    refolded = signed.replace(b"Message-ID: ", b"Message-Id:\r\n\t  ").replace(b"    ", b" \t ") + b"\r\n\r\n"
    received = b"Received: from relay.example by mx.example; Mon, 5 Jan 2026 03:00:01 +0000\r\n"
    assert passes(received + refolded) == [True, True]


def test_repeated_fields_are_chosen_from_the_bottom() -> None:
    message = b"From: a@todoku.example\r\nReferences: <1@x>\r\nReferences: <2@x>\r\nList-Id: <l.x>\r\n\r\nhello\r\n"
    signed = sign_message(message, KEYS, SIGNED_AT)
    assert passes(signed) == [True, True]
    turned = signed.replace(b"<1@x>", b"<3@x>").replace(b"<2@x>", b"<1@x>").replace(b"<3@x>", b"<2@x>")
    assert passes(turned) == [False, False]


@pytest.mark.parametrize("message", [b"", b"\r\nno headers", b"Subject: x\r\n\r\nno author", b"From\r\n\r\n"])
def test_without_an_author_nothing_is_signed(message: bytes) -> None:
    with pytest.raises(Unsignable):
        sign_message(message, KEYS, SIGNED_AT)


@pytest.mark.parametrize("kind", list(KeyKind))
def test_a_key_survives_its_pem(kind: KeyKind) -> None:
    key = new_key("shop.example", "t2026a", kind)
    again = key_from_pem("shop.example", "t2026a", key.pem())
    assert again.record() == key.record()
    assert again.zone_line() == key.zone_line()


def test_a_zone_line_has_strings_of_255_octets() -> None:
    line = KEYS[0].zone_line()
    strings = re.findall(r'"([^"]*)"', line)
    assert "".join(strings) == KEYS[0].record()
    assert [len(one) <= 255 for one in strings] == [True, True]
    assert line.startswith("rsa2048._domainkey.todoku.example. 3600 IN TXT ( ")


@pytest.mark.parametrize(
    ("domain", "selector"),
    [("example", "a"), ("Shop.example", "a"), ("shop.example", ""), ("shop.example", "a b"), ("shop.example", "../x")],
)
def test_names_that_dns_can_not_hold_are_refused(domain: str, selector: str) -> None:
    with pytest.raises(BadDkimKey):
        new_key(domain, selector, KeyKind.ED25519)


def test_odd_keys_are_refused() -> None:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused
    for private in (weak, ec.generate_private_key(ec.SECP256R1())):
        with pytest.raises(BadDkimKey, match="2048-4096 bits or Ed25519"):
            key_from_pem("shop.example", "a", DkimKey("shop.example", "a", private).pem())  # type: ignore[arg-type]
    with pytest.raises(BadDkimKey, match="unencrypted PEM"):
        key_from_pem("shop.example", "a", b"not a key")
