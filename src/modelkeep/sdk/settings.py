"""What the environment says about sending."""

from __future__ import annotations

import math
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

_ROLES: Final = {"live", "shadow", "canary"}
_OFF: Final = {"", "0", "false", "no", "off"}
_MEGABYTE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """How this process sends.

    Args:
        url: the server's address; empty: every call is a no-op.
        token: sent as a bearer token.
        spool: folder that holds what could not be sent yet.
        spool_bytes: quota of that folder; beyond it the oldest is dropped and counted.
        buffer_rows: calls that may wait in memory; beyond it the newest is dropped and counted.
        service: name of the program, on its logs and resource samples.
        exit_s: how long the end of the process may wait for the server.
        model_version: version of predictions that name none.
        data_version: version of the training data, or the path of a `.dvc` file that names it.
        config_version: version of the configuration.
        role: live, shadow or canary: whether users get the answers, see `sdk.roles`.
        patch: whether changes that are not committed are told with a release.
    """

    url: str = ""
    token: str = ""
    spool: Path = Path()
    spool_bytes: int = 512 * _MEGABYTE
    buffer_rows: int = 50_000
    service: str = ""
    exit_s: float = 5.0
    model_version: str = ""
    data_version: str = ""
    config_version: str = ""
    role: str = "live"
    patch: bool = True

    @property
    def on(self) -> bool:
        """Whether anything is sent at all."""
        return bool(self.url)


def read(environ: Mapping[str, str] | None = None) -> Settings:
    """Gives the settings of the environment; what cannot be read falls back to its default.

    >>> read({"MODELKEEP_URL": "http://127.0.0.1:7300", "MODELKEEP_BUFFER": "many"}).buffer_rows
    50000
    >>> read({"MODELKEEP_URL": "http://127.0.0.1:7300", "MODELKEEP_DISABLED": "1"}).on
    False
    """
    given = os.environ if environ is None else environ
    url = given.get("MODELKEEP_URL", "").strip().rstrip("/")
    if given.get("MODELKEEP_DISABLED", "").lower() not in _OFF or not _is_http(url):
        url = ""
    spool = given.get("MODELKEEP_SPOOL", "")
    return Settings(
        url=url,
        token=given.get("MODELKEEP_TOKEN", "").strip(),
        spool=Path(spool) if spool else _cache(given) / "modelkeep" / "spool",
        spool_bytes=_number(given, "MODELKEEP_SPOOL_BYTES", 512 * _MEGABYTE),
        buffer_rows=_number(given, "MODELKEEP_BUFFER", 50_000),
        service=given.get("MODELKEEP_SERVICE", "") or Path(sys.argv[0] if sys.argv else "").stem or "python",
        exit_s=_seconds(given, "MODELKEEP_EXIT_S", 5.0),
        model_version=given.get("MODELKEEP_MODEL_VERSION", ""),
        data_version=given.get("MODELKEEP_DATA_VERSION", ""),
        config_version=given.get("MODELKEEP_CONFIG_VERSION", ""),
        role=role if (role := given.get("MODELKEEP_ROLE", "").strip().lower()) in _ROLES else "live",
        patch=(given.get("MODELKEEP_PATCH", "").strip().lower() or "1") not in _OFF,
    )


def host() -> str:
    """The machine's name, or `unknown`."""
    try:
        return socket.gethostname() or "unknown"
    except OSError:
        return "unknown"


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _number(given: Mapping[str, str], name: str, default: int) -> int:
    try:
        return max(0, int(float(given.get(name, "") or default)))
    except (ValueError, OverflowError):
        return default


def _seconds(given: Mapping[str, str], name: str, default: float) -> float:
    try:
        found = float(given.get(name, "") or default)
    except ValueError:
        return default
    return max(0.0, found) if math.isfinite(found) else default


def _cache(given: Mapping[str, str]) -> Path:
    if os.name == "nt":
        return Path(given.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path(given.get("HOME") or "/tmp") / "Library" / "Caches"  # noqa: S108
    return Path(given.get("XDG_CACHE_HOME") or Path(given.get("HOME") or "/tmp") / ".cache")  # noqa: S108
