"""What DNS answers about a DKIM key, compared with the record that there should be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todoku.credentials.dns_asking import finding_of
from todoku.credentials.served_types import DnsFinding

RECORD = "v=DKIM1; k=rsa; p=MIIBIjANBgkq+hk/iG9w0="


@pytest.mark.parametrize(
    ("texts", "finding"),
    [
        ([RECORD], DnsFinding.FOUND),
        (["v=DKIM1;p=MIIBIjANBgkq+hk/iG9w0="], DnsFinding.FOUND),  # rsa is the usual kind
        (["p=MIIBIjANBgkq+hk/iG9w0=; t=s; n=note"], DnsFinding.FOUND),
        (["v=DKIM1; k=rsa; p=MIIBIjAN Bgkq+hk/\tiG9w0="], DnsFinding.FOUND),  # blanks don't count
        ([RECORD, "v=spf1 -all"], DnsFinding.FOUND),
        (["v=DKIM1; k=ed25519; p=MIIBIjANBgkq+hk/iG9w0="], DnsFinding.ANOTHER),
        (["v=DKIM1; k=rsa; p=other"], DnsFinding.ANOTHER),
        ([RECORD, "v=DKIM1; k=rsa; p=other"], DnsFinding.ANOTHER),
        (["v=DKIM1; k=rsa; p="], DnsFinding.REVOKED),
        (["v=DKIM2; p=x"], DnsFinding.ABSENT),
        (["v=spf1 -all"], DnsFinding.ABSENT),
        ([], DnsFinding.ABSENT),
        ([""], DnsFinding.ABSENT),
    ],
)
def test_answers(texts: list[str], finding: DnsFinding) -> None:
    assert finding_of(texts, RECORD) is finding


@given(st.lists(st.text(max_size=80), max_size=3))
def test_whatever_stands_in_dns_is_answered_and_never_found(texts: list[str]) -> None:
    assert finding_of(texts, RECORD) is not DnsFinding.FOUND
