"""Mails made wrong on purpose. Each mutation is chosen by a random.Random: a seed makes the same bytes again."""

from __future__ import annotations

import base64
import quopri
import re
from collections.abc import Callable, Sequence
from functools import cache
from random import Random

from todoku.extraction import sample_mails

MOST_BYTES = 300_000
"""A mutated mail is no longer than this, or a repetition would make every seed a large one."""

_CHARSETS = (
    b"utf-8 utf-7 utf-16 utf-16le utf-32 iso-2022-jp iso-2022-jp-ms cp50220 cp50221 shift_jis x-sjis windows-31j "
    b"euc-jp cp51932 us-ascii iso-8859-1 gb2312 hz big5 ks_c_5601 iso-2022-kr koi8-r x-bogus utf-8*en"
).split()
_CODECS = ("utf-8", "utf-7", "utf-16", "iso2022_jp_ext", "cp932", "euc_jp", "gb18030", "latin-1")
_TOKENS = tuple(
    (
        b"\r|\n|\r\n|\n\n|\x00|\x1b|\x1b$B|\x1b(B|\x1b(I|\x1b(J|\x1b$(D|\x0e|\x0f|\xff\xfe|\xef\xbb\xbf|"
        b"\xe3\x80\x80|\xe2\x80\x8b|\xc2\xa0|=|=\n|=?|?=|=?UTF-8?B?|=?ISO-2022-JP?B?GyRC?=|=?utf-8?q?=00=0a?=|--|"
        b'--b|--b--|;|,|:|"|\\|(|<|>|&|&#0;|&#xD800;|<!--|-->|<table>|<td>|</td>|'
        b'<script type="application/ld+json">|</script>|'
        b'<div itemscope itemtype="http://schema.org/FoodEstablishmentReservation">|{|}|[|]|"@type":|\\ud800|'
        b"\\u0000|1e999|-1|99999999999999999999|25:30|99:99|2\xe6\x9c\x8830\xe6\x97\xa5|0000\xe5\xb9\xb4|"
        b"\n---- Forwarded message ----\nFrom: |\n> |\nFrom: |\nDate: |\nSubject: |\nMessage-ID: <>|"
        b"\nContent-Type: multipart/mixed; boundary=b\n|\nContent-Type: message/rfc822\n\n|"
        b"\nContent-Transfer-Encoding: base64\n|\nContent-Transfer-Encoding: x-uuencode\n|\xe2\x96\xa0|"
        b"\xe3\x80\x90|\xef\xbc\x9a|\xe2\x86\x92|\xe3\x80\x9c|\xef\xbd\x9e|\xe6\xa7\x98|\xe5\x90\x8d|%00|%E3|%|"
        b"http://|https://| |   |\t|a|1|1:|1/|<td |<p hidden>"
    ).split(b"|")
)
_CHARSET = re.compile(rb'charset="?[\w*-]+"?', re.IGNORECASE)
_ENCODING = re.compile(rb"(?im)^(content-transfer-encoding:[ ]*)\S+")
_ENCODINGS = (b"base64", b"quoted-printable", b"7bit", b"x-uuencode", b"bogus", b"")

Mutation = Callable[[Random, bytes], bytes]


@cache
def samples() -> tuple[bytes, ...]:
    """Return the raw bytes of every sample of every site."""
    return tuple(raw for _, _, raw in sample_mails())


def make_mail(seed: str) -> bytes:
    """Return the mail of a seed: a sample with one to eight things wrong, or bytes that were never a mail."""
    return mutated(Random(seed))


def mutated(random: Random) -> bytes:
    """Return such a mail by the choices of `random`, which may be Hypothesis's own."""
    raw = random.choice(samples()) if random.random() < 0.97 else random.randbytes(random.choice((1, 60, 4_000)))
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 5, 8))):
        raw = random.choice(MUTATIONS)(random, raw)[:MOST_BYTES]
    if random.random() < 0.12:
        raw = repeat_much(random, raw)[:MOST_BYTES]
    return raw


def flip(random: Random, raw: bytes) -> bytes:
    """Change some bits, or a whole byte, here and there."""
    data = bytearray(raw)
    for _ in range(random.choice((1, 1, 2, 8, 60)) if data else 0):
        at = random.randrange(len(data))
        data[at] = random.randrange(256) if random.random() < 0.5 else data[at] ^ (1 << random.randrange(8))
    return bytes(data)


def cut(random: Random, raw: bytes) -> bytes:
    """Take a stretch out; often the end."""
    begin, end = _stretch(random, raw)
    return raw[:begin] if random.random() < 0.3 else raw[:begin] + raw[end:]


def splice(random: Random, raw: bytes) -> bytes:
    """Put a stretch of another sample in."""
    other = random.choice(samples())
    begin, end = _stretch(random, other)
    at = random.randint(0, len(raw))
    return raw[:at] + other[begin:end] + raw[at:]


def repeat(random: Random, raw: bytes) -> bytes:
    """Say a stretch several times."""
    begin, end = _stretch(random, raw)
    return raw[:end] + raw[begin:end] * random.choice((1, 2, 9)) + raw[end:]


def repeat_much(random: Random, raw: bytes) -> bytes:
    """Say a few bytes, or a few lines, a hundred thousand times: what costs the square of its length shows here."""
    if random.random() < 0.5:
        piece = b"".join(random.choices(_TOKENS, k=random.randint(1, 3)))
    else:
        begin = random.randrange(len(raw)) if raw else 0
        piece = raw[begin : begin + random.choice((1, 2, 5, 20, 200))]
    line = raw.find(b"\n", random.randint(0, len(raw))) + 1
    at = random.choice((raw.find(b"\n\n") + 2, random.randint(0, len(raw)), line, max(raw.find(b": "), 0) + 2))
    return raw[:at] + piece * (200_000 // max(1, len(piece))) + raw[at:]


def insert(random: Random, raw: bytes) -> bytes:
    """Put in what means something to some reader."""
    for _ in range(random.choice((1, 1, 2, 10))):
        at = random.randint(0, len(raw))
        raw = raw[:at] + random.choice(_TOKENS) + raw[at:]
    return raw


def swap_lines(random: Random, raw: bytes) -> bytes:
    """Exchange, double or take out lines."""
    lines = raw.split(b"\n")
    for _ in range(random.choice((1, 2, 6))):
        a, b = random.randrange(len(lines)), random.randrange(len(lines))
        if random.random() < 0.5:
            lines[a], lines[b] = lines[b], lines[a]
        else:
            lines.insert(a, lines[b])
    return b"\n".join(lines)


def rename_charset(random: Random, raw: bytes) -> bytes:
    """Declare another charset and leave the bytes."""
    return _CHARSET.sub(lambda _: b"charset=" + random.choice(_CHARSETS), raw)


def recode(random: Random, raw: bytes) -> bytes:
    """Write the bytes in another charset and leave the declaration."""
    text = raw.decode("utf-8", "replace")
    begin = random.randint(0, len(text))
    return text[:begin].encode() + text[begin:].encode(random.choice(_CODECS), "ignore")


def rename_encoding(random: Random, raw: bytes) -> bytes:
    """Declare another transfer encoding and leave the bytes."""
    return _ENCODING.sub(lambda found: found[1] + random.choice(_ENCODINGS), raw)


def wrap(random: Random, raw: bytes) -> bytes:
    """Put the mail into another one, whole or as a part."""
    boundary = random.choice((b"b", b"=_x", b"--", b" "))
    inside = random.choice((b"message/rfc822", b"text/plain", b"text/html", b"multipart/mixed; boundary=" + boundary))
    body = base64.encodebytes(raw) if random.random() < 0.3 else raw
    return (
        b"From: " + random.choice((b"a@b.example", b"x@mail.tabelog.com", b"<>", b"")) + b"\nContent-Type: "
        + random.choice((b"multipart/mixed", b"multipart/digest", b"multipart/alternative"))
        + b'; boundary="' + boundary + b'"\n\n--' + boundary + b"\nContent-Type: " + inside + b"\n\n" + body
        + b"\n--" + boundary + random.choice((b"--\n", b"\n", b""))
    )  # fmt: skip


def change_line_ends(random: Random, raw: bytes) -> bytes:
    """Write all line ends in another way."""
    return raw.replace(b"\r\n", b"\n").replace(b"\n", random.choice((b"\r\n", b"\r", b"\r\r\n", b"\n\n")))


MUTATIONS: Sequence[Mutation] = (
    flip, cut, splice, repeat, insert, swap_lines, rename_charset, recode, rename_encoding, wrap, change_line_ends,
)  # fmt: skip


def _stretch(random: Random, raw: bytes) -> tuple[int, int]:
    begin = random.randint(0, len(raw))
    return begin, min(len(raw), begin + random.choice((1, 3, 20, 200, 2_000)))


def harmless(random: Random, raw: bytes) -> bytes:
    """Write a mail of one text part in another way that means the same: what is read from it may not change."""
    head, _, body = raw.replace(b"\r\n", b"\n").partition(b"\n\n")
    fields = [line for line in re.split(rb"\n(?![ \t])", head) if not line.lower().startswith(b"content-")]
    described = [line for line in re.split(rb"\n(?![ \t])", head) if line.lower().startswith(b"content-")]
    if random.random() < 0.5 and not any(line.lower().startswith(b"content-transfer") for line in described):
        described.append(b"Content-Transfer-Encoding: 7bit")
    if random.random() < 0.5:
        body, described = _encoded(random, body, described)
    for _ in range(random.randint(0, 3)):
        fields.insert(
            random.randint(0, len(fields)), random.choice((b"X-Spam: 0", b"Received: from x", b"X-A:", b"X-B: x\n y"))
        )
    if random.random() < 0.5:
        inner = b"\n".join(described) + b"\n\n" + body
        described = [b"Content-Type: multipart/mixed; boundary=zz-9"]
        body = b"ignored\n--zz-9\n" + inner + b"\n--zz-9--\nignored\n"
    raw = b"\n".join([*fields, *described]) + b"\n\n" + body
    return raw.replace(b"\n", b"\r\n") if random.random() < 0.5 else raw


def _encoded(random: Random, body: bytes, described: list[bytes]) -> tuple[bytes, list[bytes]]:
    """Encode the body anew when it stands as it is; what holds parts may not be encoded (RFC 2045 section 6.4)."""
    if any(b"multipart/" in line.lower() for line in described):
        return body, described
    encoding = next((line for line in described if line.lower().startswith(b"content-transfer")), b"")
    if encoding and encoding.partition(b":")[2].strip().lower() not in (b"7bit", b"8bit"):
        return body, described
    rest = [line for line in described if line is not encoding]
    if random.random() < 0.5:
        return base64.encodebytes(body), [*rest, b"Content-Transfer-Encoding: base64"]
    quoted = quopri.encodestring(body)
    return quoted, [*rest, b"Content-Transfer-Encoding: QUOTED-PRINTABLE"]
