"""S3 by modelkeep, s3fs (what DVC uses) and boto3: many small files and a large one, put and got, in one run.

    python bench/remotes.py [--small 5000] [--large-mb 1024] [--repeat 3] [--servers stub moto] [--peers s3fs boto3]

Two servers. The stub below speaks just enough S3 to answer at once, so that the client is what is measured; moto is a
real imitation and mostly measures itself, so it gets a tenth of the files and a sixteenth of the large one. Every
client runs in a process of its own, a peer in an environment of its own (made once under build/peers), reads files and
writes files, and what came back is compared with what was sent. The least of the repeats counts; CPU time is the
client's, threads included; MB is the peak of the whole process.
"""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import hashlib
import importlib.metadata
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEYS = {"access_key_id": "AKIABENCH", "secret_access_key": "bench"}
BUCKET = "bench"
WORK = ("put", "get")


BLOBS: dict[bytes, bytes] = {}
PARTS: dict[bytes, dict[int, bytes]] = {}


class Stub(asyncio.Protocol):
    """S3 for one bucket that exists: whole and multi-part put, get with ranges, head. It checks nothing."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.head: list[bytes] = []
        self.buffer = bytearray()
        self.need = -1

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while self.buffer or self.need == 0:
            if self.need < 0 and not self._begin():
                return
            if len(self.buffer) < self.need:
                return
            body = bytes(memoryview(self.buffer)[: self.need])
            del self.buffer[: self.need]
            self.need = -1
            self._answer(body)

    def _begin(self) -> bool:
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        lines = bytes(self.buffer[:end]).split(b"\r\n")
        del self.buffer[: end + 4]
        self.method, self.target, _ = lines[0].split(b" ", 2)
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
        self.need = int(self.headers.get(b"content-length", b"0"))
        if self.headers.get(b"expect"):
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def _answer(self, body: bytes) -> None:
        path, _, query = self.target.partition(b"?")
        if self.headers.get(b"content-encoding") == b"aws-chunked" or b"x-amz-decoded-content-length" in self.headers:
            body = _dechunked(body)
        if self.method == b"POST" and query.startswith(b"uploads"):
            mark = os.urandom(8).hex().encode()
            PARTS[mark] = {}
            said = b"<UploadId>%s</UploadId><Bucket>bench</Bucket><Key>k</Key>" % mark
            self._say(b"200 OK", b"<InitiateMultipartUploadResult>%s</InitiateMultipartUploadResult>" % said)
        elif self.method == b"POST":
            parts = PARTS.pop(re.search(rb"uploadId=(\w+)", query).group(1))  # type: ignore[union-attr]
            BLOBS[path] = b"".join(parts[number] for number in sorted(parts))
            said = b'<Bucket>bench</Bucket><Key>k</Key><ETag>"x"</ETag>'
            self._say(b"200 OK", b"<CompleteMultipartUploadResult>%s</CompleteMultipartUploadResult>" % said)
        elif self.method == b"PUT" and b"uploadId" in query:
            number, mark = re.search(rb"partNumber=(\d+)", query), re.search(rb"uploadId=(\w+)", query)
            PARTS[mark.group(1)][int(number.group(1))] = body  # type: ignore[union-attr]
            self._say(b"200 OK")
        elif self.method == b"PUT":
            BLOBS[path] = body
            self._say(b"200 OK")
        elif path in BLOBS:
            self._give(memoryview(BLOBS[path]))
        else:
            self._say(b"404 Not Found")

    def _give(self, data: memoryview) -> None:
        found = re.fullmatch(rb"bytes=(\d+)-(\d*)", self.headers.get(b"range", b""))
        if found is None:
            return self._say(b"200 OK", data)
        start, end = int(found.group(1)), min(int(found.group(2) or len(data)), len(data) - 1)
        more = b"Content-Range: bytes %d-%d/%d\r\n" % (start, end, len(data))
        return self._say(b"206 Partial Content", data[start : end + 1], more)

    def _say(self, status: bytes, body: bytes | memoryview = b"", more: bytes = b"") -> None:
        about = b'ETag: "x"\r\nLast-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\nAccept-Ranges: bytes\r\n'
        self.transport.write(b"HTTP/1.1 %s\r\n%s%sContent-Length: %d\r\n\r\n" % (status, about, more, len(body)))
        if self.method != b"HEAD":
            self.transport.write(body)


def _dechunked(body: bytes) -> bytes:
    """Takes the frames of an aws-chunked body off."""
    pieces, at = [], 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end].split(b";")[0], 16)
        if not size:
            return b"".join(pieces)
        pieces.append(body[end + 2 : end + 2 + size])
        at = end + 4 + size


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", port)
    await server.serve_forever()


Pairs = list[tuple[str, Path]]
Client = Callable[[str, Pairs], None]


def modelkeep(url: str) -> tuple[Client, Client]:
    from modelkeep.store.remote import Download, Upload, connect

    remote = connect(f"s3://{BUCKET}", {**KEYS, "endpointurl": url, "region": "us-east-1"})

    def put(prefix: str, pairs: Pairs) -> None:
        items = [Upload(prefix + key, path, path.stat().st_size) for key, path in pairs]
        assert not [one for one in remote.upload(items, lambda amount: None) if one.error]

    def get(prefix: str, pairs: Pairs) -> None:
        items = [Download(prefix + key, path, None) for key, path in pairs]
        assert not [one for one in remote.download(items, lambda amount: None) if one.error]

    return put, get


def s3fs(url: str) -> tuple[Client, Client]:
    import s3fs as library

    fs = library.S3FileSystem(key=KEYS["access_key_id"], secret=KEYS["secret_access_key"], endpoint_url=url)

    def put(prefix: str, pairs: Pairs) -> None:
        fs.put([str(path) for _, path in pairs], [f"{BUCKET}/{prefix}{key}" for key, _ in pairs], batch_size=64)

    def get(prefix: str, pairs: Pairs) -> None:
        fs.get([f"{BUCKET}/{prefix}{key}" for key, _ in pairs], [str(path) for _, path in pairs], batch_size=64)

    return put, get


def boto3(url: str) -> tuple[Client, Client]:
    import boto3 as library
    from botocore.config import Config

    client = library.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=KEYS["access_key_id"],
        aws_secret_access_key=KEYS["secret_access_key"],
        region_name="us-east-1",
        config=Config(max_pool_connections=32),
    )

    def put(prefix: str, pairs: Pairs) -> None:
        with concurrent.futures.ThreadPoolExecutor(16) as crew:
            list(crew.map(lambda one: client.upload_file(str(one[1]), BUCKET, prefix + one[0]), pairs))

    def get(prefix: str, pairs: Pairs) -> None:
        with concurrent.futures.ThreadPoolExecutor(16) as crew:
            list(crew.map(lambda one: client.download_file(BUCKET, prefix + one[0], str(one[1])), pairs))

    return put, get


CLIENTS = {"modelkeep": modelkeep, "s3fs": s3fs, "boto3": boto3}
VERSIONS = {"modelkeep": ("modelkeep", "obstore"), "s3fs": ("s3fs", "aiobotocore"), "boto3": ("boto3", "botocore")}


def files(folder: Path) -> Pairs:
    return [(f"files/md5/{path.name[:2]}/{path.name[2:]}", path) for path in sorted(folder.iterdir())]


def digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha1").digest()


def child(name: str, url: str, folder: Path, repeat: int) -> None:
    """Puts and gets a folder's files and tells how long that took."""
    warnings.simplefilter("ignore")
    put, get = CLIENTS[name](url)
    pairs = files(folder)
    back = folder.with_name(f"{folder.name}-back")
    wall: dict[str, list[float]] = {what: [] for what in WORK}
    cpu: dict[str, list[float]] = {what: [] for what in WORK}
    for turn in range(repeat):
        shutil.rmtree(back, ignore_errors=True)
        back.mkdir()
        targets = [(key, back / path.name) for key, path in pairs]
        for what, client, some in (("put", put, pairs), ("get", get, targets)):
            began, spent = time.perf_counter(), time.process_time()
            client(f"{name}/{turn if len(pairs) > 1 else 0}/", some)
            wall[what].append(time.perf_counter() - began)
            cpu[what].append(time.process_time() - spent)
        assert all(digest(path) == digest(back / path.name) for _, path in pairs), "what came back is something else"
    shutil.rmtree(back)
    print(
        json.dumps(
            {
                **{what: (min(wall[what]), min(cpu[what])) for what in WORK},
                "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "version": " ".join(f"{one} {importlib.metadata.version(one)}" for one in VERSIONS[name]),
            }
        )
    )


def environment(name: str) -> Path:
    """Makes a peer's own environment once and gives its Python."""
    folder = ROOT / "build" / "peers" / name
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"Making build/peers/{name} (once)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(ROOT / "bench" / "peers" / f"{name}.txt")], check=True)
    return python


def pythons(peers: list[str]) -> dict[str, Path]:
    """Boto3 comes with moto."""
    homes = {"s3fs": "s3fs", "boto3": "moto"}
    return {"modelkeep": Path(sys.executable), **{peer: environment(homes[peer]) for peer in peers}}


def drawn(folder: Path, count: int, size: int) -> Path:
    """Makes a folder of random files once."""
    place = folder / f"remotes-{count}-{size}"
    if not place.exists():
        place.mkdir(parents=True)
        for number in range(count):
            name = hashlib.md5(b"%d" % number).hexdigest()
            piece = os.urandom(min(size, 1 << 20))
            with (place / name).open("wb") as file:  # by pieces: a child's peak begins with its parent's
                for _ in range(max(1, size >> 20)):
                    file.write(piece)
    return place


def started(server: str) -> tuple[subprocess.Popen[bytes], str]:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, __file__, "--stub", str(port)]
    if server == "moto":
        environment("moto")
        command = [str(ROOT / "build/peers/moto/bin/moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.1)
    if server == "moto":
        urllib.request.urlopen(urllib.request.Request(f"{url}/{BUCKET}", method="PUT")).close()
    return process, url


def measured(name: str, python: Path, url: str, folder: Path, repeat: int) -> dict[str, object]:
    command = [str(python), __file__, "--child", name, "--url", url, "--folder", str(folder), "--repeat", str(repeat)]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    done = subprocess.run(
        command, env={**clean, "AWS_EC2_METADATA_DISABLED": "true"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{name}: {done.stderr.strip()[-1500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def table(what: str, found: dict[str, dict[str, object]]) -> None:
    print(f"\n{what}")
    print(f"{'':12}{'put s':>8}{'CPU':>7}{'×':>7}{'get s':>9}{'CPU':>7}{'×':>7}{'MB':>7}")
    for name, one in found.items():
        parts = []
        for verb in WORK:
            (wall, cpu), (ours, _) = one[verb], found["modelkeep"][verb]  # type: ignore[misc, index]
            parts.append(f"{wall:8.2f}{cpu:7.2f}{wall / ours:7.1f}")
        print(f"{name:12}{' '.join(parts)}{one['rss']:7.0f}  {one['version']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", type=int, default=5_000)
    parser.add_argument("--large-mb", type=int, default=1024)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--servers", nargs="*", default=["stub", "moto"], choices=["stub", "moto"])
    parser.add_argument("--peers", nargs="*", default=["s3fs", "boto3"], choices=["s3fs", "boto3"])
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "bench")
    parser.add_argument("--child", choices=CLIENTS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--stub", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stub:
        asyncio.run(serve(given.stub))
        return
    if given.child:
        child(given.child, given.url, given.folder, given.repeat)
        return
    names = pythons(given.peers)
    for server in given.servers:
        small, large = given.small, given.large_mb
        if server == "moto":
            small, large = max(1, small // 10), max(1, large // 16)
        for what, count, size in ((f"{small:,} × 4 KB", small, 4096), (f"one file of {large} MB", 1, large << 20)):
            folder = drawn(given.folder, count, size)
            process, url = started(server)
            try:
                found = {name: measured(name, python, url, folder, given.repeat) for name, python in names.items()}
            finally:
                process.terminate()
                process.wait()
            table(f"{what}, {server}, {os.cpu_count()} cores", found)
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
