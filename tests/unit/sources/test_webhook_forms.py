"""Forms are read without changing an octet of a field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todoku.sources.webhook.errors import MalformedCall
from todoku.sources.webhook.forms import MAX_FIELDS, Form, read_form, read_json
from todoku.sources.webhook.types import Call

ANY = b"\x00\xff\r\n--x\r\n\r\n\x1b$B"


def form(body: bytes, content_type: str = 'multipart/form-data; boundary="x y"') -> Form:
    return read_form(Call(content_type, {}, body))


def part(content: bytes, disposition: str = 'name="email"', more: str = "") -> bytes:
    return f"--x y\r\nContent-Disposition: form-data; {disposition}{more}\r\n\r\n".encode() + content + b"\r\n"


END = b"--x y--\r\n"


@given(st.binary(), st.sampled_from(["b", "----WebKit7MA4", "=_a/b+c"]))
def test_every_content_comes_out_as_it_went_in(content: bytes, boundary: str) -> None:
    if f"\r\n--{boundary}".encode() in b"\r\n" + content:
        return
    head = f'--{boundary}\r\ncontent-disposition: form-data; name="a"\r\n\r\n'.encode()
    body = head + content + f"\r\n--{boundary}--".encode()
    read = read_form(Call(f"multipart/form-data; boundary={boundary}", {}, body))
    assert [one.content for one in read.fields] == [content]


@given(st.dictionaries(st.text(max_size=8), st.binary(max_size=50), min_size=1, max_size=5))
def test_every_urlencoded_value_comes_out_as_it_went_in(values: dict[str, bytes]) -> None:
    from urllib.parse import quote_from_bytes, quote_plus

    body = "&".join(f"{quote_plus(name)}={quote_from_bytes(value, safe='')}" for name, value in values.items())
    read = form(body.encode(), "application/x-www-form-urlencoded; charset=utf-8")
    assert {one.name: one.content for one in read.fields} == values


@given(
    st.lists(st.sampled_from([b"%", b"=", b"4", b"1", b"aF", b"+", b" ", b"\n", b"\r", b"_", b".", b"\xff", b"%0D%0A"]))
)
def test_values_are_read_as_urllib_reads_them(pieces: list[bytes]) -> None:
    from urllib.parse import unquote_to_bytes

    value = b"".join(pieces)
    read = form(b"a=" + value, "application/x-www-form-urlencoded")
    assert read.fields[0].content == unquote_to_bytes(value.replace(b"+", b" "))


def test_a_preamble_an_epilogue_and_spaces_after_a_boundary_are_no_field() -> None:
    body = b"hello\r\n" + part(ANY).replace(b"--x y\r\n", b"--x y \t\r\n") + END + b"more\r\n--x y\r\n"
    assert [one.content for one in form(body).fields] == [ANY]


def test_the_last_field_of_a_name_counts() -> None:
    assert form(part(b"smuggled") + part(b"theirs") + END).text("email") == "theirs"


@pytest.mark.parametrize(
    ("disposition", "name", "filename"),
    [
        ('name="a"; filename=""', "a", ""),
        ("name=a; filename=b.csv", "a", "b.csv"),
        ('name="a"; filename="say \\"hi\\".csv"', "a", 'say "hi".csv'),
        ('name="a"; filename="%22b%0D%0A.csv"', "a", '"b\r\n.csv'),
        ('name="a"; filename="席.csv"', "a", "席.csv"),
        ('name="a;b=c"', "a;b=c", None),
        ("nothing", "", None),
    ],
)
def test_names_of_fields_and_files(disposition: str, name: str, filename: str | None) -> None:
    (one,) = form(part(b"1", disposition) + END).fields
    assert (one.name, one.filename) == (name, filename)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--x y",
        part(b"1"),
        part(b"1") + b"--x y",
        part(b"1") + b"--x yz\r\n",
        b"--x y\r\nContent-Disposition: form-data\r\n" + END,
        part(b"1", more="\r\nContent-Transfer-Encoding: base64") + END,
        part(b"1", 'name="' + "a" * 20_000 + '"') + END,
        part(b"1") * (MAX_FIELDS + 1) + END,
    ],
)
def test_a_multipart_body_that_is_cut_or_odd_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedCall):
        form(body)


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "multipart/form-data", "multipart/form-data; boundary=" + "b" * 201]
)
def test_what_is_no_form_is_malformed(kind: str) -> None:
    with pytest.raises(MalformedCall):
        form(part(b"1") + END, kind)


def test_a_form_of_too_many_or_no_fields_is_malformed() -> None:
    for body in (b"a=1&" * MAX_FIELDS + b"a=1", b"", b"only words"):
        with pytest.raises(MalformedCall):
            form(body, "application/x-www-form-urlencoded")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'"a"', b"{", b"\xff", b'{"a": "\xff"}', b"[" * 50_000, b'{"a":' * 50_000]
)
def test_what_is_no_json_object_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedCall):
        read_json(body)
