from __future__ import annotations

from datetime import UTC, datetime

import pytest

from todoku.bus import wire
from todoku.bus.buckets import Bucket
from todoku.bus.connection import Bus
from todoku.bus.declaration import bucket_config, stream_config
from todoku.bus.link import Link
from todoku.bus.streams import BUCKETS, STREAMS


def test_numbers_of_a_delivery_are_read_from_its_reply_subject() -> None:
    numbers = wire.ack_subject("$JS.ACK.MAIL.reader.2.19.7.1795295861343512582.3")
    assert (numbers.delivered, numbers.stream_sequence, numbers.consumer_sequence) == (2, 19, 7)
    assert wire.from_nanoseconds(numbers.nanoseconds) == datetime(2026, 11, 21, 21, 17, 41, 343_512, tzinfo=UTC)


def test_reply_subject_with_domain_and_account_gives_the_same_numbers() -> None:
    plain = wire.ack_subject("$JS.ACK.MAIL.reader.2.19.7.1795295861343512582.3")
    assert wire.ack_subject("$JS.ACK._.ACCHASH.MAIL.reader.2.19.7.1795295861343512582.3.token") == plain


@pytest.mark.parametrize(
    ("headers", "expected"),
    [(None, ""), ({}, ""), ({"Status": "404"}, "404"), ({"Status": ["404", "x"]}, "404"), ({"Status": []}, "")],
)
def test_header_is_read_in_every_shape_that_the_client_gives(headers: dict[str, object] | None, expected: str) -> None:
    assert wire.header(headers, "Status") == expected


@pytest.mark.parametrize("text", ["2026-11-21T21:18:06.0686274Z", "2026-11-21T21:18:06.068627423Z"])
def test_server_time_of_any_precision_is_cut_to_microseconds(text: str) -> None:
    assert wire.rfc3339(text) == datetime(2026, 11, 21, 21, 18, 6, 68_627, tzinfo=UTC)


def test_every_stream_is_durable_and_drops_nothing_but_by_age() -> None:
    for config in [stream_config(spec) for spec in STREAMS] + [bucket_config(name) for name in BUCKETS]:
        assert config["storage"] == "file"
        assert config["retention"] == "limits"
        assert config["max_msgs"] == config["max_bytes"] == -1
    assert all(stream_config(spec)["duplicate_window"] == 120_000_000_000 for spec in STREAMS)


@pytest.mark.parametrize(
    "key", ["run", "0" * 32, "taro..x", "shop@in.todoku.example", "a.b", "a b", "a*", ">", "", "a."]
)
def test_key_is_refused_when_it_would_be_another_subject(key: str) -> None:
    bucket = Bucket(Bus(Link("nats://127.0.0.1:1", "test")), "runs")
    if key in {"run", "0" * 32, "shop@in.todoku.example", "a.b"}:
        assert bucket._subject(key) == f"$KV.runs.{key}"
    else:
        with pytest.raises(ValueError, match="can't be a key"):
            bucket._subject(key)
