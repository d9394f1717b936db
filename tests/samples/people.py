"""The invented shops, guests and bookings of the samples. Every name, number and address is made up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

TOKYO = ZoneInfo("Asia/Tokyo")
WEEKDAYS = "月火水木金土日"


@dataclass(frozen=True)
class Shop:
    """One of the three shops of the sample group."""

    code: str
    name: str
    gnavi_code: str
    name_en: str


GINZA = Shop("ginza", "届屋 銀座本店", "abcd001", "Todokuya Ginza")
SHINJUKU = Shop("shinjuku", "炉ばた とどけ 新宿店", "abcd002", "Robata Todoke Shinjuku")
YOKOHAMA = Shop("yokohama", "Bistro Ato 横浜", "abcd003", "Bistro Ato Yokohama")


@dataclass(frozen=True)
class Guest:
    """One person. phone: as the sites write it; key: the name of the person in file names."""

    surname: str
    given: str
    surname_kana: str
    given_kana: str
    phone: str = ""
    email: str = ""
    key: str = ""

    @property
    def name(self) -> str:
        """Return surname and given name."""
        return f"{self.surname} {self.given}".strip()

    @property
    def kana(self) -> str:
        """Return the kana of both."""
        return f"{self.surname_kana} {self.given_kana}".strip()

    @property
    def e164(self) -> str | None:
        """Return the phone as E.164, made from the invented number by hand: no 0, +81 before it."""
        digits = self.phone.replace("-", "")
        return "+81" + digits[1:] if digits else None


TAKAHASHI = Guest(
    "髙橋", "一郎", "タカハシ", "イチロウ", "090-0000-1111", "ichiro.takahashi@example.com", key="takahashi"
)
TAKAHASHI_PLAIN = Guest(
    "高橋", "一郎", "タカハシ", "イチロウ", "090-0000-1111", "ichiro.takahashi@example.com", key="takahashi"
)
SATO = Guest("佐藤", "花子", "サトウ", "ハナコ", "090-0000-2222", "hanako.sato@example.com", key="sato")
YAMAZAKI = Guest("山﨑", "健", "ヤマザキ", "ケン", "080-0000-3333", "ken.yamazaki@example.com", key="yamazaki")
SUZUKI_COMPANY = Guest("㈱オリゾン商事 鈴木", "", "スズキ", "", "03-0000-4444", key="suzuki")
WATANABE = Guest("渡邊", "美咲", "ワタナベ", "ミサキ", "070-0000-5555", "misaki.watanabe@example.com", key="watanabe")
TANAKA_SECTION = Guest("第①営業部 田中", "", "タナカ", "", "03-0000-6666", key="tanaka")
NAKAMURA = Guest("中村", "翔", "ナカムラ", "ショウ", "090-0000-7777", "sho.nakamura@example.com", key="nakamura")
KOBAYASHI = Guest("小林", "由紀", "コバヤシ", "ユキ", "080-0000-8888", "yuki.kobayashi@example.com", key="kobayashi")
ASAMA = Guest("浅間", "徹", "アサマ", "トオル", "090-0000-9999", key="asama")
YOSHIDA = Guest("𠮷田", "直樹", "ヨシダ", "ナオキ", "070-0000-1212", key="yoshida")
ITO = Guest("伊藤", "結衣", "イトウ", "ユイ", "080-0000-1313", "yui.ito@example.com", key="ito")
MORI = Guest("森", "大輔", "モリ", "ダイスケ", "090-0000-1414", key="mori")
KELLER = Guest("Anna", "Keller", "", "", "", "anna.keller@example.com", key="keller")
OKAFOR = Guest("Chidi", "Okafor", "", "", "", "chidi.okafor@example.com", key="okafor")


@dataclass(frozen=True)
class Booking:
    """One booking at one moment of its life."""

    shop: Shop
    guest: Guest
    reference: str
    start: datetime
    party: int
    course: str | None = None
    seat: str | None = None
    requests: str | None = None
    stay_hours: int = 2

    @property
    def end(self) -> datetime:
        """Return the start plus the time the table is kept."""
        return self.start + timedelta(hours=self.stay_hours)


def at(written: str) -> datetime:
    """Return `11-23 18:30` of the samples' year, 2026, or `2027-01-02 18:30`, in Tokyo."""
    text = written if written.startswith("20") else f"2026-{written}"
    return datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=TOKYO)


def weekday(moment: datetime) -> str:
    """Return the Japanese letter of the weekday."""
    return WEEKDAYS[moment.weekday()]


def short_when(moment: datetime, mark: str, party: int) -> str:
    """Return `11月23日(月) 18:30- 2名様`, as subjects have it."""
    return f"{moment.month}月{moment.day}日({weekday(moment)}) {moment:%H:%M}{mark} {party}名様"
