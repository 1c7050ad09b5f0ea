"""Stand-ins for servers that cannot be had here: strict, so that whatever the interface does not know is a fault."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from tests.store.remote_servers import BUCKET, SECRET


@dataclass
class Kept:
    """What a stand-in holds.

    Args:
        blobs: by path.
        faults: requests that the interface does not know; a test fails when there are any.
        parts: of uploads under way, by upload id.
    """

    blobs: dict[str, bytes] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    elsewhere: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Speaker(BaseHTTPRequestHandler):
    """What stand-ins share: whole bodies, ranges, one answer a request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    kept: Kept
    wbufsize = -1

    def log_message(self, *arguments: object) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self.take
        raise AttributeError(name)

    def take(self) -> None:
        """Answers one request of any method."""
        raise NotImplementedError

    def body(self) -> bytes | None:
        """The request's body; None when the connection ended before it was whole."""
        size = int(self.headers.get("Content-Length", 0))
        data = self.rfile.read(size)
        if len(data) < size:
            self.close_connection = True
            return None
        return data

    def say(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", headers.pop("Length", None) or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def give(self, data: bytes) -> None:
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        about = {"ETag": f'"{hashlib.md5(data).hexdigest()}"', "Last_Modified": formatdate(usegmt=True)}
        if found is None:
            return self._whole(200, data, about)
        start, end = int(found.group(1)), min(int(found.group(2) or len(data)), len(data) - 1)
        if start >= len(data):
            return self.say(416, Content_Range=f"bytes */{len(data)}")
        about["Content_Range"] = f"bytes {start}-{end}/{len(data)}"
        return self._whole(206, data[start : end + 1], about)

    def _whole(self, status: int, data: bytes, about: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in about.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


class _Web(_Speaker):
    """A web server with basic authorization that keeps what is put."""

    def take(self) -> None:
        body = self.body()
        if body is None:
            return None
        if self.kept.elsewhere:
            return self.say(302, Location=self.kept.elsewhere + self.path)
        expected = "Basic " + base64.b64encode(f"mk:{SECRET}".encode()).decode()
        if self.headers.get("Authorization") != expected:
            return self.say(401, WWW_Authenticate="Basic")
        path, blobs = unquote(self.path), self.kept.blobs
        if self.command in {"PUT", "POST"}:
            blobs[path] = body
            return self.say(201)
        if path not in blobs:
            return self.say(404)
        if self.command == "DELETE":
            del blobs[path]
            return self.say(204)
        return self.give(blobs[path])


class _Gcs(_Speaker):
    """Google's XML interface as far as blobs need it, by its public documentation; anything else is a fault.

    Source: https://cloud.google.com/storage/docs/xml-api/reference-methods
    """

    def take(self) -> None:
        body = self.body()
        if body is None:
            return None
        if self.headers.get("Authorization") != f"Bearer {SECRET}":
            return self.fail(401, "AuthenticationRequired")
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query, keep_blank_values=True).items()}
        bucket, _, key = unquote(address.path).lstrip("/").partition("/")
        if bucket != BUCKET:
            return self.fail(404, "NoSuchBucket")
        verb = (self.command, *sorted(query.keys() - _LISTING)) if key else (self.command, "list")
        work = {
            ("GET", "list"): self.list,
            ("GET",): self.read,
            ("HEAD",): self.read,
            ("PUT",): self.put,
            ("DELETE",): self.remove,
            ("POST", "uploads"): self.begin,
            ("PUT", "partNumber", "uploadId"): self.part,
            ("POST", "uploadId"): self.complete,
            ("DELETE", "uploadId"): self.abort,
        }.get(verb)
        if work is None:
            self.kept.faults.append(f"{self.command} {self.path}")
            return self.fail(400, "InvalidRequest")
        return work(key, query, body)

    def fail(self, status: int, code: str) -> None:
        self.say(status, f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode())

    def list(self, key: str, query: dict[str, str], body: bytes) -> None:
        if query.get("list-type") != "2" or query.keys() - _LISTING:
            self.kept.faults.append(f"list {query}")
            return self.fail(400, "InvalidArgument")
        after = query.get("continuation-token", query.get("start-after", ""))
        names = sorted(one for one in self.kept.blobs if one.startswith(query.get("prefix", "")) and one > after)
        limit = min(int(query.get("max-keys", 1000)), 1000)
        page, more = names[:limit], names[limit:]
        contents = "".join(
            f'<Contents><Key>{escape(one)}</Key><Size>{len(self.kept.blobs[one])}</Size><ETag>"{_md5(self.kept.blobs[one])}"</ETag>'
            f"<LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>"
            for one in page
        )
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        return self.say(
            200,
            f"<?xml version='1.0'?><ListBucketResult><Name>{BUCKET}</Name><IsTruncated>{str(bool(more)).lower()}"
            f"</IsTruncated>{token}{contents}</ListBucketResult>".encode(),
        )

    def read(self, key: str, query: dict[str, str], body: bytes) -> None:
        data = self.kept.blobs.get(key)
        return self.fail(404, "NoSuchKey") if data is None else self.give(data)

    def put(self, key: str, query: dict[str, str], body: bytes) -> None:
        origin = self.headers.get("x-goog-copy-source")
        if origin is not None:
            bucket, _, name = unquote(origin).lstrip("/").partition("/")
            if bucket != BUCKET or name not in self.kept.blobs:
                return self.fail(404, "NoSuchBucket" if bucket != BUCKET else "NoSuchKey")
            self.kept.blobs[key] = self.kept.blobs[name]
            said = f'<ETag>"{_md5(self.kept.blobs[key])}"</ETag>'
            return self.say(200, f"<?xml version='1.0'?><CopyObjectResult>{said}</CopyObjectResult>".encode())
        self.kept.blobs[key] = body
        return self.say(200, ETag=f'"{_md5(body)}"', x_goog_generation="1")

    def remove(self, key: str, query: dict[str, str], body: bytes) -> None:
        if self.kept.blobs.pop(key, None) is None:
            return self.fail(404, "NoSuchKey")
        return self.say(204)

    def begin(self, key: str, query: dict[str, str], body: bytes) -> None:
        mark = os.urandom(8).hex()
        self.kept.parts[mark] = {}
        said = f"<Bucket>{BUCKET}</Bucket><Key>{escape(key)}</Key><UploadId>{mark}</UploadId>"
        self.say(200, f"<InitiateMultipartUploadResult>{said}</InitiateMultipartUploadResult>".encode())

    def part(self, key: str, query: dict[str, str], body: bytes) -> None:
        parts, number = self.kept.parts.get(query["uploadId"]), int(query["partNumber"])
        if parts is None or not 1 <= number <= 10_000:
            return self.fail(404 if parts is None else 400, "NoSuchUpload" if parts is None else "InvalidArgument")
        parts[number] = body
        return self.say(200, ETag=f'"{_md5(body)}"')

    def complete(self, key: str, query: dict[str, str], body: bytes) -> None:
        parts = self.kept.parts.get(query["uploadId"])
        if parts is None:
            return self.fail(404, "NoSuchUpload")
        tree = ET.fromstring(re.sub(rb' xmlns="[^"]*"', b"", body))
        asked = [(int(one.findtext("PartNumber", "0")), one.findtext("ETag", "")) for one in tree.iterfind("Part")]
        good = asked == sorted(asked) and all(_md5(parts.get(number, b"")) == mark.strip('"') for number, mark in asked)
        if not asked or not good or any(len(parts[number]) < 5 << 20 for number, _ in asked[:-1]):
            return self.fail(400, "InvalidPart")
        self.kept.blobs[key] = b"".join(parts[number] for number, _ in asked)
        del self.kept.parts[query["uploadId"]]
        said = f'<Key>{escape(key)}</Key><ETag>"{_md5(self.kept.blobs[key])}"</ETag>'
        return self.say(200, f"<CompleteMultipartUploadResult>{said}</CompleteMultipartUploadResult>".encode())

    def abort(self, key: str, query: dict[str, str], body: bytes) -> None:
        self.kept.parts.pop(query["uploadId"], None)
        self.say(204)


_LISTING = {"list-type", "prefix", "max-keys", "continuation-token", "start-after", "delimiter"}


def _md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that hangs up is what some tests are about."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handle_error(request, client_address)


@contextmanager
def _stand_in(kind: type[_Speaker]) -> Iterator[tuple[int, Kept]]:
    kept = Kept()
    server = _Server(("127.0.0.1", 0), type("Bound", (kind,), {"kept": kept}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1], kept
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def web() -> contextlib.AbstractContextManager[tuple[int, Kept]]:
    """A web server; who asks is `mk` with the secret."""
    return _stand_in(_Web)


def gcs() -> contextlib.AbstractContextManager[tuple[int, Kept]]:
    """Google Cloud Storage; the token is the secret."""
    return _stand_in(_Gcs)
