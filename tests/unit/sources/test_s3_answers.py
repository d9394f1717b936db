"""What S3 answers is read without trust."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todoku.sources.errors import CannotLook, Cause, CredentialRefused
from todoku.sources.s3.answers import Answer, NotUnderstood, concerns_one_object, read_error, read_page, trouble

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


def page(contents: str, *, truncated: str = "false", more: str = "<EncodingType>url</EncodingType>") -> bytes:
    beginning = '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    return f"{beginning}<IsTruncated>{truncated}</IsTruncated>{contents}{more}</ListBucketResult>".encode()


ONE = (
    "<Contents><Key>in/a+b%2B%0A</Key><LastModified>2026-11-21T02:00:00.000Z</LastModified><ETag>&quot;e-1&quot;</ETag>"
)
ONE += "<Owner><ID>x</ID></Owner><Size>1</Size></Contents>"


def test_names_times_and_etags_are_read() -> None:
    (found,) = read_page(page(ONE)).objects
    assert found == ("in/a b+\n", "e-1", datetime(2026, 11, 21, 2, tzinfo=UTC))
    (found,) = read_page(page(ONE, more="")).objects
    assert found.name == "in/a+b%2B%0A", "what is not encoded is not decoded"


def test_a_page_that_goes_on_has_a_token() -> None:
    more = "<NextContinuationToken>t=/+</NextContinuationToken>"
    assert read_page(page(ONE, truncated="true", more=more)).next_token == "t=/+"
    assert read_page(page(ONE, more=more)).next_token == ""
    with pytest.raises(NotUnderstood, match="does not say how it goes on"):
        read_page(page(ONE, truncated="true"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        page(ONE)[:-5],
        b"<Error><Code>InternalError</Code></Error>",
        page(ONE.replace("&quot;e-1&quot;", "")),
        page(ONE.replace("e-1", "e\r\nX: 1")),
        page(ONE.replace("<Key>in/a+b%2B%0A</Key>", "")),
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>' + page(ONE).partition(b"?>")[2],
    ],
)
def test_half_a_page_is_none(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        read_page(body)


@given(st.integers(0, len(page(ONE)) - 1))
def test_a_page_that_is_cut_anywhere_is_none(length: int) -> None:
    with pytest.raises(NotUnderstood):
        read_page(page(ONE)[:length])


@given(st.binary(max_size=200))
def test_no_octets_raise_anything_else(body: bytes) -> None:
    read_error(body)
    with pytest.raises(NotUnderstood):
        read_page(body)


def _trouble(status: int, code: str, message: str = "", **headers: str) -> CannotLook | CredentialRefused:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    return trouble(Answer(status, headers, body), "listing", NOW)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "SignatureDoesNotMatch", "the secret key is wrong"),
        (403, "InvalidAccessKeyId", "nobody has this access key"),
        (400, "ExpiredToken", "the session key has expired"),
        (400, "InvalidToken", "the session token is not valid"),
        (403, "AccessDenied", "may not do this"),
        (403, "SomethingNew", "SomethingNew"),
    ],
)
def test_a_refusal_says_what_is_wrong_with_the_key(status: int, code: str, words: str) -> None:
    error = _trouble(status, code)
    assert isinstance(error, CredentialRefused)
    assert words in error.what


@pytest.mark.parametrize(
    ("status", "code", "cause"),
    [
        (503, "SlowDown", Cause.UNREACHABLE),
        (500, "InternalError", Cause.UNREACHABLE),
        (502, "", Cause.UNREACHABLE),
        (400, "RequestTimeout", Cause.UNREACHABLE),
        (404, "NoSuchBucket", Cause.MISSING),
        (301, "PermanentRedirect", Cause.PROTOCOL),
        (400, "AuthorizationHeaderMalformed", Cause.PROTOCOL),
        (403, "", Cause.PROTOCOL),  # a proxy's word
        (404, "", Cause.PROTOCOL),
        (200, "", Cause.PROTOCOL),
    ],
)
def test_a_trouble_has_its_cause(status: int, code: str, cause: Cause) -> None:
    error = _trouble(status, code)
    assert isinstance(error, CannotLook)
    assert error.cause is cause


def test_a_bucket_of_another_region_says_which() -> None:
    error = _trouble(301, "PermanentRedirect", **{"x-amz-bucket-region": "ap-northeast-1"})
    assert "ap-northeast-1" in str(error)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("<ServerTime>2026-11-21T02:40:00Z</ServerTime>", "by 1200 seconds (fast)"),
        ("", "by 3600 seconds (slow)"),  # from the answer's own date
    ],
)
def test_a_wrong_clock_is_told_with_its_difference(said: str, words: str) -> None:
    body = f"<Error><Code>RequestTimeTooSkewed</Code>{said}</Error>".encode()
    error = trouble(Answer(403, {"date": "Sat, 21 Nov 2026 04:00:00 GMT"}, body), "listing", NOW)
    assert isinstance(error, CannotLook)
    assert words in error.what
    body = b'{"__type": "com.amazon.coral.service#InvalidSignatureException", "message": "Signature expired: 2026"}'
    assert isinstance(trouble(Answer(400, {}, body), "receiving", NOW), CannotLook)


def test_foreign_words_are_one_short_line() -> None:
    error = _trouble(403, "AccessDenied", "a\r\nb\x00" + "x" * 5_000)
    assert "\n" not in error.what
    assert "\x00" not in error.what
    assert len(error.what) < 400


def test_what_is_said_of_one_object_is_told_from_what_is_said_of_all() -> None:
    assert concerns_one_object(403, "InvalidObjectState")
    assert concerns_one_object(400, "KMS.DisabledException")
    assert concerns_one_object(405, "MethodNotAllowed")
    for status, code in (
        (403, "AccessDenied"),
        (400, "ExpiredToken"),
        (404, "NoSuchBucket"),
        (503, "SlowDown"),
        (404, ""),
    ):
        assert not concerns_one_object(status, code)
