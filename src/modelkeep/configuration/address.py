"""The address of a source: `scheme://user:password@host:port/path?option=value#fragment`."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from modelkeep.configuration.secrecy import MASK, is_secret, mask_url
from modelkeep.core.errors import BadInput
from modelkeep.core.secret import NONE, Secret

_YES: Final = frozenset({"1", "true", "yes", "on"})
_HOST: Final = re.compile(r"(?:\[[^\[\]]*\]|[^:\[\]]*)(?::[0-9]*)?\Z")


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """The parts of a source's address.

    Args:
        scheme: in lower case, without what follows a plus.
        host: empty where there is none.
        port: 0 where there is none.
        user: empty where there is none.
        password: empty where there is none.
        path: without slashes at its ends.
        options: what follows the question mark, but for what is named like a secret.
        secrets: the options that are named like one, `token`.
        shown: the address as people see it, without credentials and options.
    """

    scheme: str
    host: str
    port: int
    user: str
    password: Secret
    path: str
    options: Mapping[str, str]
    secrets: Mapping[str, Secret]
    shown: str

    @classmethod
    def parse(cls, text: str, options: Collection[str] = ()) -> Address:
        """Takes an address apart.

        Args:
            text: the address.
            options: the options that the source knows.

        Raises:
            BadInput: the host or port is wrong, or an option is unknown.

        >>> address = Address.parse("consul://127.0.0.1:8500/app/eu?dc=one", ["dc"])
        >>> address.host, address.port, address.path, address.options
        ('127.0.0.1', 8500, 'app/eu', {'dc': 'one'})
        """
        try:
            split = urlsplit(text)
            port = split.port or 0
        except ValueError:
            hint = "Write scheme://user:password@host:port/path; / and @ in a password are %2F and %40."
            raise BadInput(f"{shown(text)}: no such address", hint=hint) from None
        given = dict(parse_qsl(split.query, keep_blank_values=True))
        refuse_unknown(given, options, shown(text))
        return cls(
            scheme=split.scheme.partition("+")[0].lower(),
            host=split.hostname or "",
            port=port,
            user=unquote(split.username or ""),
            password=Secret(unquote(split.password or "")),
            path=unquote(split.path).strip("/"),
            options={name: value for name, value in given.items() if not is_secret(name)},
            secrets={name: Secret(value) for name, value in given.items() if is_secret(name)},
            shown=shown(text),
        )

    def secret(self, name: str) -> Secret:
        """Gives an option that is named like a secret; an empty one where it is not given."""
        return self.secrets.get(name, NONE)

    def flag(self, name: str) -> bool:
        """Says whether an option is switched on: `tls=1`."""
        return self.options.get(name, "").lower() in _YES

    def seconds(self, name: str, default: float) -> float:
        """Gives an option that is a time; see `seconds`."""
        return seconds(self.options.get(name, ""), default, f"{self.shown}: {name}")

    def __repr__(self) -> str:
        return f"Address({self.shown})"


def shown(text: str) -> str:
    """Gives an address as people see it: without password, options and fragment; where it is unclear, without more.

    >>> shown("redis://ann:p@ss@host/0/app?token=x"), shown("zk://ann:pw@a:1,b:2/app#x")
    ('redis://ann:***@host/0/app', 'zk://ann:***@a:1,b:2/app')
    >>> shown("redis://ann:pass/word@host/0"), shown("https://token@host/app.yaml")
    ('redis://***', 'https://***@host/app.yaml')
    """
    scheme, sign, rest = text.partition("://")
    if not sign:
        return mask_url(re.split(r"[?#]", text, maxsplit=1)[0])
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    path = re.split(r"[?#]", rest[len(authority) :], maxsplit=1)[0]
    login, at, hosts = authority.rpartition("@")
    if not all(_HOST.match(host) for host in hosts.split(",")) or (":" in authority and "@" in rest[len(authority) :]):
        return f"{scheme}://{MASK}"  # perhaps a password with signs that part an address: nobody knows where it ends
    user, colon, _ = login.partition(":")
    if scheme.lower() in {"http", "https"} and at and not colon:
        user = MASK  # a token in the place of a user
    return f"{scheme}://{user}{f':{MASK}' if colon else ''}{at}{hosts}{path}"


def refuse_unknown(given: Collection[str], known: Collection[str], name: str) -> None:
    """Refuses options that a source does not have.

    Raises:
        BadInput: there is one.
    """
    unknown = sorted(set(given) - set(known))
    if unknown:
        unclear = name.endswith(MASK) or any(is_secret(one) for one in given)  # it may be a part of a password
        what = "" if unclear else f" {unknown[0]!r}"
        raise BadInput(f"{name}: there is no option{what}", hint=f"Options: {', '.join(sorted(known))}.")


def seconds(text: str, default: float, what: str) -> float:
    """Gives a time that was written as text.

    Raises:
        BadInput: it is no number, or not above 0.

    >>> seconds("2.5", 10, "poll"), seconds("", 10, "poll")
    (2.5, 10)
    """
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise BadInput(f"{what}: {text!r} is no time in seconds", hint="Write a number above 0.")
    return value
