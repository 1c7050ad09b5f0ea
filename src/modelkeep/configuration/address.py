"""The address of a source: `scheme://user:password@host:port/path?option=value#fragment`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from modelkeep.configuration.secrecy import mask_url
from modelkeep.core.errors import BadInput


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """The parts of a source's address.

    Args:
        scheme: in lower case, without what follows a plus.
        host: empty where there is none.
        port: 0 where there is none.
        path: without slashes at its ends.
        options: what follows the question mark.
        fragment: what follows the hash sign.
    """

    scheme: str
    host: str
    port: int
    user: str
    password: str
    path: str
    options: dict[str, str]
    fragment: str
    shown: str

    @classmethod
    def parse(cls, text: str, options: Collection[str] = ()) -> Address:
        """Takes an address apart.

        Args:
            text: the address.
            options: the options that the source knows.

        Raises:
            BadInput: the port is no number, or an option is unknown.

        >>> address = Address.parse("consul://127.0.0.1:8500/app/eu?dc=one", ["dc"])
        >>> address.host, address.port, address.path, address.options
        ('127.0.0.1', 8500, 'app/eu', {'dc': 'one'})
        """
        shown = mask_url(text).partition("?")[0]
        try:
            split = urlsplit(text)
            port = split.port or 0
        except ValueError as error:
            raise BadInput(f"{shown}: {error}", hint="Write scheme://host:port/path.") from None
        given = dict(parse_qsl(split.query, keep_blank_values=True))
        unknown = sorted(set(given) - set(options))
        if unknown:
            known = ", ".join(sorted(options)) or "none"
            raise BadInput(f"{shown}: there is no option {unknown[0]!r}", hint=f"Options here: {known}.")
        return cls(
            scheme=split.scheme.partition("+")[0].lower(),
            host=split.hostname or "",
            port=port,
            user=unquote(split.username or ""),
            password=unquote(split.password or ""),
            path=unquote(split.path).strip("/"),
            options=given,
            fragment=unquote(split.fragment),
            shown=shown,
        )

    def __repr__(self) -> str:
        return f"Address({self.shown})"
