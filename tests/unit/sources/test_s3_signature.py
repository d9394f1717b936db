"""Signatures are judged by botocore's own signer; settings refuse what can't be meant."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from hypothesis import given
from hypothesis import strategies as st

from todoku.kernel.clock import NaiveDatetimeError
from todoku.kernel.errors import ConfigurationError
from todoku.sources.credentials import Credential, CredentialKind
from todoku.sources.errors import CredentialRefused
from todoku.sources.s3 import S3Settings
from todoku.sources.s3.signature import Request, sign

NOW = datetime(2026, 11, 21, 3, 0, 7, tzinfo=UTC)
KEY = {"access_key": "AKIDEXAMPLE", "secret_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def _judged(request: Request, token: str, service: str) -> str:
    """Return the Authorization that botocore makes."""
    query = f"?{request.query_text}" if request.query else ""
    made = botocore.awsrequest.AWSRequest(request.method, request.url + query, dict(request.headers), request.body)
    made.context["timestamp"] = NOW.strftime("%Y%m%dT%H%M%SZ")
    credentials = botocore.credentials.Credentials(KEY["access_key"], KEY["secret_key"], token or None)
    kind = botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth
    signer = kind(credentials, service, "ap-northeast-1")
    made.headers["X-Amz-Date"] = made.context["timestamp"]
    made.headers["X-Amz-Content-Sha256"] = signer.payload(made)
    if token:
        made.headers["X-Amz-Security-Token"] = token
    canonical = signer.canonical_request(made)
    signature = signer.signature(signer.string_to_sign(made, canonical), made)
    names = signer.signed_headers(signer.headers_to_sign(made))
    return f"AWS4-HMAC-SHA256 Credential={signer.scope(made)}, SignedHeaders={names}, Signature={signature}"


@given(
    TEXT, st.dictionaries(TEXT.filter(bool), TEXT, max_size=3), st.binary(max_size=50), st.sampled_from(["", "tok/="])
)
def test_it_signs_as_botocore_does(name: str, query: dict[str, str], body: bytes, token: str) -> None:
    request = Request("GET", f"https://b.example/mails/{quote(name, safe='/~')}", query, {"If-Match": '"a  b"'}, body)
    credential = Credential("k", CredentialKind.SESSION_KEY, {**KEY, "session_token": token})
    headers = sign(request, credential, "s3", "ap-northeast-1", NOW)
    assert headers["Authorization"] == _judged(request, token, "s3")
    assert headers.get("X-Amz-Security-Token", "") == token


def test_it_signs_requests_to_a_queue() -> None:
    request = Request("POST", "https://sqs.example/", {}, {"Content-Type": "application/x-amz-json-1.0"}, b"{}")
    headers = sign(request, Credential("k", CredentialKind.STATIC_KEY, KEY), "sqs", "ap-northeast-1", NOW)
    assert headers["Authorization"] == _judged(request, "", "sqs")


@pytest.mark.parametrize(
    "secrets",
    [
        {},
        {**KEY, "secret_key": ""},
        {**KEY, "access_key": "A\r\nX: 1"},
        {**KEY, "session_token": "t\x00"},
        {**KEY, "access_key": "鍵"},
        {**KEY, "session_token": "a b"},
    ],
)
def test_a_key_that_is_none_is_refused_before_anything_is_sent(secrets: dict[str, str]) -> None:
    with pytest.raises(CredentialRefused) as caught:
        sign(Request("GET", "https://h/", {}, {}), Credential("k", CredentialKind.STATIC_KEY, secrets), "s3", "r", NOW)
    assert not any(len(value) > 3 and value in str(caught.value) for value in secrets.values())


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(NaiveDatetimeError):
        sign(Request("GET", "https://h/", {}, {}), Credential("k", CredentialKind.STATIC_KEY, KEY), "s3", "r", datetime(2026, 1, 1))  # noqa: DTZ001, E501  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"bucket": "a/b"}, "bucket's name"),
        ({"bucket": "b\r\nX: 1"}, "bucket's name"),
        ({"bucket": ""}, "a bucket, a queue, or both"),
        ({"region": "r/../x"}, "region must be"),
        ({"endpoint": "http://127.0.0.1:1"}, "not encrypted"),
        ({"queue_url": "http://127.0.0.1:1/q"}, "not encrypted"),
        ({"endpoint": "https://user:secret@host"}, "without user"),
        ({"endpoint": "https://host/path"}, "without a path"),
        ({"endpoint": "ftp://host"}, "https://host"),
        ({"queue_url": "https://host/q?x=1"}, "without user, query"),
        ({"visibility_seconds": 50_000}, "0-43200"),
    ],
)
def test_settings_that_can_not_be_meant_are_refused(wrong: dict[str, object], words: str) -> None:
    usual: dict[str, object] = {"bucket": "mails", "region": "ap-northeast-1"}
    with pytest.raises(ConfigurationError, match=words) as caught:
        S3Settings(**(usual | wrong))  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


def test_a_bucket_is_found_where_amazon_and_others_have_it() -> None:
    def where(**other: str) -> str:
        return S3Settings(**({"bucket": "mails", "region": "eu-west-1"} | other)).object_url("a b/ü")  # type: ignore[arg-type]

    assert where() == "https://mails.s3.eu-west-1.amazonaws.com/a%20b/%C3%BC"
    assert where(bucket="m.example") == "https://s3.eu-west-1.amazonaws.com/m.example/a%20b/%C3%BC"
    assert where(region="cn-north-1") == "https://mails.s3.cn-north-1.amazonaws.com.cn/a%20b/%C3%BC"
    assert where(endpoint="https://minio.example:9000/") == "https://minio.example:9000/mails/a%20b/%C3%BC"
