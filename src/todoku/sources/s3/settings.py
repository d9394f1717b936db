"""Where a bucket and its queue are."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, urlsplit

import msgspec

from todoku.kernel.errors import ConfigurationError

_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_REGION: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_URL: Final = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+(?:/[A-Za-z0-9._~/%-]*)?")


class S3Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One bucket, or the part of it below a prefix, and the queue that tells of its mails.

    bucket: "" only with a queue whose notifications are themselves the mails (SES, action SNS). endpoint: "" is Amazon;
    else scheme, host and port of what speaks like S3. queue_url: "" is plain listing. allow_http: without TLS, for
    servers on the same machine and tests: mails travel in the clear, keys never do.
    poll_seconds: between two looks when no queue tells of anything. list_every_seconds: after so long a whole listing
    is due whatever the queue says. visibility_seconds: a notification that was received and is not let go comes again
    after so long. tries: how often a notification without a mail comes before it is let go.
    answer_seconds: of silence, whole_seconds: of one request. ca_pem: authorities to believe instead of the system's.
    """

    bucket: str
    region: str
    prefix: str = ""
    endpoint: str = ""
    queue_url: str = ""
    allow_http: bool = False
    poll_seconds: float = 60.0
    list_every_seconds: float = 600.0
    visibility_seconds: int = 120
    tries: int = 3
    connect_seconds: float = 10.0
    answer_seconds: float = 30.0
    whole_seconds: float = 300.0
    ca_pem: str = ""

    def __post_init__(self) -> None:
        """Refuse what can't be meant; raises ConfigurationError."""
        if self.bucket and not _BUCKET.fullmatch(self.bucket):
            raise ConfigurationError("S3: bucket must be a bucket's name")
        if not self.bucket and not self.queue_url:
            raise ConfigurationError("S3: name a bucket, a queue, or both")
        if not _REGION.fullmatch(self.region):
            raise ConfigurationError("S3: region must be one such as ap-northeast-1")
        self._check_url("endpoint", self.endpoint)
        self._check_url("queue_url", self.queue_url)
        if urlsplit(self.endpoint).path.strip("/"):
            raise ConfigurationError("S3: endpoint must be scheme, host and port, without a path")
        if not 0 <= self.visibility_seconds <= 43_200:
            raise ConfigurationError("S3: visibility_seconds must be 0-43200 (the limit of SQS)")

    def _check_url(self, name: str, url: str) -> None:
        if not url:
            return
        if not _URL.fullmatch(url):
            raise ConfigurationError(f"S3: {name} must be https://host, without user, query and fragment")
        if url.startswith("http:") and not self.allow_http:
            raise ConfigurationError(f"S3: {name} is not encrypted; allow_http is for servers on the same machine")

    @property
    def bucket_url(self) -> str:
        """Return the address of the bucket, without a slash at its end."""
        if self.endpoint:
            return f"{self.endpoint.rstrip('/')}/{self.bucket}"
        host = f"s3.{self.region}.amazonaws.com" + (".cn" if self.region.startswith("cn-") else "")
        if "." in self.bucket:  # Amazon's certificate is for *.s3…, and a star stands for one label (RFC 6125 6.4.3)
            return f"https://{host}/{self.bucket}"
        return f"https://{self.bucket}.{host}"

    def object_url(self, name: str) -> str:
        """Return the address of an object, every octet that means something in a URL encoded."""
        return f"{self.bucket_url}/{quote(name, safe='/~')}"

    @property
    def queue_endpoint(self) -> str:
        """Return where requests to the queue are sent: the root of its host."""
        parts = urlsplit(self.queue_url)
        return f"{parts.scheme}://{parts.netloc}/"
