"""What remotes talk to in tests: real servers on loopback, strict stand-ins, and a road between that can be cut."""

from __future__ import annotations

import base64
import contextlib
import getpass
import hashlib
import hmac
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.peers import program

BUCKET = "data"
SECRET = "canary+tests"
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def running(command: list[str], port: int, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a process of its own, from when its port answers until the end of the block."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **more)
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise AssertionError((process.communicate()[1] or b"")[-2000:].decode(errors="replace"))
            time.sleep(0.05)
        drain = threading.Thread(target=process.stderr.read, daemon=True)  # type: ignore[union-attr]
        drain.start()
        yield process
    finally:
        process.terminate()
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        drain.join(5)
        process.stderr.close()  # type: ignore[union-attr]


class Road:
    """A way to a server that can be cut after so many bytes, or answer for it.

    Args:
        port: of the server.
    """

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.statuses: list[int] = []
        self._cuts: dict[str, list[int]] = {"up": [], "down": []}
        self._open = True
        self.asked = 0
        self._lock = threading.Lock()
        self._links: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def cut(self, way: str, *after: int) -> None:
        """The next connections are cut when one direction has carried so many bytes."""
        self.hang_up()
        self._cuts[way] = list(after)

    def answer(self, *statuses: int) -> None:
        """The next requests are answered like this, each on a connection that ends then."""
        self.hang_up()
        self.asked = 0
        self.statuses = list(statuses)

    def hang_up(self) -> None:
        with self._lock:
            links = list(self._links)
        for link in links:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while self._open:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, near)

    def _serve(self, near: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(near)
            self._keep(stack, near)
            if self.statuses:
                self._refuse(near, self.statuses.pop(0))
                return
            with self._lock:
                limits = {way: cuts.pop(0) if cuts else None for way, cuts in self._cuts.items()}
            far = stack.enter_context(socket.create_connection(("127.0.0.1", self._server)))
            self._keep(stack, far)
            back = threading.Thread(target=self._pump, args=(far, near, limits["down"]), daemon=True)
            back.start()
            self._pump(near, far, limits["up"])
            back.join()

    def _keep(self, stack: contextlib.ExitStack, link: socket.socket) -> None:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._links.add(link)
        stack.callback(self._links.discard, link)

    def _refuse(self, near: socket.socket, status: int) -> None:
        with contextlib.suppress(OSError):
            near.settimeout(5)
            head = b""
            while b"\r\n\r\n" not in head and (data := near.recv(65536)):
                head += data
            self.asked += bool(head)
            near.sendall(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
            near.shutdown(socket.SHUT_WR)
            while near.recv(65536):
                pass

    def _pump(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if limit is not None:
                    data, limit = data[:limit], limit - len(data)
                target.sendall(data)
                if limit is not None and limit <= 0:
                    break
            else:
                target.shutdown(socket.SHUT_WR)
                return
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._open = False
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        deadline = time.monotonic() + 10
        while any(thread.is_alive() for thread in self._threads) and time.monotonic() < deadline:
            self.hang_up()
            for thread in self._threads:
                thread.join(0.1)


@contextmanager
def s3(folder: Path) -> Iterator[int]:
    port = free_port()
    with running([str(program("moto_server")), "-H", "127.0.0.1", "-p", str(port)], port, cwd=folder):
        assert _simple(port, "PUT", f"/{BUCKET}", {}) == 200
        yield port


@contextmanager
def azure(folder: Path) -> Iterator[int]:
    port = free_port()
    command = [str(program("azurite-blob")), "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    command += ["--location", str(folder), "--skipApiVersionCheck", "--silent"]
    with running(command, port, cwd=folder):
        path = f"/{ACCOUNT}/{BUCKET}?restype=container"
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2023-11-03"}
        said = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
        text = "PUT" + "\n" * 12 + f"{said}/{ACCOUNT}/{ACCOUNT}/{BUCKET}\nrestype:container"
        mark = hmac.new(base64.b64decode(ACCOUNT_KEY), text.encode(), hashlib.sha256).digest()
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(mark).decode()}"
        assert _simple(port, "PUT", path, headers) == 201
        yield port


def _simple(port: int, method: str, path: str, headers: dict[str, str]) -> int:
    link = HTTPConnection("127.0.0.1", port, timeout=10)
    link.request(method, path, headers=headers)
    status = link.getresponse().status
    link.close()
    return status


_DAV = """
import sys
from cheroot.wsgi import Server
from wsgidav.wsgidav_app import WsgiDAVApp
port, folder, secret = int(sys.argv[1]), sys.argv[2], sys.argv[3]
app = WsgiDAVApp({
    "provider_mapping": {"/dav": folder}, "verbose": 0, "logging": {"enable": False}, "lock_storage": False,
    "http_authenticator": {"accept_basic": True, "accept_digest": False, "default_to_digest": False},
    "simple_dc": {"user_mapping": {"*": {"mk": {"password": secret}}}}, "hotfixes": {},
})
Server(("127.0.0.1", port), app, numthreads=16).start()
"""


@contextmanager
def webdav(folder: Path) -> Iterator[int]:
    port = free_port()
    with running([sys.executable, "-W", "ignore", "-c", _DAV, str(port), str(folder), SECRET], port, cwd=folder):
        yield port


@contextmanager
def sshd(folder: Path) -> Iterator[int]:
    """OpenSSH with a host key, a user key (`user`) and a configuration of its own; SFTP only."""
    port = free_port()
    for name in ("host", "user", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        "PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"PermitRootLogin prohibit-password\nAllowUsers {getpass.getuser()}\nMaxStartups 100\nMaxSessions 20\n"
        "Subsystem sftp internal-sftp\nForceCommand internal-sftp\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with running([str(program("sshd")), "-D", "-e", "-f", str(folder / "config")], port, cwd=folder):
        yield port
