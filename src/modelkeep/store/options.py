"""A remote's options: where each is looked for, and which of them nobody may see."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from modelkeep.core.errors import BadInput
from modelkeep.core.secret import NONE, Secret, resolve

_YES: Final = frozenset({"true", "yes", "on", "1"})
_NO: Final = frozenset({"false", "no", "off", "0", ""})


class Options:
    """DVC's options of one remote, with the environment and the keyring behind them.

    Args:
        url: the remote's address, by which the keyring knows its secrets.
        options: as configured.
        environment: of the process.

    >>> options = Options("s3://bucket", {"use_ssl": "false", "secret_access_key": "hunter2"}, {})
    >>> options.flag("use_ssl", default=True), options.secret("secret_access_key"), options
    (False, Secret(***), Options('s3://bucket'))
    """

    def __init__(self, url: str, options: Mapping[str, str], environment: Mapping[str, str] = os.environ) -> None:
        self.url: Final = url
        self._options, self._environment = options, environment

    def __repr__(self) -> str:
        return f"Options({self.url!r})"

    def text(self, name: str, *variables: str, default: str = "") -> str:
        """Gives an option, or the first of these environment variables that is set."""
        found = self._options.get(name, "")
        return found or next((self._environment[one] for one in variables if self._environment.get(one)), default)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Gives an option that is true or false.

        Raises:
            BadInput: it is neither.
        """
        text = self._options.get(name, "")
        if not text:
            return default
        if text.lower() in _YES | _NO:
            return text.lower() in _YES
        raise BadInput(f"{name}: {text!r} is neither true nor false", hint=f"modelkeep remote modify NAME {name} true")

    def number(self, name: str, default: int, *, least: int = 1) -> int:
        """Gives an option that is a whole number.

        Raises:
            BadInput: it is none, or too small.
        """
        text = self._options.get(name, "")
        try:
            found = int(float(text)) if text else default
        except (ValueError, OverflowError):
            found = least - 1
        if found < least:
            raise BadInput(f"{name}: {text!r} is no number from {least} on", hint=f"Set {name} to a whole number.")
        return found

    def secret(self, name: str, *variables: str) -> Secret:
        """Gives a secret: the option itself or the one that it names, the environment's, or the keyring's.

        The keyring is asked for the service `modelkeep:URL` and the option's name, if the package `keyring` is there.

        Raises:
            Missing: the option names a secret that is nowhere.
        """
        text = self.text(name, *variables)
        return resolve(text) if text else self.keyring(name)

    def keyring(self, name: str) -> Secret:
        """Gives a secret of the system's keyring; an empty one when there is none."""
        if self._environment.get("PYTHON_KEYRING_BACKEND", "").endswith(".null.Keyring"):
            return NONE
        try:
            from keyring import get_password
            from keyring.errors import KeyringError
        except ImportError:
            return NONE
        try:
            return Secret(get_password(f"modelkeep:{self.url}", name) or "")
        except KeyringError:  # a locked or absent keyring: whatever else there is decides
            return NONE

    def authority(self) -> bytes | None:
        """Gives the certificates that `ssl_verify` names, as PEM; None to trust what the system trusts.

        Raises:
            BadInput: the file cannot be read.
        """
        text = self._options.get("ssl_verify", "")
        if text.lower() in _YES | _NO:
            return None
        try:
            return Path(text).expanduser().read_bytes()
        except OSError as error:
            raise BadInput(
                f"ssl_verify: {text}: {error.strerror}", hint="Name a PEM file, or write true or false."
            ) from None

    @property
    def verifies(self) -> bool:
        """Whether TLS certificates are checked; only `ssl_verify = false` says no."""
        return self._options.get("ssl_verify", "").lower() not in _NO - {""}
