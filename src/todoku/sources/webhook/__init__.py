"""Webhooks: mail providers that hand booking mails over by a call (SendGrid, Postmark, Mailgun, Amazon SES over SNS).

Purpose     take the calls of providers; the octets come through `todoku.api.inbound`.
Reads       a WebhookBook: whose token an address holds, and by which secrets a call is proven.
Writes      through ArrivalWriter; the book is told which secret proved a call, and which call none did.
Guarantees  - 200 only after vault and bus have the mail; it is the raw mail, octet by octet, where the provider sends
              that, and else one that is made of its pieces, always the same, marked by the header X-Todoku-Rebuilt.
            - a POST is answered by 200 or 503, never by 3xx or 4xx: SendGrid drops a mail at once after a 4xx, Postmark
              gives up after 403, Mailgun after 406, SNS after any 4xx. So a wrong secret or token of ours is an outage
              that a person can end in time, not a loss.
            - a call that can't be read is kept as it came and ends as an unreadable mail; when it is not proven either,
              under `_unrouted`. A call with a false proof is kept nowhere, counted, and told to the book.
            - cursor: the provider's own name for the mail where it gives one (Postmark MessageID, SES messageId), else
              a hash of the mail and its envelope, not of the call; so a repetition has the same. It makes a second
              Arrival only when another process took the first one, with the same vault key.
            - no database; certificates and confirmations only from sns.<region>.amazonaws.com.
Settings    none.
Limits      64 MB a call (Postmark 112 MB), 256 MB of calls at once. SNS tries for an hour only: its subscription needs
            a dead-letter queue, or the receipt rule the action S3 and a source of that kind. A signature of Mailgun
            does not cover the mail: it counts for 24 hours, and for one mail in each process.
"""

from todoku.sources.webhook.book import MemoryBook, new_token
from todoku.sources.webhook.reception import Reception
from todoku.sources.webhook.types import Answer, Call, Provider, WebhookBook, WebhookPlace

__all__ = ["Answer", "Call", "MemoryBook", "Provider", "Reception", "WebhookBook", "WebhookPlace", "new_token"]
