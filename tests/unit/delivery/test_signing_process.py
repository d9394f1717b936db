"""What goes through a signing process's pipes."""

from __future__ import annotations

import io

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from todoku.delivery.signing.signing_process import LENGTH_OCTETS, frame, serve
from todoku.mail.dkim import KeyKind, new_key

KEY = new_key("todoku.example", "e1", KeyKind.ED25519)
DIGESTS = st.lists(st.binary(min_size=32, max_size=32), max_size=5)


@given(st.lists(DIGESTS, max_size=4), st.integers(0, 3))
def test_every_whole_question_is_answered_in_order_and_a_torn_one_ends_it(
    questions: list[list[bytes]], torn: int
) -> None:
    answers = io.BytesIO()
    asked = b"".join(frame(KEY.pem(), digests) for digests in questions) + b"\0" * torn
    serve(io.BytesIO(asked), answers)
    answers.seek(0)
    for digests in questions:
        size = int.from_bytes(answers.read(LENGTH_OCTETS), "big")
        signatures = msgspec.msgpack.decode(answers.read(size), type=list[bytes])
        assert signatures == [KEY.sign_digest(digest) for digest in digests]
    assert answers.read() == b""
