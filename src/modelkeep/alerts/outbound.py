"""The one door through which alerts leave: addresses are resolved, checked and pinned before anything connects."""

from __future__ import annotations

import base64
import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import unquote, urlsplit

from modelkeep.core.errors import BadInput, Busy, Denied, Unreachable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Sequence[str]]

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_RETRY: Final = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Answer:
    """What the other side said.

    Args:
        status: the HTTP status.
        body: at most the door's limit of bytes.
    """

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes: a name for TLS and the Host header, and the checked address to connect to."""

    scheme: str
    host: str
    port: int
    address: str
    path: str
    authorization: str


def addresses(host: str, port: int) -> list[str]:
    """Gives the addresses of a host, by the system's resolver.

    Raises:
        Unreachable: the name has no address now.

    >>> addresses("127.0.0.1", 80)
    ['127.0.0.1']
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"{host}: no address: {error}", hint="Check the name and the resolver.") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def inner(address: Address) -> Address:
    """Gives the IPv4 address that an IPv6 address carries (mapped, 6to4, NAT64, Teredo), or the address itself.

    >>> inner(ipaddress.ip_address("::ffff:169.254.169.254"))
    IPv4Address('169.254.169.254')
    """
    if isinstance(address, ipaddress.IPv4Address):
        return address
    carried = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
    if carried is None and address in _NAT64:
        carried = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return carried or address


def public(address: Address) -> bool:
    """Whether an address is somebody else's on the open network: not private, loopback, link-local or multicast.

    >>> [public(ipaddress.ip_address(text)) for text in ("9.9.9.9", "10.0.0.1", "100.64.0.1", "::1", "224.0.0.1")]
    [True, False, False, False, False]
    """
    address = inner(address)
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


@dataclass(frozen=True)
class Outbound:
    """Checks and posts.

    Args:
        allow: networks (`10.0.0.0/8`), addresses or host names (`hooks.internal`, `.internal` for all below it)
            that may be reached although they are not public.
        timeout_s: limit for each wait on the socket and for the whole request.
        limit_bytes: no more of an answer is read.
        resolve: gives a host's addresses.

    >>> Outbound().check("127.0.0.1", 80)
    Traceback (most recent call last):
    ...
    modelkeep.core.errors.Denied: 127.0.0.1 (127.0.0.1) is not a public address
    >>> Outbound(allow=("127.0.0.0/8",)).check("127.0.0.1", 80)
    '127.0.0.1'
    """

    allow: tuple[str, ...] = ()
    timeout_s: float = 10.0
    limit_bytes: int = 65_536
    resolve: Resolve = addresses
    _networks: tuple[Network, ...] = field(init=False, repr=False, default=())
    _hosts: tuple[str, ...] = field(init=False, repr=False, default=())

    def __post_init__(self) -> None:
        networks, hosts = [], []
        for text in self.allow:
            try:
                networks.append(ipaddress.ip_network(text, strict=False))
            except ValueError:
                if "/" in text or not text.strip("."):
                    raise BadInput(f"alerts.allow: {text!r} is neither a network nor a host") from None
                hosts.append(text.lower())
        object.__setattr__(self, "_networks", tuple(networks))
        object.__setattr__(self, "_hosts", tuple(hosts))

    def check(self, host: str, port: int) -> str:
        """Gives the address to connect to.

        Raises:
            Denied: no address of the host may be reached.
            Unreachable: the host has no address.
        """
        host = host.rstrip(".").lower()
        found = self.resolve(host, port)
        named = any(host == entry or (entry[0] == "." and host.endswith(entry)) for entry in self._hosts)
        for text in found:
            if named or self._open(ipaddress.ip_address(text.partition("%")[0])):
                return text
        raise Denied(
            f"{host} ({', '.join(found)}) is not a public address",
            hint="If alerts shall go there, name it in alerts.allow.",
        )

    def target(self, url: str) -> Target:
        """Gives where a URL leads, checked.

        Raises:
            BadInput: not an http or https URL.
            Denied: its address may not be reached.
            Unreachable: its host has no address.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            raise BadInput("the address is not a URL", hint="Write it like https://host/path.") from None
        bad = any(ord(letter) <= 32 or ord(letter) == 127 for letter in url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or bad:
            raise BadInput("the address is not an http or https URL", hint="Write it like https://host/path.")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        authorization = ""
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = "Basic " + base64.b64encode(pair.encode()).decode()
        return Target(parts.scheme, parts.hostname, port, self.check(parts.hostname, port), path, authorization)

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Posts and gives the answer, when it is a 2xx. Redirects are not followed.

        Args:
            url: http or https.
            body: what is sent.
            headers: with its Content-Type.

        Raises:
            BadInput: the other side refuses this message (3xx, 4xx): sending it again would not help.
            Busy: 429, or 503 with Retry-After.
            Denied: the address may not be reached.
            Unreachable: no answer, a time-out, 408, 425 or 5xx.
        """
        target = self.target(url)
        extra = {"Authorization": target.authorization} if target.authorization else {}
        connection = _Pinned(target, self.timeout_s)
        try:
            connection.request("POST", target.path, body, {**extra, **headers})
            response = connection.getresponse()
            answer = Answer(response.status, _read(response, self.limit_bytes, self.timeout_s))
            after = response.getheader("Retry-After")
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{target.host}:{target.port}: {_reason(error)}") from None
        finally:
            connection.close()
        judge(f"{target.host}:{target.port}", answer, after)
        return answer

    def _open(self, address: Address) -> bool:
        carried = inner(address)
        return public(address) or any(address in network or carried in network for network in self._networks)


CLOSED: Final = Outbound()
"""The door with nothing allowed but public addresses."""


def judge(who: str, answer: Answer, retry_after: str | None) -> None:
    """Turns an answer's status into an error, unless it is a 2xx.

    Raises:
        BadInput, Busy, Unreachable: as `Outbound.post` says.
    """
    if 200 <= answer.status < 300:
        return
    said = " ".join(answer.body[:200].decode("utf-8", "replace").split())
    message = f"{who} answered {answer.status}" + (f": {said}" if said else "")
    wait_s = seconds(retry_after)
    if answer.status == 429 or (answer.status == 503 and wait_s is not None):
        raise Busy(message, retry_after_s=wait_s or 1.0)
    if answer.status in _RETRY or answer.status >= 500:
        raise Unreachable(message)
    hint = "Configure the address it redirects to." if 300 <= answer.status < 400 else "Mend the channel's settings."
    raise BadInput(message, hint=hint)


def seconds(retry_after: str | None, *, now_s: float | None = None) -> float | None:
    """Gives a Retry-After header in seconds from now, or None when there is none that can be read.

    Args:
        retry_after: seconds, or an HTTP date.
        now_s: unix seconds; the machine's clock when left out.

    >>> seconds("120"), seconds("Thu, 01 Jan 1970 00:01:00 GMT", now_s=30.0), seconds("soon")
    (120.0, 30.0, None)
    """
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:9]), 86_400))
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(0.0, moment - (time.time() if now_s is None else now_s)), 86_400.0)


class _Pinned(http.client.HTTPConnection):
    """A connection to the checked address, whatever the name resolves to by now."""

    def __init__(self, target: Target, timeout_s: float) -> None:
        super().__init__(target.host, target.port, timeout=timeout_s)
        self._target = target
        self.default_port = 443 if target.scheme == "https" else 80

    def connect(self) -> None:
        plain = socket.create_connection((self._target.address, self._target.port), self.timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = plain
        if self._target.scheme == "https":
            self.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=self._target.host)


def _read(response: http.client.HTTPResponse, limit_bytes: int, timeout_s: float) -> bytes:
    until, body = time.monotonic() + timeout_s, b""
    while len(body) < limit_bytes and (more := response.read1(limit_bytes - len(body))):
        body += more
        if time.monotonic() > until:
            raise TimeoutError("the answer does not end")
    return body


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
