"""Redis: `redis://127.0.0.1:6379/0/app`.

Source: https://redis.io/docs/latest/develop/use/keyspace-notifications/
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, Final

from modelkeep.configuration.address import Address
from modelkeep.configuration.source import Source
from modelkeep.configuration.textkeys import document, tree_of
from modelkeep.configuration.tree import Node, Reading, parts
from modelkeep.core.errors import BadInput, Busy, Denied, Missing, Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis
    from redis.client import PubSub

_TIMEOUT_S: Final = 10.0
_MOST_HISTORY: Final = 1000


class Redis:
    """The keys below `app:` or the fields of the hash `app`; with `format=` the one key there, a whole file.

    Whoever writes through this source says so on the channel `app:changed`, and readers hear it at once; who writes
    with another client is noticed by asking every `poll=` seconds (2).

    Args:
        where: `redis://user:password@host:port/database/key`; `rediss` speaks TLS.

    Raises:
        BadInput: redis is not installed, or the address has no key.
    """

    live: ClassVar[bool] = True

    def __init__(self, where: str) -> None:
        self._address = Address.parse(where, ("format", "poll"))
        self.name: Final = self._address.shown
        database, _, self._key = self._address.path.partition("/")
        if not self._key:
            database, self._key = "0", database
        if not database.isdigit() or not self._key:
            raise BadInput(f"{self.name} names no key", hint="Write redis://host:port/database/key.")
        self._database = int(database)
        self._poll_s = float(self._address.options.get("poll", "2"))
        self._client: redis.Redis | None = None
        self._ears: PubSub | None = None
        self._closed = threading.Event()

    def read(self) -> Reading:
        client = self._connected()
        with self._told():
            kind = client.type(self._key).decode()  # type: ignore[union-attr]
            if kind == "string" and "format" in self._address.options:
                return document(client.get(self._key) or b"", self._key, self._address.options["format"])  # type: ignore[arg-type]
            if kind == "hash":
                fields: dict[bytes, bytes] = client.hgetall(self._key)  # type: ignore[assignment]
                pairs = [(f"{self._key}/{_path(name)}", value) for name, value in fields.items()]
            else:
                pairs = self._keys(client)
        if not pairs:
            raise Missing(f"{self.name}: there is neither a hash nor a key below {self._key}:", hint="redis-cli HSET …")
        return tree_of(pairs, self._key, "redis")

    def watch(self, seen: str, wait_s: float) -> bool:
        """Waits for the channel, and asks now and then for those who do not say what they write."""
        if self._ears is None:
            with self._told():
                self._ears = self._connected().pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
                self._ears.subscribe(f"{self._key}:changed")
        until = time.monotonic() + wait_s
        while not self._closed.is_set():
            if self.read().version != seen:
                return True
            left = until - time.monotonic()
            if left <= 0:
                return False
            with self._told():
                self._ears.get_message(timeout=min(left, self._poll_s))
        return False

    def write(self, values: Mapping[str, Node], *, author: str = "", reason: str = "") -> None:
        """Sets fields of the hash in one transaction, with a line of history in the list `app:history`."""
        with self._told(), self._connected().pipeline(transaction=True) as pipe:
            for key, value in values.items():
                field = ".".join(str(part) for part in parts(key))
                if value is None:
                    pipe.hdel(self._key, field)
                else:
                    pipe.hset(self._key, field, value if isinstance(value, str) else json.dumps(value))
            line = {"at": time.time_ns(), "author": author, "reason": reason, "values": dict(values)}
            pipe.lpush(f"{self._key}:history", json.dumps(line, default=str))
            pipe.ltrim(f"{self._key}:history", 0, _MOST_HISTORY - 1)
            pipe.publish(f"{self._key}:changed", author)
            pipe.execute()

    def close(self) -> None:
        """Closes the connections."""
        self._closed.set()
        if self._ears is not None:
            self._ears.close()
        if self._client is not None:
            self._client.close()

    def _keys(self, client: redis.Redis) -> list[tuple[str, bytes]]:
        own = {f"{self._key}:history".encode(), f"{self._key}:changed".encode()}
        names = [name for name in client.scan_iter(f"{_literal(self._key)}:*", count=1000) if name not in own]
        values = client.mget(names) if names else []
        head = len(self._key) + 1
        pairs = zip(names, values, strict=True)
        return [(f"{self._key}/{_path(name[head:], ':')}", value) for name, value in pairs if isinstance(value, bytes)]

    def _connected(self) -> redis.Redis:
        if self._client is None:
            try:
                import redis
            except ModuleNotFoundError:
                raise BadInput(f"{self.name} needs redis", hint="pip install 'modelkeep[sources]'") from None
            self._client = redis.Redis(
                host=self._address.host or "127.0.0.1",
                port=self._address.port or 6379,
                db=self._database,
                username=self._address.user or None,
                password=self._address.password or None,
                ssl=self._address.scheme == "rediss",
                socket_timeout=_TIMEOUT_S,
                socket_connect_timeout=_TIMEOUT_S,
            )
        return self._client

    @contextmanager
    def _told(self) -> Iterator[None]:
        from redis import exceptions

        try:
            yield
        except (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError):
            raise Denied(f"{self.name} refuses", hint="Give user:password@ before the host.") from None
        except exceptions.BusyLoadingError:
            raise Busy(f"{self.name} is loading its data") from None
        except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
            self._ears = None
            reason = str(error).partition(".")[0]
            raise Unreachable(f"{self.name}: {reason}", hint="Is it running?") from None
        except exceptions.ResponseError as error:
            raise BadInput(f"{self.name}: {error}") from None


def _path(name: bytes, sign: str = ".") -> str:
    return name.decode(errors="replace").replace(sign, "/")


def _literal(text: str) -> str:
    return "".join(f"\\{char}" if char in "*?[]\\" else char for char in text)


plugin: type[Source] = Redis
