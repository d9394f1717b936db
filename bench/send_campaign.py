"""What bench/send.py sends: one campaign of a restaurant, about 4 KB of HTML and text, personalised in five places."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

PROJECT_ID = "bench"
SENDER_ADDRESS = "shop@todoku.example"
SUBJECT = "{{ guest_name }} 様へ、秋のお席のご案内"
STYLE = (
    "body{margin:0;background:#f6f3ee;color:#222;font-family:sans-serif;line-height:1.8}"
    "main{max-width:36em;margin:auto;padding:2em;background:#fff}h1{font-size:1.3em}"
    ".button{display:inline-block;padding:.8em 2em;background:#a33;color:#fff;text-decoration:none}"
    "footer{margin-top:3em;font-size:.85em;color:#777}"
)
PARAGRAPH = (
    "<p>朝晩の風が涼しくなってまいりました。料理長が市場で選んだ秋の食材を、炭火でゆっくりと焼き上げます。"
    "きのこの土瓶蒸し、戻り鰹の藁焼き、新米の釜炊きごはんなど、この季節だけの献立をご用意してお待ちしております。"
    "個室のお席もございますので、ご家族でのお集まりにもどうぞご利用ください。</p>\n"
)
HTML = (
    "<!doctype html><html lang=ja><head><meta charset=utf-8><title>秋のご案内</title>"
    f"<style>{STYLE}</style></head><body><main><h1>{{{{ guest_name }}}} 様</h1>\n"
    "<p>いつも {{ shop_name }} をご利用いただき、ありがとうございます。"
    "次は {{ visits }} 回目のご来店ですね。</p>\n"
    + PARAGRAPH
    * 5
    + '<p><a class=button href="https://todoku.example/r?g={{ visits }}">{{ guest_name }} 様のお席を予約する</a></p>\n'
    "<footer>{{ sender_name }}<br>{{ postal_address }}<br>{{ contact }}<br>"
    '<a href="{{ unsubscribe_url }}">配信停止</a></footer></main></body></html>\n'
)
TEXT = (
    "{{ guest_name }} 様\n\nいつもありがとうございます。{{ visits }} 回目のご来店をお待ちしております。\n"
    "{{ sender_name }} {{ postal_address }} {{ contact }}\n配信停止: {{ unsubscribe_url }}\n"
)


def draft() -> Any:
    """Return an order that is due now."""
    from todoku.delivery.types import RunOrder
    from todoku.kernel.clock import SystemClock
    from todoku.kernel.ids import new_id

    now_utc = SystemClock().now_utc()
    return RunOrder(
        project_id=PROJECT_ID,
        run_id=str(new_id()),
        seal=1,
        state="sealed",
        due_at_utc=now_utc,
        latest_finish_at_utc=now_utc + timedelta(hours=6),
        subject_template=SUBJECT,
        html_template=HTML,
        text_template=TEXT,
        sender_name="とどく食堂",
        sender_address=SENDER_ADDRESS,
        reply_to="contact@todoku.example",
        unsubscribe_base_url="https://todoku.example/u/",
        batches=0,
        to_send=0,
        not_sendable=0,
        content_hash="",
    )


def audience(messages: int) -> Iterator[Any]:
    """Yield the recipients as a planner would."""
    from todoku.delivery.types import SealChunk
    from todoku.kernel.ids import new_id

    for first in range(0, messages, 500):
        numbers = range(first, min(first + 500, messages))
        yield SealChunk([_recipient(number, str(new_id())) for number in numbers])


def _recipient(number: int, guest_id: str) -> Any:
    from todoku.delivery.types import Recipient

    name = f"見本 {number} 郎"
    values = {
        "guest_name": name,
        "shop_name": "とどく食堂 渋谷店",
        "visits": number % 20,
        "sender_name": "とどく食堂",
        "postal_address": "東京都架空区見本町1-2-3",
        "contact": "03-0000-0000",
        "unsubscribe_url": f"https://todoku.example/u/{number:060d}",
    }
    return Recipient(0, guest_id, f"guest.{number}@example.com", name, values)


def message_bytes(order: Any) -> int:
    """Return how long one message is."""
    from todoku.content.rendering import make_renderer
    from todoku.delivery.engine.preparing import MessageMaker
    from todoku.kernel.clock import SystemClock

    renderer = make_renderer(order.subject_template, order.html_template, order.text_template)
    prepared = MessageMaker(order, renderer).make(0, _recipient(7, ""), SystemClock().now_utc(), eight_bit=True)
    return len(prepared.content)
