"""One of anymail's backends, made from a URL. It builds requests and reads answers; sending them is ours."""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import structlog
from django.core.mail.backends.base import BaseEmailBackend

from todoku.kernel.errors import ConfigurationError

log = structlog.get_logger(__name__)

_SCHEME = "anymail+"
_PROVIDER = re.compile(r"[a-z][a-z0-9-]{0,39}\Z")  # a scheme holds no underscore: unisender-go
_API_URL = re.compile(
    r"(?:https://[A-Za-z0-9.-]+|http://(?:127\.0\.0\.1|localhost))(?::[0-9]+)?(?:/[A-Za-z0-9./_-]*)?\Z"
)
_OURS = frozenset({"connections"})
_KEY_NAMES = {"postmark": "server_token", "mailersend": "api_token", "mailtrap": "api_token", "scaleway": "secret_key"}


@dataclass(frozen=True, slots=True)
class Provider:
    """A backend of anymail with its settings. name: as in the URL. connections: requests under way at once."""

    name: str
    backend: Any
    connections: int


class _Strict(BaseEmailBackend):
    """Stands below anymail's classes and refuses the settings that none of them has taken."""

    def __init__(self, fail_silently: bool = False, **kwargs: Any) -> None:
        if kwargs:
            raise ConfigurationError(f"it knows no setting {', '.join(sorted(kwargs))}")
        super().__init__(fail_silently=fail_silently)


def open_backend(url: str) -> Provider:
    """Return the provider of anymail+NAME://...; raises ConfigurationError, which repeats no value of the URL."""
    parts = urlsplit(url)
    name = parts.scheme.removeprefix(_SCHEME)
    if not parts.scheme.startswith(_SCHEME) or not _PROVIDER.match(name):
        raise ConfigurationError("a provider's URL is anymail+NAME://KEY@, such as anymail+postmark://TOKEN@")
    if parts.hostname or parts.path.strip("/"):
        raise ConfigurationError(
            f"anymail+{name}:// takes no host: the key stands before an @, other settings after a ?"
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if "api_url" in options and not _API_URL.match(options["api_url"]):
        raise ConfigurationError(f"anymail+{name}://, api_url: it must be https://host/path")
    connections = options.get("connections", "20")
    if not re.fullmatch(r"[1-9][0-9]{0,2}", connections):
        raise ConfigurationError(f"anymail+{name}://, connections: it must be 1-999")
    settings: dict[str, Any] = {option: value for option, value in options.items() if option not in _OURS}
    if parts.username:
        settings[_KEY_NAMES.get(name, "api_key")] = unquote(parts.username)
    if parts.password:
        settings["secret_key"] = unquote(parts.password)
    return Provider(name, _make(name, _class_of(name), settings), int(connections))


def _class_of(name: str) -> type[Any]:
    module = name.replace("-", "_")
    hint = ": use ses://" if name == "amazon-ses" else ""
    try:
        base = importlib.import_module("anymail.backends.base_requests").AnymailRequestsBackend
    except ImportError as error:
        raise ConfigurationError(f"anymail+{name}:// needs django-anymail: pip install 'todoku[anymail]'") from error
    try:
        found: type[Any] = importlib.import_module(f"anymail.backends.{module}").EmailBackend
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"anymail knows no provider {name}, or not over HTTP{hint}") from error
    if not issubclass(found, base):
        raise ConfigurationError(f"anymail's {name} does not send over HTTP requests{hint}")
    return found


def _make(name: str, backend: type[Any], settings: Mapping[str, Any]) -> Any:
    from anymail.exceptions import AnymailConfigurationError

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            made = type(backend.__name__, (backend, _Strict), {})(**settings)
        except AnymailConfigurationError as error:
            missing = re.search(r"'([A-Z0-9_]+)'", str(error))
            words = f"the setting {missing[1].lower()} is missing" if missing else "a setting is missing or wrong"
            raise ConfigurationError(f"anymail+{name}://: {words}") from None
        except ConfigurationError as error:
            raise ConfigurationError(f"anymail+{name}://: {error}") from None
    for warning in caught:
        log.warning("delivery.provider_warns", provider=name, words=str(warning.message))
    return made
