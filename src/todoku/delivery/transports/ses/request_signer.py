"""AWS Signature Version 4, by botocore: its credentials and its signer, nothing else of it."""

from __future__ import annotations

import asyncio
from typing import Any

from todoku.delivery.errors import NoCredentials
from todoku.kernel.errors import ConfigurationError


class RequestSigner:
    """Sign requests to SES in one region. Credentials are looked for at the first request, and renewed by botocore."""

    def __init__(self, region: str, profile: str) -> None:
        """Prepare; raises ConfigurationError when botocore is not installed."""
        try:
            import botocore.auth
            import botocore.awsrequest
            import botocore.exceptions
            import botocore.session
        except ImportError as error:
            raise ConfigurationError("ses:// needs botocore: pip install 'todoku[ses]'") from error
        self._botocore: Any = botocore
        self._region = region
        self._profile = profile
        self._credentials: Any = None

    async def headers(self, method: str, url: str, body: bytes) -> dict[str, str]:
        """Return all headers of the request with its signature; raises NoCredentials."""
        credentials = await asyncio.to_thread(self._current) if self._must_wait() else self._current()
        request = self._botocore.awsrequest.AWSRequest(
            method=method, url=url, data=body, headers={"Content-Type": "application/json"}
        )
        self._botocore.auth.SigV4Auth(credentials, "ses", self._region).add_auth(request)
        return {**request.headers}

    def _must_wait(self) -> bool:
        """Tell whether asking for the credentials may read files or talk to somebody."""
        needed = getattr(self._credentials, "refresh_needed", None)
        return self._credentials is None or bool(needed and needed())

    def _current(self) -> Any:
        exceptions = self._botocore.exceptions
        try:
            if self._credentials is None:
                session = self._botocore.session.Session(profile=self._profile or None)
                self._credentials = session.get_credentials()
            if self._credentials is None:
                raise NoCredentials("no AWS credentials were found", todo="set AWS_PROFILE or AWS_ACCESS_KEY_ID")
            return self._credentials.get_frozen_credentials()
        except (exceptions.BotoCoreError, exceptions.ClientError) as error:
            raise NoCredentials(f"AWS credentials: {error}") from error
