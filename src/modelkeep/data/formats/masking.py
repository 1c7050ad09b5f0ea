"""What settings may be shown: secrets are known by their names, and by what a URL holds."""

from __future__ import annotations

import re
from typing import Final

SECRETS: Final = frozenset(
    {
        "access_key_id",
        "account_key",
        "bearer_token_command",
        "client_secret",
        "connection_string",
        "custom_auth_header",
        "gdrive_client_secret",
        "oss_key_id",
        "oss_key_secret",
        "passphrase",
        "password",
        "sas_token",
        "secret_access_key",
        "session_token",
        "sse_customer_key",
        "token",
    }
)
"""Options whose value is never shown."""
_NAMES_ONLY: Final = frozenset({"access_key_id", "oss_key_id", "custom_auth_header", "bearer_token_command"})
"""Shown to nobody, but no secret by themselves."""
_HIDDEN: Final = "********"
_SCHEME: Final = re.compile(r"(\w[\w+.-]*://)([^/?#\s]*)(.*)", re.DOTALL)
_QUERY: Final = re.compile(
    r"(?P<key>[?&](?:[^=&#\s]*(?:sig|signature|token|secret|password|credential|key)[^=&#\s]*)=)[^&#\s]+", re.IGNORECASE
)


def masked(option: str, value: str) -> str:
    """Gives an option's value as it may be shown.

    >>> masked("password", "hunter2"), masked("url", "https://me:pw@host/x"), masked("region", "eu")
    ('********', 'https://********@host/x', 'eu')
    """
    return _HIDDEN if option.lower() in SECRETS and value else masked_url(value)


def masked_url(url: str) -> str:
    """Gives a URL without what would let anybody in: a password, a signature, a token.

    >>> masked_url("https://a.blob.core.windows.net/c?sv=1&sig=abc"), masked_url("ssh://me@host/x")
    ('https://a.blob.core.windows.net/c?sv=1&sig=********', 'ssh://me@host/x')
    """
    found = _SCHEME.match(url)
    if found is not None:
        scheme, host, rest = found.groups()
        if "@" not in host and "@" in rest and not host.rpartition(":")[2].isdigit() and ":" in host:
            host, rest = f"{host}{rest}", ""  # a password with a slash in it
        user, at, place = host.rpartition("@")
        if at and (":" in user or scheme.startswith(("http", "webdav"))):
            user = _HIDDEN
        url = f"{scheme}{user}{at}{place}{rest}"
    return _QUERY.sub(rf"\g<key>{_HIDDEN}", url)


def is_secret(key: str, value: str) -> bool:
    """Gives whether a setting's value lets somebody in."""
    if key in SECRETS:
        return bool(value) and key not in _NAMES_ONLY
    return key == "url" and masked_url(value) != value
