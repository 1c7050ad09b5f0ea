"""ZooKeeper: `zookeeper://127.0.0.1:2181,127.0.0.1:2182/app`.

Source: https://zookeeper.apache.org/doc/r3.8.0/zookeeperProgrammers.html
"""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import parse_qsl, unquote

from modelkeep.configuration.address import refuse_unknown, shown
from modelkeep.configuration.polled import ABSENT
from modelkeep.configuration.source import Source
from modelkeep.configuration.textkeys import document, path_of, refuse_whole, tree_of, written
from modelkeep.configuration.tree import Node, Reading
from modelkeep.core.errors import BadInput, Conflict, Denied, Missing, Unreachable
from modelkeep.core.secret import Secret

if TYPE_CHECKING:
    from kazoo.client import KazooClient  # type: ignore[import-untyped]
    from kazoo.security import ACL  # type: ignore[import-untyped]

_CONNECT_S: Final = 10.0
_KNOCK_S: Final = 3.0
_ANSWER_S: Final = 10.0
_SESSION_S: Final = 10.0
_MOST_READS: Final = 5  # of a tree that changes while it is read
_PORT: Final = 2181
_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]@]+))(?::([0-9]{1,5}))?\Z")


class Zookeeper:
    """The nodes below a path; with `format=` the one node there, which holds a whole file.

    Changes arrive by watches on every node that was read. A watch says that something changed, not what, and tells
    several changes at once; what is read afterwards is the newest, and is read again when it changed meanwhile. A
    session that expired is made anew.

    Args:
        where: `zookeeper://user:password@host:port,host:port/path`.

    Raises:
        BadInput: a host is none, or an option is unknown.
    """

    live: ClassVar[bool] = True

    def __init__(self, where: str) -> None:
        plain = shown(where)
        place, _, query = where.partition("://")[2].partition("?")
        options = dict(parse_qsl(query))
        refuse_unknown(options, ("format",), plain)
        hosts, _, path = place.rpartition("@")[2].partition("/")
        self._hosts = [_host(host, plain) for host in hosts.split(",")]
        self._login = Secret(unquote(place.rpartition("@")[0]))
        self._path = f"/{unquote(path).strip('/')}"
        self._format = options.get("format", "")
        self.name: Final = f"zookeeper://{hosts}{self._path}"
        self._client: KazooClient | None = None
        self._last = ""
        self._asked = False
        self._making = threading.Lock()
        self._stirred = threading.Event()
        self._closed = threading.Event()

    def read(self) -> Reading:
        """Gives the nodes as they are now; what changes from here on ends the next `watch`.

        Raises:
            Missing: there is no such node.
            Denied: the login may not read there.
            BadInput: a value that is no text.
            Unreachable: nobody answers, or the session was lost.
        """
        client = self._connected()
        with self._told():
            pairs = self._steady(client)
        self._asked = True
        if pairs is None:
            self._last = ABSENT
            raise Missing(f"{self.name}: there is no such node", hint="Create it, or write optional: before it.")
        if self._format:
            reading = document(pairs[0][1], self._path, self._format)
        else:
            reading = tree_of(pairs, self._path, "zookeeper")
        self._last = reading.version
        return reading

    def watch(self, seen: str, wait_s: float) -> bool:
        """Waits for a watch to fire, or for a new session after one that was lost.

        Raises:
            Unreachable: there is no connection, and none came about while waiting.
        """
        if self._closed.is_set():
            return False
        client = self._connected()
        if not self._asked or (self._last and self._last != seen):
            return True
        stirred = self._stirred.wait(wait_s)
        if self._closed.is_set():
            return False
        if not client.connected:
            raise Unreachable(f"{self.name}: the connection is lost", hint="It comes back when a server does.")
        return stirred

    def write(self, values: Mapping[str, Node], *, author: str = "", reason: str = "") -> None:
        """Sets nodes in one transaction, with those above them; new ones may be read and written as what is above.

        ZooKeeper keeps no history.

        Raises:
            Denied: the login may not write there.
            Conflict: somebody else changed the nodes meanwhile; nothing was written.
            BadInput: a value that no text stands for.
        """
        refuse_whole(self.name, self._format)
        client = self._connected()
        with self._told():
            transaction = client.transaction()
            made: dict[str, list[ACL] | None] = {}
            for key, value in values.items():
                path = path_of(self._path.rstrip("/"), key)
                there = client.exists(path)
                if value is None:
                    if there:
                        transaction.delete(path)
                    continue
                data = written(value, key).encode()
                if there or path in made:
                    transaction.set_data(path, data)
                else:
                    rights = self._make_above(client, path, transaction, made)
                    transaction.create(path, data, acl=rights)
                    made[path] = rights
            failed = [result for result in transaction.commit() if isinstance(result, Exception)]
        for error in failed:
            if type(error).__name__ in {"NoAuthError", "AuthFailedError"}:
                raise Denied(f"{self.name} refuses to be written", hint="Give user:password@ before the host.")
        if failed:
            names = ", ".join(sorted({type(error).__name__ for error in failed}))
            raise Conflict(f"{self.name}: nothing was written: {names}", hint="Read again, and write again.")

    def close(self) -> None:
        """Ends the session, and a watch that is waiting."""
        self._closed.set()
        self._stirred.set()
        with self._making:
            client, self._client = self._client, None
        if client is not None:
            _end(client)

    def _make_above(
        self, client: KazooClient, path: str, transaction: object, made: dict[str, list[ACL] | None]
    ) -> list[ACL] | None:
        """Makes the nodes above a path that are not there yet, and gives the rights of the nearest that is."""
        above = path.rpartition("/")[0] or "/"
        if above in made:
            return made[above]
        if client.exists(above):
            return list(client.get_acls(above)[0])
        rights = self._make_above(client, above, transaction, made)
        transaction.create(above, b"", acl=rights)  # type: ignore[attr-defined]
        made[above] = rights
        return rights

    def _steady(self, client: KazooClient) -> list[tuple[str, bytes]] | None:
        """Reads until nothing changed meanwhile, so that no reading mixes two transactions; None when nothing is there.

        A tree that never rests is given as it is: the next `watch` returns at once.
        """
        pairs: list[tuple[str, bytes]] | None = None
        for _ in range(_MOST_READS):
            self._stirred.clear()
            try:
                pairs = self._walked(client)
                self._let_pass(client)
            except Exception:
                self._stirred.set()  # whatever comes next begins with reading again
                raise
            if not self._stirred.is_set():
                break
        return pairs

    def _walked(self, client: KazooClient) -> list[tuple[str, bytes]] | None:
        """Reads a level at a time, all nodes of it at once."""
        from kazoo.exceptions import NoNodeError  # type: ignore[import-untyped]

        pairs: list[tuple[str, bytes]] = []
        level = [self._path]
        while level:
            asked = [
                (
                    path,
                    client.get_async(path, watch=self._stir),
                    None if self._format else client.get_children_async(path, watch=self._stir),
                )
                for path in level
            ]
            level = []
            for path, value, below in asked:
                try:
                    data, _ = value.get(timeout=_ANSWER_S)
                    names = below.get(timeout=_ANSWER_S) if below is not None else []
                except NoNodeError:
                    if path == self._path:
                        self._expect(client)
                        return None
                    continue  # it went meanwhile, and the watch above it tells
                if self._format or (data and not names):
                    pairs.append((path, data or b""))
                level += [f"{path.rstrip('/')}/{name}" for name in sorted(names) if path != "/" or name != "zookeeper"]
        return pairs

    def _expect(self, client: KazooClient) -> None:
        if client.exists_async(self._path, watch=self._stir).get(timeout=_ANSWER_S) is not None:
            self._stirred.set()  # it came meanwhile

    def _let_pass(self, client: KazooClient) -> None:
        """Waits until the watches that had fired by now are told: kazoo tells them in order, in a thread of its own."""
        from kazoo.protocol.states import Callback  # type: ignore[import-untyped]

        passed = threading.Event()
        client.handler.dispatch_callback(Callback("watch", passed.set, ()))
        passed.wait(_ANSWER_S)

    def _stir(self, _: object) -> None:
        self._stirred.set()

    def _listen(self, state: str) -> None:
        """A connection that came back, or a session made anew, may have missed watches: read again."""
        if state == "CONNECTED":
            self._stirred.set()

    def _connected(self) -> KazooClient:
        with self._making:
            if self._closed.is_set():
                raise Unreachable(f"{self.name} is closed")
            if self._client is None:
                self._client = self._made()
            return self._client

    def _made(self) -> KazooClient:
        try:
            from kazoo.client import KazooClient
        except ModuleNotFoundError:
            raise BadInput(f"{self.name} needs kazoo", hint="pip install 'modelkeep[sources]'") from None
        self._knock()
        quiet = logging.Logger("kazoo")  # nobody listens to it: what matters is told as errors
        quiet.disabled = True
        client = KazooClient(
            ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self._hosts),
            auth_data=[("digest", self._login.reveal())] if self._login else None,
            connection_retry={"max_tries": -1, "delay": 0.1, "max_delay": 2.0},
            logger=quiet,
            timeout=_SESSION_S,
        )
        try:
            client.start(timeout=_CONNECT_S)
        except client.handler.timeout_exception:
            _end(client)
            raise Unreachable(f"{self.name}: no answer in {_CONNECT_S:g} s", hint="Is it running?") from None
        except Exception as error:  # noqa: BLE001 - kazoo raises what it met: a name that is none, a refused login
            _end(client)
            raise Unreachable(f"{self.name}: {type(error).__name__}", hint="Is it running?") from None
        client.add_listener(self._listen)
        return client

    def _knock(self) -> None:
        """Sees whether anybody listens: kazoo itself would go on trying, and never say why."""
        reason = ""
        for host in self._hosts:
            try:
                socket.create_connection(host, timeout=_KNOCK_S).close()
            except (OSError, UnicodeError) as error:
                reason = getattr(error, "strerror", None) or str(error)
            else:
                return
        raise Unreachable(f"{self.name}: {reason}", hint="Is it running, and reachable from here?")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turns what kazoo raises into our errors."""
        from kazoo.exceptions import AuthFailedError, KazooException, NoAuthError
        from kazoo.handlers.threading import KazooTimeoutError  # type: ignore[import-untyped]

        try:
            yield
        except (NoAuthError, AuthFailedError):
            raise Denied(f"{self.name} refuses", hint="Give user:password@ before the host.") from None
        except (KazooException, KazooTimeoutError) as error:
            said = "is closed" if self._closed.is_set() else f"({type(error).__name__}) does not answer"
            raise Unreachable(f"{self.name} {said}", hint="It comes back when a server does.") from None


def _end(client: KazooClient) -> None:
    with contextlib.suppress(Exception):  # a connection that is half made cannot always be ended; it ends by itself
        client.stop()
        client.close()


def _host(text: str, name: str) -> tuple[str, int]:
    found = _HOST.match(text)
    if found is None:
        raise BadInput(f"{name}: no such host", hint="Write zookeeper://user:password@host:port,host:port/path.")
    return found[1] or found[2], int(found[3] or _PORT)


plugin: type[Source] = Zookeeper
