"""Amazon SES: hand messages to the SendEmail call of its API v2 as they were composed.

Purpose     send through SES without an SMTP password, many requests at once.
Reads       AWS credentials where botocore finds them: environment, profile, container, instance.
Writes      SES.
Guarantees  our MIME as it is (Raw), one recipient a request; `about_to_complete` before the last octet of the request
            is written; no answer after that is UNKNOWN; requests are never repeated here.
Settings    ses://REGION?configuration_set=NAME&connections=50&rate=14&profile=NAME&endpoint=https://HOST
Known limits  SES writes its own Date and Message-ID and signs by itself (Easy DKIM), so our signature is left out.
"""

from todoku.delivery.transports.ses.options import SesOptions, read_ses_url
from todoku.delivery.transports.ses.transport import SesTransport

__all__ = ["SesOptions", "SesTransport", "read_ses_url"]
