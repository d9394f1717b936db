"""Every field syntax of the facts, section 5, by its name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from todoku.extraction.compiled import CompiledSite
from todoku.extraction.fields import FieldReader
from todoku.extraction.letter import Letter
from todoku.kernel.folding import fold_for_matching

Compile = Callable[[str], CompiledSite]

HEAD = 'id = "x"\nname_ja = "x"\nname_en = "x"\n[[kind]]\nevent = "booked"\nsubject = ["x"]\n'


def reader(site: CompiledSite, text: str, *, subject: str = "", html: str | None = None) -> FieldReader:
    now = datetime(2026, 11, 20, tzinfo=UTC)
    return FieldReader(
        site, Letter(text, fold_for_matching(text), 0, (subject,), sender="a@b.example", date=now, html=html)
    )


def field(name: str, syntax: str, labels: str, *more: str) -> str:
    return f'[[field]]\nname = "{name}"\nsyntax = "{syntax}"\nlabels = [{labels}]\n' + "".join(
        f"{line}\n" for line in more
    )


@pytest.mark.parametrize(
    ("syntax", "text"),
    [
        ("colon", "席種：窓側"),
        ("colon", "席種 ：窓側"),
        ("colon", "席種: 窓側"),
        ("colon", "席種\u00a0：\u00a0窓側"),
        ("colon", "席種　　：窓側"),
        ("colon", "　席 種 ： 窓側 "),
        ("square_colon", "■席種：窓側"),
        ("square_colon", "■ 席種 : 窓側"),
        ("square_next_line", "■席種\n　窓側"),
        ("lenticular_next_line", "【席種】\n窓側"),
        ("lenticular_next_line", "【席種】窓側"),
        ("bracket", "［席種］ 窓側"),
        ("bracket", "[席種]窓側"),
        ("bracket_next_line", "[席種]\n窓側"),
        ("pipe", "席種 | 窓側"),
        ("pipe", "◆席種 ｜ 窓側"),
        ("dot_space", "・席種 窓側"),
        ("dot_space", "・席種　窓側"),
        ("box_space", "□席種 窓側"),
        ("bullet_colon", "●席種：窓側"),
        ("bullet_colon", "◆席種: 窓側"),
        ("marked_colon", "席種：窓側"),
        ("marked_colon", "★席種 : 窓側"),
        ("marked_colon", "◆ 席 種　　：　窓側"),
        ("marked_colon", "席種：\n　窓側"),
        ("square_inline", "■人数 2名 ■席種 窓側 ■備考 なし"),
    ],
)
def test_a_named_syntax_finds_its_value(compiled: Compile, syntax: str, text: str) -> None:
    site = compiled(HEAD + field("seat", syntax, '"席種"') + field("requests", syntax, '"備考"'))
    for around in (text, f"はじめに\n{text}\n", f"\n\n{text}\n\nおわり"):
        found = reader(site, around)
        assert found.text("seat") == "窓側"
        (evidence,) = [item for item in found.evidence if item.field == "seat"]
        assert around[evidence.start : evidence.end] == "窓側"


@pytest.mark.parametrize("text", ["お席種：窓側", "席種別：窓側", "ご希望の席種：窓側", "席種は窓側"])
def test_a_label_is_the_whole_label(compiled: Compile, text: str) -> None:
    assert reader(compiled(HEAD + field("seat", "colon", '"席種"')), text).text("seat") is None


def test_several_labels_on_one_line_end_each_other(compiled: Compile) -> None:
    site = compiled(
        HEAD + field("seat", "square_inline", '"席"') + field("course", "square_inline", '"メニュー", "予約時メニュー"')
    )
    found = reader(site, "■席 窓側 ■予約時メニュー 季節のコース（税込） ■席数 2")
    assert (found.text("seat"), found.text("course")) == ("窓側", "季節のコース（税込） ■席数 2")


def test_a_block_ends_at_the_next_label_a_ruler_or_two_empty_lines(compiled: Compile) -> None:
    toml = (
        HEAD
        + '[layout]\nrulers = ["-----"]\nstops = ["▼"]\n'
        + field("requests", "colon", '"ご要望"', 'value = "block"')
        + field("seat", "colon", '"席"')
    )
    site = compiled(toml)
    for end in ("席：A", "----------", "▼詳しくは", "\n\nフッター"):
        assert reader(site, f"ご要望：\n　窓側\n\n　静かな席\n{end}\n").text("requests") == "窓側\n\n静かな席"


def test_an_empty_value_is_none_and_never_the_next_label(compiled: Compile) -> None:
    site = compiled(
        HEAD + field("seat", "colon", '"席"', 'value = "line_or_next"') + field("course", "colon", '"コース"')
    )
    found = reader(site, "席：\nコース：\n")
    assert (found.text("seat"), found.text("course")) == (None, None)


def test_a_table_row_turned_to_text_is_read_without_the_marks_of_the_plain_mail(compiled: Compile) -> None:
    site = compiled(HEAD + field("seat", "square_colon", '"席種"') + field("course", "square_colon", '"コース"'))
    found = reader(site, "席種\t窓側\n■コース：\t季節\n", html="<table></table>")
    assert (found.text("seat"), found.text("course")) == ("窓側", "季節")
    assert reader(site, "席種\t窓側\n").text("seat") is None


def test_values_in_the_query_and_the_path_of_the_link(compiled: Compile) -> None:
    toml = (
        HEAD
        + field("link", "link", '"https://owner.example/"')
        + field("reference", "url_query", '"bookingId"', "shape = '(?:net:)?([0-9]+)'")
        + field("year_date", "url_path", '"/day/"')
    )
    site = compiled(toml)
    for address in (
        "https://owner.example/day/2026-11-20?a=1&bookingId=net:42",
        "https://owner.example/day/2026-11-20/x?bookingId=net%3A42#top",
    ):
        found = reader(site, f"他のリンク https://other.example/?bookingId=7\n＜{address}＞\n")
        assert found.text("reference") == "42"
        assert found.text("year_date") == "2026-11-20"


def test_a_link_that_is_only_in_an_attribute_is_taken_from_the_html(compiled: Compile) -> None:
    site = compiled(HEAD + field("link", "link", '"https://owner.example/"') + field("reference", "url_query", '"id"'))
    found = reader(site, "こちら", html='<a href="https://owner.example/?a=1&amp;id=42">こちら</a>')
    assert found.text("link") == "https://owner.example/?a=1&id=42"
    assert found.text("reference") == "42"
    assert {item.source for item in found.evidence} == {"html"}


def test_a_capture_from_the_subject(compiled: Compile) -> None:
    toml = HEAD + '[[field]]\nname = "reference"\nsyntax = "subject"\npattern = \'\\[予約NO:(IR[0-9]{10})\\]\'\n'
    found = reader(compiled(toml), "本文", subject="【変更_現地決済】予約変更受付のお知らせ ［予約ＮＯ：IR0000000001］")
    assert found.text("reference") == "IR0000000001"


def test_a_capture_from_the_text(compiled: Compile) -> None:
    toml = HEAD + '[[field]]\nname = "party_size"\nsyntax = "text"\npattern = \'table for ([0-9]+) at\'\n'
    assert reader(compiled(toml), "Your table for 4 at Bistro").text("party_size") == "4"


def test_the_addressee_and_its_code(compiled: Compile) -> None:
    site = compiled(
        HEAD
        + field("shop", "addressee", '"様"')
        + field("shop_code", "addressee", '"様"')
        + field("seat", "colon", '"席"')
    )
    found = reader(site, "いつもありがとうございます\n届屋 銀座本店　様（ａｂｃｄ００１）\n席：A\n別の店 様\n")
    assert (found.text("shop"), found.first_piece("shop_code")) == ("届屋 銀座本店", found.first_piece("shop_code"))
    code = found.first_piece("shop_code")
    assert code is not None
    assert code.folded == "abcd001"
    assert reader(site, "席：A\n別の店 様\n").text("shop") is None


def test_words_that_mean_none_and_characters_cut_off(compiled: Compile) -> None:
    toml = (
        HEAD
        + field("course", "colon", '"コース"', 'nothing = ["席のみ"]')
        + field("cancel_reason", "colon", '"理由"', 'strip = "【】"')
    )
    found = reader(compiled(toml), "コース：席 のみ\n理由：【お客様都合】\n")
    assert (found.text("course"), found.text("cancel_reason")) == (None, "お客様都合")


def test_the_first_of_two_equal_labels_counts(compiled: Compile) -> None:
    site = compiled(HEAD + field("seat", "colon", '"席"'))
    assert reader(site, "席：A\n席：B\n").text("seat") == "A"


LONG = "朝のゆったりカヤックと昼の磯遊びと夕方の焚き火を一日で楽しむ欲張りな"


def test_a_line_that_a_mailer_broke_is_put_together_again(compiled: Compile) -> None:
    site = compiled(HEAD + field("course", "marked_colon", '"プラン名"'))
    for broken, whole in (
        (f"{LONG}\n体験コース（14:00 ）", f"{LONG}体験コース（14:00 ）"),
        (f"{LONG} A\nB コース\n備考：なし", f"{LONG} A B コース"),
        ("カヤック\n次の行は別の話", "カヤック"),
        (f"{LONG}\n来場手段：車", LONG),
        (f"{LONG}\n\nおわり", LONG),
    ):
        found = reader(site, f"プラン名：{broken}\n")
        assert found.text("course") == whole
        (evidence,) = found.evidence
        assert f"プラン名：{broken}\n"[evidence.start : evidence.end].startswith(whole[:4])


def test_a_field_that_nobody_knows_ends_the_lines_before_it(compiled: Compile) -> None:
    site = compiled(HEAD + field("requests", "marked_colon", '"備考"', 'value = "lines"'))
    for unknown in ("来場手段：車", "■来場手段 車", "【来場手段】", "来場手段 | 車", "", "https://shop.example/"):
        assert reader(site, f"備考：犬を連れて\n18:30 に着きます\n{unknown}\n").text("requests") == (
            "犬を連れて\n18:30 に着きます"
        )
        assert reader(site, f"備考：\n{unknown}\n").text("requests") is None


@pytest.mark.parametrize("heading", ["＜内容＞", "<内容>", "＜ 内容 ＞："])
def test_a_heading_in_angles_and_the_block_after_it(compiled: Compile, heading: str) -> None:
    toml = HEAD + '[layout]\nstops = ["◆"]\n' + field("requests", "angle", '"内容"')
    text = f"{heading}\n駅から歩きます\nアレルギー：えび\n◆次\n"
    assert reader(compiled(toml), text).text("requests") == "駅から歩きます\nアレルギー：えび"


def test_a_link_is_known_by_what_is_inside_of_it(compiled: Compile) -> None:
    toml = (
        HEAD
        + field("link", "link", '"https://…shop.example/…reserveNo="')
        + field("reference", "url_query", '"reserveNo"')
    )
    text = "https://shop.example/ https://a.shop.example/x?y=1 https://b.shop.example/r?a=1&reserveNo=42&b=2\n"
    for found in (reader(compiled(toml), text), reader(compiled(toml), "", html=f'<a href="{text.split()[2]}">')):
        assert found.text("link") == "https://b.shop.example/r?a=1&reserveNo=42&b=2"
        assert found.text("reference") == "42"


def test_a_line_with_a_field_mark_addresses_nobody(compiled: Compile) -> None:
    site = compiled(HEAD + field("shop", "addressee", '"様"') + field("seat", "colon", '"席"'))
    for line in ("お名前 | 山田 花子 様", "お名前\t山田 花子 様", "お名前：山田 花子 様"):
        assert reader(site, f"{line}\n席：A\n").text("shop") is None
