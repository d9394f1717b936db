"""From words to values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todoku.extraction.convert import Person, identifier, party_size, person, text_block
from todoku.extraction.phone import by_library, to_e164


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("佐藤（サトウ）様", Person("佐藤", "サトウ")),
        ("佐藤様", Person("佐藤", None)),
        ("佐藤　花子 様（サトウ　ハナコ）", Person("佐藤 花子", "サトウ ハナコ")),
        ("佐藤 花子 (サトウ ハナコ サマ)", Person("佐藤 花子", "サトウ ハナコ")),
        ("佐藤花子（サトウハナコサマ）", Person("佐藤花子", "サトウハナコ")),
        ("佐藤さま", Person("佐藤", None)),
        ("サトウ サマ", Person("サトウ", None)),
        ("浅間（アサマ）様", Person("浅間", "アサマ")),
        ("アサマ", Person("アサマ", None)),
        ("アサマ 様", Person("アサマ", None)),
        ("髙橋（ﾀｶﾊｼ）様", Person("髙橋", "ﾀｶﾊｼ")),
        ("㈱オリゾン商事 鈴木（スズキ）様", Person("㈱オリゾン商事 鈴木", "スズキ")),
        ("田中（常連）様", Person("田中（常連）", None)),
        ("（有）山田様", Person("（有）山田", None)),
        ("様", Person("様", None)),
        ("𠮷田 様", Person("𠮷田", None)),
        ("Anna Keller 様", Person("Anna Keller", None)),
    ],
)
def test_a_name_loses_its_honorific_and_keeps_its_characters(written: str, expected: Person) -> None:
    assert person(written) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2名", 2),
        ("2名様", 2),
        ("２　名", 2),
        ("3", 3),
        ("12人", 12),
        ("大人2人 子供（12歳未満）1人", 3),
        ("大人2人, 子ども1人", 3),
        ("大人(中学生以上)×2 人", 2),
        ("4名(お1人様:4名)", 4),
        ("合計3名（大人2名、子供1名）", 3),
        ("合計3名 大人2名 子供1名", 3),
        ("合計4名 大人2名 子供1名", None),
        ("お1人様：2名", 2),
        ("大人 13〜70歳 | 6,000円 × 2名", 2),
        ("大人（13歳～）　￥6,000 × 2 名 ＝ ￥12,000", 2),
        ("大人13歳〜70歳×2人 小学1〜6年生×1人", 3),
        ("幼児 0歳～5歳 | 1000円 × 1名", 1),
        ("大人 2名 × 5,000円 = 10,000円", 2),
        ("お一人 5,000円 × 3名", 3),
        ("13〜70歳", None),
        ("6,000円", None),
        ("2 adults", None),
        ("2〜3名", None),
        ("0名", None),
        ("未定", None),
        ("", None),
        ("2名以上", None),
        ("((((2名", None),
        ("1,200名", None),
    ],
)
def test_how_many_people_come(written: str, expected: int | None) -> None:
    assert party_size(written) == expected


@pytest.mark.parametrize(
    ("folded", "expected"),
    [
        ("PL0001", "PL0001"),
        ("PL0001 (ネット)", "PL0001"),
        ("net:31000001", "net:31000001"),
        ("予約", None),
        ("", None),
        ("-", None),
        ("IR1、IR2", None),
    ],
)
def test_an_id_is_ascii_and_whole(folded: str, expected: str | None) -> None:
    assert identifier(folded) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("09000001111", "+819000001111"),
        ("090-0000-1111", "+819000001111"),
        ("０９０－００００－１１１１", "+819000001111"),
        ("090‐0000‐1111", "+819000001111"),
        ("03(0000)4444", "+81300004444"),
        ("+81 90 0000 1111", "+819000001111"),
        ("+1 415 555 0100", "+14155550100"),
        ("090****1111", None),
        ("非公開", None),
        ("110", None),
        ("", None),
        ("090-0000-1111 / 03-0000-4444", None),
        ("090-0000-1111（携帯）", None),
    ],
)
def test_a_phone_number_to_e164(written: str, expected: str | None) -> None:
    assert to_e164(written) == expected


@given(st.from_regex(r"\A0[0-9]{2,3}-?[0-9]{2,4}-?[0-9]{2,4}\Z"))
def test_the_fast_path_agrees_with_the_library(written: str) -> None:
    fast = to_e164(written)
    if len(written) >= 8:
        assert fast == by_library(written, country="JP")


@given(st.text(alphabet=st.sampled_from("0123456789+-() ０９様人"), max_size=30))
def test_no_text_breaks_the_converters(text: str) -> None:
    to_e164(text)
    party_size(text)
    person(text)
    identifier(text)


def test_a_block_loses_the_blanks_around_its_lines() -> None:
    assert text_block("　窓側\n\n  静かな席  \n\n") == "窓側\n\n静かな席"
    assert text_block(" \n　\n") is None
