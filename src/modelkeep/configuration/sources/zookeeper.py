"""ZooKeeper: `zookeeper://127.0.0.1:2181,127.0.0.1:2182/app`.

Source: https://zookeeper.apache.org/doc/r3.8.0/zookeeperProgrammers.html
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import parse_qsl, unquote

from modelkeep.configuration.secrecy import mask_url
from modelkeep.configuration.source import Source
from modelkeep.configuration.textkeys import document, tree_of
from modelkeep.configuration.tree import Node, Reading, parts
from modelkeep.core.errors import BadInput, Denied, Missing, Unreachable

if TYPE_CHECKING:
    from kazoo.client import KazooClient  # type: ignore[import-untyped]

_CONNECT_S: Final = 10.0


class Zookeeper:
    """The nodes below a path; with `format=` the one node there, which holds a whole file.

    Changes arrive by watches on every node that was read. A watch says that something changed, not what, and tells the
    latest of several changes at once; what is read afterwards is the newest. A session that expired is made anew.

    Args:
        where: `zookeeper://user:password@host:port,host:port/path`.

    Raises:
        BadInput: kazoo is not installed, or an option is unknown.
    """

    live: ClassVar[bool] = True

    def __init__(self, where: str) -> None:
        rest = where.partition("://")[2]
        place, _, query = rest.partition("?")
        options = dict(parse_qsl(query))
        if set(options) - {"format"}:
            raise BadInput(f"{mask_url(where)}: the only option is format")
        hosts, _, path = place.partition("/")
        login, _, self._hosts = hosts.rpartition("@")
        self._login = unquote(login)
        self._path = f"/{path.strip('/')}"
        self._format = options.get("format", "")
        self.name: Final = f"zookeeper://{self._hosts}{self._path}"
        self._client: KazooClient | None = None
        self._stirred = threading.Event()
        self._closed = threading.Event()

    def read(self) -> Reading:
        from kazoo.exceptions import (  # type: ignore[import-untyped]
            AuthFailedError,
            KazooException,
            NoAuthError,
            NoNodeError,
        )

        client = self._connected()
        self._stirred.clear()
        try:
            if self._format:
                data, _ = client.get(self._path, watch=self._stir)
                return document(data or b"", self._path, self._format)
            pairs: list[tuple[str, bytes]] = []
            self._walk(client, self._path, pairs)
            return tree_of(pairs, self._path, "zookeeper")
        except NoNodeError:
            raise Missing(
                f"{self.name}: there is no such node", hint="Create it, or write optional: before it."
            ) from None
        except (NoAuthError, AuthFailedError):
            raise Denied(f"{self.name} refuses", hint="Give user:password@ before the host.") from None
        except (KazooException, client.handler.timeout_exception) as error:
            raise Unreachable(f"{self.name}: {type(error).__name__}", hint="Is it running?") from None

    def watch(self, seen: str, wait_s: float) -> bool:
        """Waits for a watch to fire, or for a new session after one that was lost."""
        self._connected()
        return self._stirred.wait(wait_s) and not self._closed.is_set()

    def write(self, values: Mapping[str, Node], *, author: str = "", reason: str = "") -> None:
        """Sets nodes in one transaction, making those above them first; ZooKeeper keeps no history."""
        client = self._connected()
        transaction = client.transaction()
        for key, value in values.items():
            path = "/".join([self._path.rstrip("/"), *(str(part) for part in parts(key))])
            data = (value if isinstance(value, str) else json.dumps(value)).encode()
            if value is None:
                transaction.delete(path)
            elif client.exists(path):
                transaction.set_data(path, data)
            else:
                client.ensure_path(path.rpartition("/")[0] or "/")
                transaction.create(path, data)
        for result in transaction.commit():
            if isinstance(result, Exception):
                raise BadInput(f"{self.name}: {type(result).__name__}", hint="Nothing was written.")

    def close(self) -> None:
        """Ends the session."""
        self._closed.set()
        self._stirred.set()
        if self._client is not None:
            self._client.stop()
            self._client.close()
            self._client = None

    def _walk(self, client: KazooClient, path: str, pairs: list[tuple[str, bytes]]) -> None:
        names = client.get_children(path, watch=self._stir)
        data, _ = client.get(path, watch=self._stir)
        if data and not names:
            pairs.append((path, data))
        for name in names:
            self._walk(client, f"{path.rstrip('/')}/{name}", pairs)

    def _stir(self, _: object) -> None:
        self._stirred.set()

    def _listen(self, state: str) -> None:
        """A connection that came back, or a session made anew, may have missed watches: read again."""
        if state == "CONNECTED":
            self._stirred.set()

    def _connected(self) -> KazooClient:
        if self._client is not None:
            return self._client
        try:
            from kazoo.client import KazooClient
        except ModuleNotFoundError:
            raise BadInput(f"{self.name} needs kazoo", hint="pip install 'modelkeep[sources]'") from None
        quiet = logging.getLogger("kazoo.quiet")
        quiet.disabled = True
        auth = [("digest", self._login)] if self._login else None
        retry = {"max_tries": -1, "max_delay": 5.0}
        client = KazooClient(self._hosts, auth_data=auth, connection_retry=retry, logger=quiet, timeout=10.0)
        try:
            client.start(timeout=_CONNECT_S)
        except client.handler.timeout_exception:
            client.stop()
            client.close()
            raise Unreachable(f"{self.name}: no answer in {_CONNECT_S:g} s", hint="Is it running?") from None
        client.add_listener(self._listen)
        self._client = client
        return client


plugin: type[Source] = Zookeeper
