"""Where SES is, read from a URL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from todoku.kernel.errors import ConfigurationError

_KNOWN = frozenset({"configuration_set", "connections", "rate", "profile", "endpoint"})
_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-[0-9]\Z")
_SET = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_ENDPOINT = re.compile(r"(?:https://[A-Za-z0-9.-]+|http://(?:127\.0\.0\.1|localhost))(?::[0-9]+)?/?\Z")


@dataclass(frozen=True, slots=True)
class SesOptions:
    """One region's SES. rate_per_second: of this process, 0 = no limit of ours. profile: "" = the usual one."""

    region: str
    configuration_set: str = ""
    connections: int = 50
    rate_per_second: float = 0.0
    profile: str = ""
    endpoint: str = ""

    @property
    def origin(self) -> str:
        """Return scheme and host of the API."""
        if self.endpoint:
            return self.endpoint.rstrip("/")
        suffix = "amazonaws.com.cn" if self.region.startswith("cn-") else "amazonaws.com"
        return f"https://email.{self.region}.{suffix}"


def read_ses_url(url: str) -> SesOptions:
    """Read ses://REGION?...; raises ConfigurationError, which repeats no user name, secret or value of an option."""
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ConfigurationError("ses:// takes no keys: put them where AWS tools look (environment, profile, role)")
    if parts.path.strip("/") or not _REGION.match(parts.netloc):
        raise ConfigurationError("ses:// must be followed by an AWS region, such as ses://ap-northeast-1")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := options.keys() - _KNOWN:
        raise ConfigurationError(f"ses:// has {len(unknown)} unknown option(s); known are {', '.join(sorted(_KNOWN))}")
    return SesOptions(
        region=parts.netloc,
        configuration_set=_match(options, "configuration_set", _SET, "letters, digits, - and _"),
        connections=int(_number(options, "connections", 50, 1, 1_000)),
        rate_per_second=_number(options, "rate", 0, 0, 100_000),
        profile=_match(options, "profile", re.compile(r"[^\x00-\x1f]{1,100}\Z"), "a profile's name"),
        endpoint=_match(options, "endpoint", _ENDPOINT, "https://host, or http://127.0.0.1:port"),
    )


def _match(options: Mapping[str, str], name: str, pattern: re.Pattern[str], words: str) -> str:
    value = options.get(name, "")
    if value and not pattern.match(value):
        raise ConfigurationError(f"ses://, {name}: it must be {words}")
    return value


def _number(options: Mapping[str, str], name: str, usual: float, least: float, most: float) -> float:
    text = options.get(name, str(usual))
    if not re.fullmatch(r"[0-9]{1,6}(?:\.[0-9]{1,3})?", text) or not least <= float(text) <= most:
        raise ConfigurationError(f"ses://, {name}: it must be a number of {least:g}-{most:g}")
    return float(text)
