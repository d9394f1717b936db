"""No address but Amazon's is ever asked, whoever names it."""

from __future__ import annotations

import pytest

from todoku.sources.errors import CredentialRefused
from todoku.sources.webhook.sns import require_certificate_address, require_confirm_address

HOST = "https://sns.ap-northeast-1.amazonaws.com"
PEM = "/SimpleNotificationService-a86cb10b4e1f29c941702d737128f7b6.pem"
TOPIC = "arn:aws:sns:ap-northeast-1:123456789012:bookings"


@pytest.mark.parametrize(
    "host",
    [
        HOST,
        "https://sns.us-gov-west-1.amazonaws.com",
        "https://sns.me-central-1.amazonaws.com",
        "https://sns.cn-north-1.amazonaws.com.cn",
        "https://sns.us-iso-east-1.amazonaws.com",
    ],
)
def test_certificates_of_amazon(host: str) -> None:
    assert require_certificate_address(host + PEM) == host + PEM


@pytest.mark.parametrize(
    "address",
    [
        "",
        "http://sns.ap-northeast-1.amazonaws.com" + PEM,
        "https://169.254.169.254/latest/meta-data",
        "https://sns.ap-northeast-1.amazonaws.com.evil.example" + PEM,
        "https://evil.example" + PEM,
        "https://sns.s3.amazonaws.com" + PEM,
        "https://sns.evil-bucket.s3.amazonaws.com" + PEM,
        "https://sns-ap-northeast-1.s3.amazonaws.com" + PEM,
        "https://evil.example@sns.ap-northeast-1.amazonaws.com" + PEM,
        "https://sns.ap-northeast-1.amazonaws.com@evil.example" + PEM,
        "https://sns.ap-northeast-1.amazonaws.com\\@evil.example" + PEM,
        "https://sns.ap-northeast-1.amazonaws.com#@evil.example" + PEM,
        "https://sns.ap-northeast-1.amazonaws.com:8443" + PEM,
        "https://sns.ap-northeast-1.amazonaws.com" + PEM + "?x=1",
        "https://sns.ap-northeast-1.amazonaws.com/other.pem",
        "https://sns.ap-northeast-1.amazonaws.com/../" + PEM,
        "https://SNS.ap-northeast-1.amazonaws.com\r\nHost: evil.example" + PEM,
        "https://sns.ap-northeast-1.amazonaws.com" + PEM + "\n",
        "//sns.ap-northeast-1.amazonaws.com" + PEM,
        "file:///etc/passwd",
    ],
)
def test_no_other_address_is_asked_for_a_certificate(address: str) -> None:
    with pytest.raises(CredentialRefused):
        require_certificate_address(address)


def test_a_confirmation_confirms_its_own_topic_and_does_nothing_else() -> None:
    good = f"{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336"
    assert require_confirm_address(good, TOPIC) == good
    for address in (
        f"{HOST}/?Action=DeleteTopic&TopicArn={TOPIC}",
        f"{HOST}/?Action=ConfirmSubscription&Action=DeleteTopic&TopicArn={TOPIC}",
        f"{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}2&Token=2336",
        f"{HOST}/other?Action=ConfirmSubscription&TopicArn={TOPIC}",
        f"https://evil.example/?Action=ConfirmSubscription&TopicArn={TOPIC}",
        f"{HOST}/",
    ):
        with pytest.raises(CredentialRefused):
            require_confirm_address(address, TOPIC)
