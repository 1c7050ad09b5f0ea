"""The contract of every remote: what goes there comes back, whole or not at all, and what it refuses is understood."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from modelkeep.core.errors import BadInput, Busy, Denied, Error, Missing, Unreachable
from modelkeep.core.kinds import Kind
from modelkeep.store import objectstore, transfers
from modelkeep.store.objectstore import Bucket
from modelkeep.store.remote import PACKAGE, Download, Remote, Upload, connect
from tests.store import remote_servers as servers
from tests.store import remote_stand_ins as stand_ins
from tests.store.remote_servers import BUCKET, SECRET, Road
from tests.store.remote_stand_ins import Kept

CANARY = "canary-of-wrong-credentials"
LARGE = 3 << 20
MEGABYTE = 1 << 20


@dataclass
class Rig:
    """A remote's kind with its server.

    Args:
        url: of a new folder.
        options: that let us in.
        stranger: options with credentials that are wrong; None when there are none.
        road: the way there; None when there is no network between.
        refuses: whether the road may answer HTTP statuses in the server's place.
        lists: whether it can be listed.
        atomic: whether nobody ever sees half of a blob.
        kept: what a stand-in holds.
    """

    url: str
    options: dict[str, str] = field(default_factory=dict)
    stranger: dict[str, str] | None = None
    road: Road | None = None
    refuses: bool = False
    lists: bool = True
    kept: Kept | None = None
    folder: Path | None = None


class House:
    """Starts each server when it is first needed, and stops all at the end.

    Args:
        folder: for what they write.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self._stack = folder, stack
        self._ports: dict[str, tuple[Road, Kept | None]] = {}

    def road(self, name: str) -> tuple[Road, Kept | None]:
        if name not in self._ports:
            place = self.folder / name
            place.mkdir()
            kept: Kept | None = None
            if name in {"gcs", "web"}:
                port, kept = self._stack.enter_context(getattr(stand_ins, name)())
            else:
                port = self._stack.enter_context(getattr(servers, name)(place))
            road = Road(port)
            self._stack.callback(road.close)
            self._ports[name] = road, kept
        return self._ports[name]


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with ExitStack() as stack:
        yield House(tmp_path_factory.mktemp("remotes"), stack)


def _local(house: House, mark: str, patch: pytest.MonkeyPatch) -> Rig:
    return Rig(str(house.folder / mark), folder=house.folder / mark)


def _s3(house: House, mark: str, patch: pytest.MonkeyPatch) -> Rig:
    road, _ = house.road("s3")
    options = {"endpointurl": road.url, "access_key_id": "AKIATEST", "secret_access_key": SECRET}
    return Rig(f"s3://{BUCKET}/{mark}", options, road=road, refuses=True)


def _azure(house: House, mark: str, patch: pytest.MonkeyPatch) -> Rig:
    road, _ = house.road("azure")

    def said(key: str) -> dict[str, str]:
        parts = f"AccountName={servers.ACCOUNT};AccountKey={key};BlobEndpoint={road.url}/{servers.ACCOUNT}"
        return {"connection_string": f"DefaultEndpointsProtocol=http;{parts};"}

    wrong = "Y2FuYXJ5LW9mLXdyb25nLWNyZWRlbnRpYWxzY2FuYXJ5"
    return Rig(f"azure://{BUCKET}/{mark}", said(servers.ACCOUNT_KEY), said(wrong), road=road, refuses=True)


def _gcs(house: House, mark: str, patch: pytest.MonkeyPatch) -> Rig:
    road, kept = house.road("gcs")
    options = {"endpointurl": road.url, "access_token": SECRET}
    return Rig(
        f"gs://{BUCKET}/{mark}", options, {**options, "access_token": CANARY}, road=road, refuses=True, kept=kept
    )


def _http(house: House, mark: str, patch: pytest.MonkeyPatch) -> Rig:
    road, kept = house.road("web")
    options = {"auth": "basic", "user": "mk", "password": SECRET, "method": "PUT"}
    stranger = {**options, "password": CANARY}
    return Rig(f"{road.url}/{mark}", options, stranger, road=road, refuses=True, lists=False, kept=kept)


def _webdav(house: House, mark: str, patch: pytest.MonkeyPatch) -> Rig:
    road, _ = house.road("webdav")
    options = {"user": "mk", "password": SECRET}
    place = house.folder / "webdav" / mark
    url = road.url.replace("http:", "webdav:")
    return Rig(f"{url}/dav/{mark}", options, {**options, "password": CANARY}, road=road, refuses=True, folder=place)


def _ssh(house: House, mark: str, patch: pytest.MonkeyPatch) -> Rig:
    road, _ = house.road("sshd")
    keys = house.folder / "sshd"
    home = house.folder / f"home-{mark}"
    (home / ".ssh").mkdir(parents=True)
    host = (keys / "host.pub").read_text()
    (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{road.port} {host}")
    patch.setenv("HOME", str(home))
    patch.delenv("SSH_AUTH_SOCK", raising=False)
    options = {"keyfile": str(keys / "user"), "port": str(road.port), "timeout": "10"}
    stranger = {**options, "keyfile": str(keys / "stranger"), "password": CANARY}
    return Rig(f"ssh://127.0.0.1{house.folder}/{mark}", options, stranger, road=road, folder=house.folder / mark)


RIGS: dict[str, tuple[Callable[[House, str, pytest.MonkeyPatch], Rig], str]] = {
    "local": (_local, ""),
    "s3": (_s3, "moto_server"),
    "azure": (_azure, "azurite-blob"),
    "gcs": (_gcs, ""),
    "http": (_http, ""),
    "webdav": (_webdav, ""),
    "ssh": (_ssh, "sshd"),
}
ALL = [pytest.param(name, marks=[pytest.mark.needs(need)] if need else []) for name, (_, need) in RIGS.items()]


@pytest.fixture(params=ALL)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def rig(name: str, house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    for variable in [one for one in os.environ if one.startswith(("AWS_", "AZURE_", "GOOGLE_", "CLOUDSDK_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setattr(objectstore, "_SMALL_BYTES", MEGABYTE)
    monkeypatch.setattr(objectstore, "_PART_BYTES", 5 * MEGABYTE)
    monkeypatch.setattr(objectstore, "_RANGE_BYTES", MEGABYTE // 2)
    for patience in {id(one): one for one in (objectstore.RETRY, transfers.PATIENCE)}.values():
        monkeypatch.setattr(patience, "first_s", 0.05)
        monkeypatch.setattr(patience, "longest_s", 0.2)
        monkeypatch.setattr(patience, "tries", 4)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(house.folder))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    rig = RIGS[name][0](house, f"{name}-{os.urandom(4).hex()}", monkeypatch)
    yield rig
    if rig.road is not None:
        rig.road.cut("up")
        rig.road.cut("down")
        rig.road.answer()
    if rig.kept is not None:
        assert rig.kept.faults == []
        rig.kept.elsewhere = ""


@pytest.fixture
def remote(rig: Rig) -> Iterator[Remote]:
    remote = connect(rig.url, rig.options)
    yield remote
    remote.close()


class Counter:
    """Adds up what moved."""

    def __init__(self) -> None:
        self.bytes = 0

    def __call__(self, amount: int) -> None:
        self.bytes += amount


def send(remote: Remote, blobs: dict[str, bytes]) -> int:
    counter = Counter()
    outcomes = list(remote.upload([Upload(key, data, len(data)) for key, data in blobs.items()], counter))
    assert sorted(outcome.key for outcome in outcomes) == sorted(blobs)
    assert [outcome for outcome in outcomes if outcome.error is not None] == []
    return counter.bytes


def fetch(remote: Remote, key: str, path: Path, size: int | None = None) -> tuple[Error | None, int]:
    counter = Counter()
    outcomes = list(remote.download([Download(key, path, size)], counter))
    assert [outcome.key for outcome in outcomes] == [key]
    return outcomes[0].error, counter.bytes


def drawn(size: int, seed: int = 7) -> bytes:
    return random.Random(seed).randbytes(size)


KEYS = {
    "files/md5/d4/1d8cd98f00b204e9800998ecf8427e": b"",
    "files/md5/0c/c175b9c0f1b6a831c399e269772661": b"a",
    "files/md5/0c/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.dir": b"[]" * 100,
    "files/md5/ff/mittel": drawn(300_000),
    "ablage/größe 日本 %41+&#.bin": b"unicode",
    "0c/c175b9c0f1b6a831c399e269772661": b"legacy",
}


def test_every_remote_has_a_rig() -> None:
    assert set(Kind[Remote](PACKAGE).names()) == set(RIGS)


def test_what_is_sent_comes_back(rig: Rig, remote: Remote, tmp_path: Path) -> None:
    assert send(remote, KEYS) == sum(map(len, KEYS.values()))
    assert remote.has([*KEYS, "files/md5/0c/nothing"]) == set(KEYS)
    for key, data in KEYS.items():
        stat = remote.stat(key)
        assert stat is not None
        assert (stat.key, stat.size) == (key, len(data))
        assert remote.read(key) == data
    counter = Counter()
    items = [
        Download(key, tmp_path / str(at), len(data) if at % 2 else None) for at, (key, data) in enumerate(KEYS.items())
    ]
    assert {outcome.error for outcome in remote.download(items, counter)} == {None}
    assert [item.path.read_bytes() for item in items] == list(KEYS.values())
    assert counter.bytes == sum(map(len, KEYS.values()))
    if rig.lists:
        assert {stat.key: stat.size for stat in remote.list()} == {key: len(data) for key, data in KEYS.items()}
        assert {stat.key for stat in remote.list("files/md5/0c")} == {key for key in KEYS if "md5/0c/" in key}
        assert list(remote.list("files/md5/nowhere")) == []
    else:
        with pytest.raises(BadInput):
            remote.list()


def test_a_large_file_comes_back(remote: Remote, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    size = 11 * MEGABYTE + 5 if isinstance(remote, Bucket) else LARGE
    source.write_bytes(drawn(size))
    counter = Counter()
    key = "files/md5/aa/large"
    assert [one.error for one in remote.upload([Upload(key, source, size)], counter)] == [None]
    assert counter.bytes == size
    assert fetch(remote, key, target) == (None, size)
    assert hashlib.sha256(target.read_bytes()).digest() == hashlib.sha256(source.read_bytes()).digest()


def test_a_blob_that_is_sent_again_is_replaced(remote: Remote) -> None:
    send(remote, {"files/md5/aa/b": b"old", "files/md5/aa/c": b"kept"})
    send(remote, {"files/md5/aa/b": b"newer"})
    assert remote.read("files/md5/aa/b") == b"newer"
    assert remote.read("files/md5/aa/c") == b"kept"


def test_what_is_not_there(remote: Remote, tmp_path: Path) -> None:
    assert remote.stat("files/md5/00/none") is None
    assert remote.has(["files/md5/00/none", "files/md5/00/neither", "files/md5/00/nor", "x"]) == set()
    with pytest.raises(Missing, match="files/md5/00/none"):
        remote.read("files/md5/00/none")
    error, moved = fetch(remote, "files/md5/00/none", tmp_path / "none")
    assert isinstance(error, Missing)
    assert moved == 0
    remote.delete(["files/md5/00/none"])


def test_what_is_deleted_is_gone(remote: Remote) -> None:
    blobs = {f"files/md5/{at:02x}/{at}": b"x" for at in range(12)}
    send(remote, blobs)
    gone = list(blobs)[:7]
    remote.delete([*gone, "files/md5/00/none"])
    assert remote.has(list(blobs)) == set(blobs) - set(gone)


def test_many_at_once(remote: Remote, tmp_path: Path) -> None:
    blobs = {f"files/md5/{at % 16:02x}/{at:030x}": drawn(1000 + at, at) for at in range(120)}
    send(remote, blobs)
    assert remote.has([*blobs, *(f"files/md5/{at % 16:02x}/{at:030x}" for at in range(900, 1000))]) == set(blobs)
    items = [Download(key, tmp_path / key.replace("/", "-"), None) for key in blobs]
    assert {outcome.error for outcome in remote.download(items, lambda amount: None)} == {None}
    assert all(item.path.read_bytes() == blobs[item.key] for item in items)


def test_a_key_that_leads_elsewhere_is_refused(remote: Remote, tmp_path: Path) -> None:
    for key in ("../x", "/etc/passwd", "a/../../b", "", "a\x00b", "a//b"):
        with pytest.raises(BadInput):
            remote.stat(key)
        with pytest.raises(BadInput):
            remote.read(key)
        assert isinstance(fetch(remote, key, tmp_path / "x")[0], BadInput)
        assert isinstance(next(iter(remote.upload([Upload(key, b"x", 1)], lambda amount: None))).error, BadInput)


def test_a_source_that_changed_or_went_is_no_blob(remote: Remote, tmp_path: Path) -> None:
    changed, large = tmp_path / "changed", tmp_path / "large"
    changed.write_bytes(b"longer than announced")
    large.write_bytes(drawn(2 << 20))
    items = [
        Upload("files/md5/aa/changed", changed, 3),
        Upload("files/md5/aa/large", large, (2 << 20) + 5),
        Upload("files/md5/aa/gone", tmp_path / "gone", 3),
        Upload("files/md5/aa/good", b"good", 4),
    ]
    errors = {outcome.key: outcome.error for outcome in remote.upload(items, lambda amount: None)}
    assert [key for key, error in errors.items() if error is None] == ["files/md5/aa/good"]
    assert remote.has([item.key for item in items]) == {"files/md5/aa/good"}


@pytest.mark.parametrize("size", [100_000, LARGE])
def test_a_download_goes_on_where_it_ended(remote: Remote, tmp_path: Path, size: int) -> None:
    data, path = drawn(size), tmp_path / "file"
    key = "files/md5/aa/large"
    send(remote, {key: data})
    for held, announced in ((size // 3, size), (size // 2, None)):
        path.write_bytes(data[:held])
        assert fetch(remote, key, path, announced) == (None, size - held)
        assert path.read_bytes() == data
    assert fetch(remote, key, path, size) == (None, 0)
    assert fetch(remote, key, path, None) == (None, 0)
    path.write_bytes(data + b"too long")
    assert fetch(remote, key, path, None)[0] is None
    assert path.read_bytes() == data


def test_a_cut_download_keeps_what_came(rig: Rig, remote: Remote, tmp_path: Path) -> None:
    if rig.road is None:
        return
    data, path = drawn(LARGE), tmp_path / "file"
    send(remote, {"files/md5/aa/large": data})
    rig.road.cut("down", *[700_000] * 40)
    error, _ = fetch(remote, "files/md5/aa/large", path)
    rig.road.cut("down")
    assert data.startswith(path.read_bytes())
    if error is not None:
        assert isinstance(error, Unreachable)
        assert fetch(remote, "files/md5/aa/large", path)[0] is None
    assert path.read_bytes() == data


def test_a_cut_upload_leaves_nothing(rig: Rig, remote: Remote) -> None:
    if rig.road is None:
        return
    send(remote, {"files/md5/bb/other": b"x"})
    large, small = drawn(LARGE), drawn(400_000)
    rig.road.cut("up", *[150_000] * 60)
    items = [Upload("files/md5/aa/large", large, LARGE), Upload("files/md5/aa/small", small, len(small))]
    outcomes = list(remote.upload(items, lambda amount: None))
    rig.road.cut("up")
    assert all(isinstance(outcome.error, Unreachable) for outcome in outcomes)
    assert remote.has([item.key for item in items]) == set()
    if rig.lists:
        assert [stat.key for stat in remote.list()] == ["files/md5/bb/other"]
    send(remote, {item.key: item.source for item in items if isinstance(item.source, bytes)})
    assert remote.read("files/md5/aa/small") == small


_SENDER = """
import sys
from pathlib import Path
from modelkeep.store.remote import Upload, connect
options = dict(pair.split("=", 1) for pair in sys.argv[3:])
remote = connect(sys.argv[1], options)
source = Path(sys.argv[2])
size = source.stat().st_size
items = [Upload(f"files/md5/{at:02x}/x", source, size) for at in range(40)]
def moved(amount):
    print("moved", flush=True)
for outcome in remote.upload(items, moved):
    print(outcome.key, flush=True)
"""


def test_a_killed_upload_leaves_nothing_half(rig: Rig, remote: Remote, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(drawn(700_000))
    digest = hashlib.sha256(source.read_bytes()).digest()
    options = [f"{name}={value}" for name, value in rig.options.items()]
    with subprocess.Popen(
        [sys.executable, "-c", _SENDER, rig.url, str(source), *options], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(3):
            assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        told = [line.strip() for line in process.stdout if "/" in line]
    keys = [f"files/md5/{at:02x}/x" for at in range(40)]
    there = remote.has(keys)
    assert there >= set(told)
    for key in there:
        assert hashlib.sha256(remote.read(key)).digest() == digest
    send(remote, {"files/md5/zz/after": b"x"})
    if rig.lists:  # what was on its way in whole requests may have come to be meanwhile
        listed = {stat.key: stat.size for stat in remote.list()}
        assert there < listed.keys() <= {*keys, "files/md5/zz/after"}
        assert set(listed.values()) <= {1, 700_000}


def test_wrong_credentials_are_denied_and_never_shown(rig: Rig, tmp_path: Path) -> None:
    if rig.stranger is None:
        return
    errors: list[Error] = []
    remote = connect(rig.url, rig.stranger)
    with pytest.raises(Denied) as caught:
        remote.read("files/md5/aa/b")
    errors.append(caught.value)
    outcomes = [
        *remote.upload([Upload("files/md5/aa/b", b"x", 1)], lambda amount: None),
        *remote.download([Download("files/md5/aa/b", tmp_path / "b", 1)], lambda amount: None),
    ]
    errors += [outcome.error for outcome in outcomes if outcome.error is not None]
    assert len(errors) == 3
    assert all(isinstance(error, Denied) for error in errors)
    secrets = [
        value for name, value in rig.stranger.items() if name not in {"user", "port", "timeout", "auth", "method"}
    ]
    told = " ".join(f"{error!r} {error} {error.hint} {error.__cause__!r}" for error in errors) + repr(remote)
    assert not [secret for secret in [*secrets, CANARY] if secret in told]
    remote.close()


def test_what_the_server_answers_is_understood(rig: Rig, remote: Remote) -> None:
    if not rig.refuses:
        return
    assert rig.road is not None
    send(remote, {"files/md5/aa/b": b"x"})
    for status, kind in ((401, Denied), (403, Denied), (429, Busy), (500, Unreachable), (503, (Busy, Unreachable))):
        rig.road.answer(*[status] * 30)
        with pytest.raises(kind) as caught:  # type: ignore[arg-type]
            remote.read("files/md5/aa/b")
        assert SECRET not in f"{caught.value} {caught.value.hint}"
        assert 1 <= rig.road.asked <= 8
    rig.road.answer()
    assert remote.read("files/md5/aa/b") == b"x"


def test_a_server_in_short_trouble_is_asked_again(rig: Rig, remote: Remote, tmp_path: Path) -> None:
    if not rig.refuses:
        return
    assert rig.road is not None
    send(remote, {"files/md5/aa/a": b"x"})
    rig.road.answer(503, 503)
    send(remote, {"files/md5/aa/b": b"y"})
    rig.road.answer(503, 500)
    assert remote.read("files/md5/aa/b") == b"y"
    rig.road.answer(503, 503)
    assert fetch(remote, "files/md5/aa/b", tmp_path / "b")[0] is None


def test_nobody_there(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if rig.road is None:
        return
    closed = str(servers.free_port())
    port = str(rig.road.port)
    options = {name: value.replace(port, closed) for name, value in rig.options.items()}
    remote = connect(rig.url.replace(f":{port}", f":{closed}"), options)
    with pytest.raises(Unreachable):
        remote.read("files/md5/aa/b")
    items = [Download(f"files/md5/aa/{at}", tmp_path / str(at), 1) for at in range(200)]
    outcomes = list(remote.download(items, lambda amount: None))
    assert len(outcomes) == 200
    assert all(isinstance(outcome.error, Unreachable) for outcome in outcomes)
    remote.close()


def test_threads_end_and_a_reader_may_stop_early(remote: Remote, tmp_path: Path) -> None:
    blobs = {f"files/md5/aa/{at}": b"x" * 100 for at in range(100)}
    send(remote, blobs)
    items = [Download(key, tmp_path / key.replace("/", "-"), None) for key in blobs]
    running = remote.download(items, lambda amount: None)
    assert next(iter(running)).error is None
    if hasattr(running, "close"):
        running.close()
    assert remote.has(list(blobs)) == set(blobs)


def test_what_is_moved_lies_under_its_new_key_alone(remote: Remote) -> None:
    move = getattr(remote, "move", None)
    if move is None:
        pytest.skip("this remote moves nothing")
    send(remote, {"files/md5/aa/one": b"one", "files/md5/aa/two": b"two"})
    move([("files/md5/aa/one", "trash/now/files/md5/aa/one"), ("files/md5/aa/absent", "trash/now/absent")])
    assert remote.has(["files/md5/aa/one", "files/md5/aa/two"]) == {"files/md5/aa/two"}
    assert remote.read("trash/now/files/md5/aa/one") == b"one"
    assert sorted(stat.key for stat in remote.list("trash")) == ["trash/now/files/md5/aa/one"]
