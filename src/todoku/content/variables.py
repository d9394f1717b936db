"""The names that a template may use, and what a message must show by law."""

from __future__ import annotations

from todoku.content.types import Variable

_ALL = (
    Variable("guest_name", "お客様のお名前。わからないときは空", "The guest's name; empty when unknown", "山田 花子"),
    Variable(
        "shop_name", "最後にご来店の店舗名。ないときは空", "The shop last visited; empty when none", "とどく食堂 渋谷店"
    ),
    Variable("visits", "ご来店の回数（数値）", "How many times the guest came (a number)", 3),
    Variable(
        "last_visit_on",
        "最後のご来店日（例 2026-11-03）。ないときは空",
        "Day of the last visit as 2026-11-03; empty when none",
        "2026-11-03",
    ),
    Variable(
        "last_visit_on_ja",
        "最後のご来店日（例 2026年11月3日）。ないときは空",
        "Day of the last visit as 2026年11月3日; empty when none",
        "2026年11月3日",
    ),
    Variable("project_name", "お店・グループの名前", "Name of the business", "とどく食堂グループ"),
    Variable("sender_name", "差出人の名称（法定表示）", "Name of the sender (asked for by law)", "とどく食堂"),
    Variable("postal_address", "住所（法定表示）", "Postal address (asked for by law)", "東京都架空区見本町1-2-3"),
    Variable(
        "contact",
        "問い合わせ先：電話・メールなど（法定表示）",
        "Where to complain: phone or mail (asked for by law)",
        "03-0000-0000",
    ),
    Variable(
        "unsubscribe_url",
        "配信停止ページのURL。HTMLとテキストの両方に必要",
        "Address of the page for opting out; needed in HTML and in text",
        "https://mail.todoku.example/u/sample",
    ),
)

VARIABLES: dict[str, Variable] = {variable.name: variable for variable in _ALL}
SAMPLE_VALUES: dict[str, str | int] = {variable.name: variable.sample for variable in _ALL}

# Act on Regulation of Transmission of Specified Electronic Mail (Japan), articles 3-3 and 4, rule 9: an advertisement
# shows who sends it, where they live, where to complain and how to stop it.
REQUIRED_IN_BODY = ("sender_name", "postal_address", "contact", "unsubscribe_url")
