"""The traps of the facts, section 6, that concern the four sites: each was a bug in somebody's importer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from todoku.extraction.types import Event, NoticeKind, Outcome, Previous, Reading

Read = Callable[..., Reading]
TOKYO = ZoneInfo("Asia/Tokyo")
TABELOG, HOTPEPPER, GNAVI = "info@mail.tabelog.com", "jp_kanri@hotpepper.jp", "plan-reserve@gnavi.co.jp"


def tabelog(day: str, time: str = "18:30", *, url: str | None = None, party: str = "2名", more: str = "") -> str:
    link = f"https://owner.tabelog.com/tn/time-schedule/{url}?bookingId=net:31000001" if url else "予約番号 ：31000001"
    return (
        f"届屋 銀座本店 様\n\n-----------\n\nお名前 ：佐藤（サトウ）様\n"
        f"電話番号 ：09000002222\n日付 ：{day}\n来店時刻 ：{time}\n"
        f"人数 ：{party}\nご要望 ：\n{more}キャンセルポリシー：前日 1,000円\n変更は画面から\n\n{link}\n"
    )


def hotpepper(*blocks: str, head: str = "") -> str:
    return (
        f"届屋 銀座本店 様\n{head}\n□■ ご予約内容 ■□\n-----------\n"
        + "\n-----------\n".join(blocks)
        + "\n-----------\nフッター\n"
    )


def hotpepper_block(state: str, *, heading: str = "", time: str = "18:30", party: str = "2名様") -> str:
    return (
        f"{heading}■予約依頼番号：HP1\n"
        f"■来店日時：2026年11月30日(月) {time}\n■代表者：佐藤 花子様\n"
        f"■人数：{party}\n■ステータス：{state}"
    )


def gnavi(state: str, *, when: str = "2026年11月30日(月) 18時30分", party: str = "2名") -> str:
    return (
        f"届屋 銀座本店 様 (abcd001)\n\n［予約番号］ PL1\n［状態］ {state}\n［来店日時］ {when}\n［来店人数］ {party}\n"
        "［予約者名］ 佐藤 花子様\n［電話番号］ 090-0000-2222\n［コース］\nおまかせ\n"
    )


def start_of(reading: Reading) -> datetime:
    assert reading.facts is not None, reading.problem
    assert reading.facts.start is not None
    return reading.facts.start


# Trap 1: dates without a year around New Year


@pytest.mark.parametrize(
    ("mailed", "day", "year"),
    [
        (datetime(2026, 12, 28, tzinfo=TOKYO), "01/03", 2027),
        (datetime(2026, 12, 31, 23, 59, tzinfo=TOKYO), "12/31", 2026),
        (datetime(2027, 1, 2, tzinfo=TOKYO), "01/02", 2027),
        (datetime(2026, 11, 30, tzinfo=TOKYO), "11/29", 2027),
        (datetime(2026, 12, 31, 15, 30, tzinfo=ZoneInfo("UTC")), "01/01", 2027),
    ],
)
def test_without_any_evidence_the_first_such_date_from_the_day_of_the_mail(
    read: Read, mailed: datetime, day: str, year: int
) -> None:
    reading = read(tabelog(day), subject="【新規予約】新しい予約が入りました。", sender=TABELOG, date=mailed)
    assert start_of(reading).year == year


def test_the_weekday_of_the_subject_decides_the_year_of_a_visit_that_is_over(read: Read) -> None:
    reading = read(
        tabelog("12/31"),
        subject="【予約キャンセル】予約がキャンセルされました。 (12月31日(木) 18:30 2名様)【食べログネット予約】",
        sender=TABELOG,
        date=datetime(2027, 1, 2, 9, tzinfo=TOKYO),
    )
    assert start_of(reading) == datetime(2026, 12, 31, 18, 30, tzinfo=TOKYO)


def test_the_year_of_the_link_goes_before_everything(read: Read) -> None:
    reading = read(tabelog("01/02", url="2028-01-02"), subject="【新規予約】", sender=TABELOG)
    assert start_of(reading).year == 2028


def test_a_year_in_the_footer_is_not_used(read: Read) -> None:
    text = tabelog("01/03") + "\n+-+-+-+-+-+\n© 2019 食べログ\n受付日 2024年1月3日\n"
    reading = read(text, subject="【新規予約】", sender=TABELOG, date=datetime(2026, 12, 28, tzinfo=TOKYO))
    assert start_of(reading).year == 2027


def test_a_link_of_another_day_is_a_contradiction(read: Read) -> None:
    reading = read(tabelog("11/30", url="2026-12-01"), subject="【新規予約】", sender=TABELOG)
    assert (reading.outcome, reading.problem, reading.facts) == (Outcome.UNKNOWN_LAYOUT, "date_mismatch", None)


# Trap 2: numbers inside labels


@pytest.mark.parametrize(
    ("written", "people"),
    [
        ("4名(お1人様:4名)", 4),
        ("4名（お１人様：4名）", 4),
        ("大人2人 子供（12歳未満）0人", 2),
        ("大人2人 子供（12歳未満）1人", 3),
        ("２名様", 2),
    ],
)
def test_a_number_inside_a_label_is_not_a_count(read: Read, written: str, people: int) -> None:
    reading = read(gnavi("確定済", party=written), subject="予約が確定しました", sender=GNAVI)
    assert reading.facts is not None
    assert reading.facts.party_size == people


# Trap 7: digests and promotions quote the labels


def test_a_digest_that_quotes_the_labels_is_no_reservation(read: Read) -> None:
    for subject, text, sender in (
        ("【本日のご来店一覧】11月20日", tabelog("11/20", url="2026-11-20"), TABELOG),
        ("食べログ ネット予約一覧", tabelog("11/20", url="2026-11-20"), TABELOG),
        ("本日（11月20日）来店予定のご予約情報", gnavi("確定済"), GNAVI),
    ):
        reading = read(text, subject=subject, sender=sender)
        assert (reading.outcome, reading.notice) == (Outcome.NOT_A_RESERVATION, NoticeKind.DIGEST)


def test_a_reminder_to_answer_is_no_reservation_though_it_shows_one(read: Read) -> None:
    reading = read(
        gnavi("未確定"), subject="【ぐるなび】ネット予約の「確定」または「キャンセル」をお願いします", sender=GNAVI
    )
    assert (reading.outcome, reading.notice) == (Outcome.NOT_A_RESERVATION, NoticeKind.REMINDER)


# Trap 9: forwarding by hand


def test_a_forwarded_mail_is_known_by_its_marks(read: Read) -> None:
    reading = read(
        tabelog("11/30", url="2026-11-30"),
        subject="Fwd: 【新規予約】新しい予約が入りました。",
        sender="tencho@example.com",
    )
    assert (reading.site, reading.outcome) == ("tabelog", Outcome.RESERVATION)


def test_a_forwarder_who_wrote_his_own_subject_leaves_the_sentence_to_decide(read: Read) -> None:
    text = tabelog("11/30", url="2026-11-30", more="").replace(
        "-----------", "お客様により下記予約内容がキャンセルされました。"
    )
    reading = read(text, subject="これお願いします", sender="tencho@example.com")
    assert reading.facts is not None
    assert reading.facts.event is Event.CANCELLED


# Trap 10: words that every mail shares


def test_the_cancel_policy_of_a_booking_does_not_cancel_it(read: Read) -> None:
    reading = read(
        tabelog("11/30", url="2026-11-30", more="キャンセルの場合はお電話ください\n"),
        subject="【新規予約】",
        sender=TABELOG,
    )
    assert reading.facts is not None
    assert reading.facts.event is Event.BOOKED


def test_the_word_for_change_in_a_cancel_mail_does_not_make_it_a_change(read: Read) -> None:
    text = hotpepper(
        hotpepper_block("キャンセル（お客様都合）"), head="ご予約の変更はお受けできません。変更処理はありません。"
    )
    reading = read(text, subject="佐藤 花子様のキャンセル", sender=HOTPEPPER)
    assert reading.facts is not None
    assert reading.facts.event is Event.CANCELLED


# Trap 11: after midnight


def test_half_past_one_is_written_25_30_and_lies_on_the_next_day(read: Read) -> None:
    expected = datetime(2026, 12, 1, 1, 30, tzinfo=TOKYO)
    assert start_of(read(gnavi("確定済", when="2026年11月30日(月) 25時30分"), sender=GNAVI)) == expected
    assert (
        start_of(read(tabelog("11/30", "25:30", url="2026-11-30"), subject="【新規予約】", sender=TABELOG)) == expected
    )
    text = hotpepper(hotpepper_block("未対応", time="２５：３０"))
    assert start_of(read(text, subject="【即予約】佐藤様の申し込み", sender=HOTPEPPER)) == expected


def test_thirty_o_clock_is_not_a_time(read: Read) -> None:
    reading = read(gnavi("確定済", when="2026年11月30日(月) 30時00分"), sender=GNAVI)
    assert (reading.outcome, reading.problem) == (Outcome.UNKNOWN_LAYOUT, "missing:start")


# Trap 12: two numbers look like the id


def test_the_number_of_the_notice_is_not_the_number_of_the_booking(read: Read) -> None:
    text = gnavi("確定済").replace("［予約番号］", "［通知番号］ N-777\n［予約番号］")
    reading = read(text, sender=GNAVI)
    assert reading.facts is not None
    assert reading.facts.reference == "PL1"


def test_a_mail_with_only_a_notice_number_is_not_read(read: Read) -> None:
    reading = read(gnavi("確定済").replace("予約番号", "通知番号"), sender=GNAVI)
    assert (reading.outcome, reading.problem) == (Outcome.UNKNOWN_LAYOUT, "missing:reference")


# Trap 13 and 14: where a change says that it is one, and what it is


def test_the_words_of_a_change_count_in_the_body_alone(read: Read) -> None:
    text = hotpepper(hotpepper_block("未対応"), head="変更処理完了のお知らせ")
    reading = read(text, subject="【ホットペッパーグルメ】ご予約について", sender=HOTPEPPER)
    assert reading.facts is not None
    assert reading.facts.event is Event.CHANGED


@pytest.mark.parametrize("after_first", [False, True])
def test_only_the_block_after_the_change_counts_in_either_order(read: Read, after_first: bool) -> None:
    before = hotpepper_block("未対応", heading="【変更前】\n", time="18:30", party="2名様")
    after = hotpepper_block("相談中", heading="【変更後】\n-----------\n", time="19:30", party="4名様")
    blocks = (after, before) if after_first else (before, after)
    reading = read(hotpepper(*blocks), subject="変更処理完了", sender=HOTPEPPER)
    facts = reading.facts
    assert facts is not None
    assert facts.event is Event.CHANGED
    assert (facts.start, facts.party_size) == (datetime(2026, 11, 30, 19, 30, tzinfo=TOKYO), 4)
    assert facts.previous == Previous(start=datetime(2026, 11, 30, 18, 30, tzinfo=TOKYO), party_size=2)


def test_the_block_after_the_change_goes_before_what_stands_outside(read: Read) -> None:
    after = "【変更後】\n■来店日時：2026年11月30日(月) 19:30\n■人数：4名様\n■ステータス：未対応"
    reading = read(hotpepper(hotpepper_block("未対応"), after), subject="変更処理完了", sender=HOTPEPPER)
    assert reading.facts is not None
    assert (reading.facts.reference, reading.facts.party_size) == ("HP1", 4)


@pytest.mark.parametrize("after_first", [False, True])
def test_a_ruler_under_its_heading_does_not_let_the_old_block_out(read: Read, after_first: bool) -> None:
    before = hotpepper_block("未対応", heading="【変更前】\n-----------\n", party="2名様")
    after = hotpepper_block("未対応", heading="【変更後】\n-----------\n").replace("■人数：2名様\n", "")
    blocks = (after, before) if after_first else (before, after)
    reading = read(hotpepper(*blocks), subject="変更処理完了", sender=HOTPEPPER)
    facts = reading.facts
    assert facts is not None
    assert facts.party_size is None
    assert facts.previous is not None
    assert facts.previous.party_size == 2


@pytest.mark.parametrize("after_first", [False, True])
def test_a_change_is_a_cancellation_when_the_state_after_it_says_so(read: Read, after_first: bool) -> None:
    before = hotpepper_block("未対応", heading="【変更前】\n")
    after = hotpepper_block("キャンセル（お客様都合）", heading="【変更後】\n")
    blocks = (after, before) if after_first else (before, after)
    for subject in ("変更処理完了", "ご予約について"):
        reading = read(hotpepper(*blocks), subject=subject, sender=HOTPEPPER)
        assert reading.facts is not None
        assert reading.facts.event is Event.CANCELLED


def test_a_state_of_cancelled_before_the_change_does_not_cancel(read: Read) -> None:
    before = hotpepper_block("キャンセル（誤操作）", heading="【変更前】\n")
    after = hotpepper_block("未対応", heading="【変更後】\n")
    reading = read(hotpepper(before, after), subject="変更処理完了", sender=HOTPEPPER)
    assert reading.facts is not None
    assert reading.facts.event is Event.CHANGED


@pytest.mark.parametrize(
    ("state", "event"),
    [
        ("未確定", Event.REQUESTED),
        ("確定済", Event.BOOKED),
        ("キャンセル", Event.CANCELLED),
        ("お断り", Event.DECLINED),
    ],
)
def test_gnavi_takes_the_kind_from_the_state_not_from_the_subject(read: Read, state: str, event: Event) -> None:
    for subject in ("予約が確定しました", "予約をお断りしました", "予約がキャンセルされました"):
        reading = read(gnavi(state), subject=subject, sender=GNAVI)
        assert reading.facts is not None
        assert reading.facts.event is event


def test_gnavi_with_a_state_that_nobody_knows_is_not_guessed_from_the_subject(read: Read) -> None:
    reading = read(gnavi("仮押さえ"), subject="予約が確定しました", sender=GNAVI)
    assert (reading.outcome, reading.problem) == (Outcome.UNKNOWN_LAYOUT, "unknown_kind")


# A mail that quotes three older notifications: which of them counts, nobody can tell


def test_two_notifications_in_one_mail_are_for_a_person(read: Read) -> None:
    both = gnavi("確定済") + "\n" + gnavi("確定済").replace("PL1", "PL2")
    reading = read(both, subject="予約が確定しました", sender=GNAVI)
    assert (reading.outcome, reading.problem) == (Outcome.UNKNOWN_LAYOUT, "ambiguous:reference")
    same = gnavi("確定済") + "\n" + gnavi("確定済")
    assert read(same, subject="予約が確定しました", sender=GNAVI).outcome is Outcome.RESERVATION
    moved = gnavi("確定済") + "\n" + gnavi("確定済", when="2026年12月1日(火) 18時30分")
    assert read(moved, subject="予約が確定しました", sender=GNAVI).problem == "ambiguous:start"


def test_two_links_to_different_bookings_are_for_a_person(read: Read) -> None:
    one = tabelog("11/30", url="2026-11-30")
    subject = "【新規予約】新しい予約が入りました。"
    reading = read(one + one.replace("31000001", "31000002"), subject=subject, sender=TABELOG)
    assert (reading.outcome, reading.problem) == (Outcome.UNKNOWN_LAYOUT, "ambiguous:reference")
    assert read(one + one, subject=subject, sender=TABELOG).outcome is Outcome.RESERVATION


def test_both_blocks_of_a_change_are_one_notification(read: Read) -> None:
    before = hotpepper_block("未対応", heading="【変更前】\n")
    after = hotpepper_block("未対応", heading="【変更後】\n", time="19:00")
    reading = read(hotpepper(before, after), subject="変更処理完了", sender=HOTPEPPER)
    assert start_of(reading) == datetime(2026, 11, 30, 19, tzinfo=TOKYO)
