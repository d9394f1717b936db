"""Providers: any mail service that django-anymail knows, over its HTTP API.

Purpose     let campaigns leave through Postmark, Mailgun, Brevo, Mailjet, Resend, ... with the same books as by SMTP.
Reads       the provider's settings from the transport's URL.
Writes      the provider's API.
Guarantees  one request a message, never repeated, no redirect followed; `about_to_complete` before its last octet is
            written; what the provider did not clearly answer is UNKNOWN. Mailgun gets our MIME as it is; the others get
            its parts: From, To, Subject, Reply-To, both bodies, Message-ID and all other headers of ours.
Settings    TODOKU_RELAY_URL = anymail+postmark://SERVER_TOKEN@  anymail+mailgun://API_KEY@?sender_domain=mg.shop.example
            anymail+mailjet://API_KEY:SECRET_KEY@  and each setting of anymail's backend as ?name=value in small letters
Known limits  knows Django, because anymail does, so it stands beside `transports`; providers write their own Date and
            sign by themselves, so our DKIM signature is left out; no attachments.
"""

from todoku.delivery.providers.transport import AnymailTransport, open_provider

__all__ = ["AnymailTransport", "open_provider"]
