"""S3: mails that Amazon SES, or whoever else, writes as objects into a bucket; SQS may tell of each at once.

Purpose     import each object of a bucket below a prefix, and each mail that SES puts into a notification.
Reads       ListObjectsV2 and GetObject of S3 and of what speaks like it; ReceiveMessage of SQS.
Writes      DeleteMessageBatch of SQS. The bucket is never written to: s3:ListBucket, s3:GetObject, sqs:ReceiveMessage
            and sqs:DeleteMessage are all that the key needs.
Guarantees  - a mail's key is object key and ETag: an object that is written again with other bytes is another mail.
            - the listing is the truth. A notification that is lost, late, doubled or wrong costs time, never a mail.
            - a notification is deleted after its mail has arrived or was known; after a crash it comes again.
            - a listing that does not come to its end is no listing, a body that is cut is no mail.
            - memory is one page of a listing, and 100 notifications.
Settings    `settings.S3Settings`; credentials of the kinds STATIC_KEY and SESSION_KEY.
Limits      left out: names that end with "/" and AMAZON_SES_SETUP_NOTIFICATION, which SES leaves at set-up. Objects
            encrypted at the client are kept as they are. Whoever may write to bucket or queue may bring mails: what
            is believed is decided later, by DKIM. Without a bucket there is nothing to count against: prefer S3.
"""

from todoku.sources.s3.settings import S3Settings
from todoku.sources.s3.source import S3Source

__all__ = ["S3Settings", "S3Source"]
