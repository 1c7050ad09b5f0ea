"""Redis: `redis://127.0.0.1:6379/0/app`.

Source: https://redis.io/docs/latest/develop/use/keyspace-notifications/
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from modelkeep.configuration.address import Address
from modelkeep.configuration.polled import Found, Polled
from modelkeep.configuration.secrecy import MASK, is_secret
from modelkeep.configuration.source import Source
from modelkeep.configuration.textkeys import document, refuse_whole, tree_of, written
from modelkeep.configuration.tree import Node, Reading, parts
from modelkeep.core.errors import BadInput, Busy, Denied, Missing, Unreachable

if TYPE_CHECKING:
    import redis
    from redis.client import PubSub

    Pairs = list[tuple[str, bytes]]

_TIMEOUT_S: Final = 10.0
_SLICE_S: Final = 0.25
_MOST_HISTORY: Final = 1000


class Redis(Polled["Pairs"]):
    """The keys below `app:` or the fields of the hash `app`; with `format=` the one key there, a whole file.

    Whoever writes through this source says so on the channel `app:changed`, and readers hear it at once; so they do of
    every writer where the server has `notify-keyspace-events KA`. Any other is noticed by asking every `poll=` seconds
    (2).

    Args:
        where: `redis://user:password@host:port/database/key`; `rediss` speaks TLS.

    Raises:
        BadInput: the address has no key, or an option that there is not.
    """

    def __init__(self, where: str) -> None:
        address = Address.parse(where, ("format", "poll"))
        super().__init__(address.shown, address.seconds("poll", 2.0))
        database, _, key = address.path.partition("/")
        if not key and not database.isdecimal():
            database, key = "0", database
        if not database.isdecimal() or not key:
            raise BadInput(f"{self.name} names no key", hint="Write redis://host:port/database/key.")
        self._key = key
        self._database = int(database)
        self._format = address.options.get("format", "")
        self._address = address
        self._client: redis.Redis | None = None
        self._ears: PubSub | None = None
        self._deaf = False

    def fetch(self) -> Found[Pairs]:
        """Gives the fields of the hash as they are at one moment, or the keys.

        Raises:
            Missing: there are none.
            Denied: the login is wrong, or may not read there.
            BadInput: the key holds something that is neither.
            Unreachable, Busy: nobody answers, or the server is still loading its data.
        """
        with self._told():
            client = self._connected()
            kind = client.type(self._key).decode()  # type: ignore[union-attr]
            if self._format:
                value = client.get(self._key)
                pairs = [(self._key, value)] if isinstance(value, bytes) else []
            elif kind == "hash":
                fields: dict[bytes, bytes] = client.hgetall(self._key)  # type: ignore[assignment]
                pairs = [(f"{self._key}/{_path(name)}", value) for name, value in fields.items()]
            else:
                pairs = self._keys(client)
        if not pairs:
            hint = f"Put one there: redis-cli HSET {self._key} KEY VALUE"
            raise Missing(f"{self.name}: there is neither a hash nor a key below {self._key}:", hint=hint)
        return Found(hashlib.sha256(repr(sorted(pairs)).encode()).hexdigest(), pairs)

    def parse(self, found: Found[Pairs]) -> Reading:
        """Reads values as texts, or the one value as a file."""
        if self._format:
            return document(found.content[0][1], self._key, self._format, version=found.version)
        return tree_of(found.content, self._key, "redis", version=found.version)

    def listen(self) -> bool:
        """Hears the channel of those who say what they write, and the server where it tells."""
        if self._ears is not None or self._deaf:
            return False
        from redis.exceptions import NoPermissionError

        with self._told():
            ears = self._connected().pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
            space = f"__keyspace@{self._database}__:{_literal(self._key)}"
            try:
                ears.psubscribe(f"{_literal(self._key)}:changed", space, f"{space}:*")
                ears.get_message(timeout=_TIMEOUT_S)
            except NoPermissionError:
                self._deaf = True  # it may read, and not listen: it is asked
                ears.close()
                return True
        self._ears = ears
        return True

    def wait(self, wait_s: float) -> bool:
        """Waits for a message, and takes those that came with it."""
        if self._ears is None:
            return super().wait(wait_s)
        until = time.monotonic() + wait_s
        while not self._closed.is_set():
            left_s = until - time.monotonic()
            with self._told():
                if self._ears.get_message(timeout=max(0.0, min(left_s, _SLICE_S))) is not None:
                    while self._ears.get_message() is not None:
                        pass
                    return True
            if left_s <= 0:
                return False
        return False

    def write(self, values: Mapping[str, Node], *, author: str = "", reason: str = "") -> None:
        """Sets fields of the hash in one transaction, with a line of history in the list `app:history`.

        Raises:
            Denied: the login may not write there.
            BadInput: a value that no text stands for, or the key is no hash.
        """
        refuse_whole(self.name, self._format)
        told = {key: MASK if is_secret(key) and value is not None else value for key, value in values.items()}
        line = {"at": time.time_ns(), "author": author, "reason": reason, "values": told}
        texts = {key: None if value is None else written(value, key) for key, value in values.items()}
        with self._told(), self._connected().pipeline(transaction=True) as pipe:
            for key, text in texts.items():
                field = ".".join(str(part) for part in parts(key))
                if text is None:
                    pipe.hdel(self._key, field)
                else:
                    pipe.hset(self._key, field, text)
            pipe.lpush(f"{self._key}:history", json.dumps(line, default=str))
            pipe.ltrim(f"{self._key}:history", 0, _MOST_HISTORY - 1)
            pipe.publish(f"{self._key}:changed", author)
            pipe.execute()

    def close(self) -> None:
        """Ends a waiting watch soon, and closes the connection; that of the watch ends with it."""
        super().close()
        if self._client is not None:
            self._client.close()

    def _keys(self, client: redis.Redis) -> Pairs:
        own = {f"{self._key}:history".encode(), f"{self._key}:changed".encode()}
        names = sorted(set(client.scan_iter(f"{_literal(self._key)}:*", count=1000)) - own)
        values = client.mget(names) if names else []
        head = len(self._key.encode()) + 1
        pairs = zip(names, values, strict=True)
        return [(f"{self._key}/{_path(name[head:], ':')}", value) for name, value in pairs if isinstance(value, bytes)]

    def _connected(self) -> redis.Redis:
        if self._client is None:
            try:
                import redis
                from redis.backoff import NoBackoff
                from redis.retry import Retry
            except ModuleNotFoundError:
                raise BadInput(f"{self.name} needs redis", hint="pip install 'modelkeep[sources]'") from None
            self._client = redis.Redis(
                host=self._address.host or "127.0.0.1",
                port=self._address.port or 6379,
                db=self._database,
                username=self._address.user or None,
                password=self._address.password.reveal() or None,
                ssl=self._address.scheme == "rediss",
                socket_timeout=_TIMEOUT_S,
                socket_connect_timeout=_TIMEOUT_S,
                retry=Retry(NoBackoff(), 1),  # a connection that lay idle may be gone; further pauses are the caller's
            )
        return self._client

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turns what redis raises into our errors."""
        from redis import exceptions

        try:
            yield
        except (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError):
            self._hang_up()
            raise Denied(f"{self.name} refuses", hint="Give user:password@ before the host.") from None
        except exceptions.BusyLoadingError:
            raise Busy(f"{self.name} is loading its data", hint="It is asked again.") from None
        except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
            self._hang_up()
            reason = str(error).partition(".")[0]
            raise Unreachable(f"{self.name}: {reason}", hint="Is it running, and reachable from here?") from None
        except exceptions.RedisError as error:
            raise BadInput(f"{self.name}: {error}", hint="Is the key a hash, or a folder of keys?") from None

    def _hang_up(self) -> None:
        ears, self._ears = self._ears, None
        if ears is not None:
            with suppress(OSError):
                ears.close()


def _path(name: bytes, sign: str = ".") -> str:
    return name.decode(errors="replace").replace(sign, "/")


def _literal(text: str) -> str:
    return "".join(f"\\{char}" if char in "*?[]\\" else char for char in text)


plugin: type[Source] = Redis
