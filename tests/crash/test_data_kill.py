"""kill -9 of data commands: nothing partial is ever visible, the next run completes, and sends nothing whole again."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

from modelkeep.core.errors import Missing
from modelkeep.store.remote import Remote, connect
from tests.data.transfers import Ground, ground
from tests.store import remote_servers

SMALL, LARGE = 60, 6 << 20
"""A folder of small files, and one file that travels in parts."""
LAYOUT = "files/md5"


@dataclass
class Kept:
    """A remote of any kind, as a test looks at it from outside."""

    url: str
    options: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def open(self) -> Iterator[Remote]:
        before = dict(os.environ)
        os.environ.update(self.environment)
        remote = connect(self.url, self.options)
        try:
            yield remote
        finally:
            remote.close()
            os.environ.clear()
            os.environ.update(before)

    def objects(self) -> set[str]:
        """Every visible object, each read and hashed; a server may still carry out what a killed process asked for."""
        found: set[str] = set()
        with self.open() as remote:
            for key in [stat.key for stat in remote.list(LAYOUT)]:
                oid = "".join(key.split("/")[-2:])
                with suppress(Missing):
                    assert md5(remote.read(key)).hexdigest() == oid[:32], f"{key} is visible and not whole"
                    found.add(oid)
        return found

    def clear(self) -> None:
        with self.open() as remote:
            remote.delete([stat.key for stat in remote.list()])


class Bench:
    """A repository whose commands are killed."""

    def __init__(self, here: Ground, kept: Kept) -> None:
        self.here, self.kept = here, kept
        lines = [f"['remote \"{'origin'}\"']", f"    url = {kept.url}"]
        lines += [f"    {name} = {value}" for name, value in kept.options.items()]
        (here.root / ".dvc" / "config").write_text("\n".join(["[core]", "    remote = origin", *lines, ""]))
        source = random.Random(3)
        for number in range(SMALL):
            here.write(f"data/{number % 7}/f{number}", source.randbytes(2000))
        here.write("large.bin", source.randbytes(LARGE))

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "modelkeep", *words],
            cwd=self.here.root,
            env={**os.environ, **self.kept.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> dict[str, Any]:
        process = self.start(*words)
        out, err = process.communicate(timeout=100)
        assert process.returncode == 0, f"{words}: {out}{err}"
        found: dict[str, Any] = json.loads(out) if "--json" in words else {}
        return found

    def timed(self, *words: str) -> float:
        began = time.monotonic()
        self.run(*words)
        return time.monotonic() - began

    def kill(self, after_s: float, *words: str) -> bool:
        """Kills a command after some time; False when it was done before."""
        process = self.start(*words)
        try:
            process.wait(timeout=after_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.communicate()
        return process.returncode == -signal.SIGKILL

    def undo(self, *words: str) -> bool:
        """Brings back what a run of gc took away; False when there is no more."""
        process = self.start("gc", "--undo", *words)
        out, err = process.communicate(timeout=100)
        assert process.returncode in {0, 3}, out + err
        return process.returncode == 0

    def cached(self) -> set[str]:
        """Every object that is visible in the cache, each read and hashed."""
        found = self.here.objects()
        for oid, path in found.items():
            assert md5(path.read_bytes()).hexdigest() == oid[:32], f"{path} is visible and not whole"
        return set(found)

    def tree(self) -> dict[str, bytes]:
        tops = [self.here.root / "data", self.here.root / "large.bin"]
        files = [path for top in tops for path in ([top] if top.is_file() else top.rglob("*")) if path.is_file()]
        return {path.relative_to(self.here.root).as_posix(): path.read_bytes() for path in files}


@contextmanager
def local(folder: Path) -> Iterator[Kept]:
    (folder / "kept").mkdir(exist_ok=True)
    yield Kept(str(folder / "kept"))


@contextmanager
def s3(folder: Path) -> Iterator[Kept]:
    (folder / "server").mkdir()
    with remote_servers.s3(folder / "server") as port:
        yield Kept(
            f"s3://{remote_servers.BUCKET}/some/prefix",
            {"endpointurl": f"http://127.0.0.1:{port}", "region": "us-east-1"},
            {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"},
        )


@contextmanager
def webdav(folder: Path) -> Iterator[Kept]:
    (folder / "server").mkdir()
    with remote_servers.webdav(folder / "server") as port:
        yield Kept(f"webdav://127.0.0.1:{port}/dav", {"user": "mk", "password": remote_servers.SECRET})


REMOTES = {"local": local, "s3": s3, "webdav": webdav}
NEEDS_S3 = pytest.mark.needs("moto_server")
CI = [
    ("local", "push", 2),
    ("local", "pull", 1),
    ("local", "add", 1),
    ("local", "checkout", 1),
    ("local", "gc", 1),
    pytest.param("s3", "push", 1, marks=NEEDS_S3),
    ("webdav", "pull", 1),
]


def points(count: int, whole_s: float) -> list[float]:
    """Moments from the end of start-up to a little after the end."""
    source = random.Random(count)
    return sorted(source.uniform(0.08, whole_s * 1.05) for _ in range(count))


def push_killed(bench: Bench, count: int) -> None:
    bench.run("add", "data", "large.bin")
    oids = bench.cached()
    whole_s = bench.timed("push")
    for after_s in points(count, whole_s):
        bench.kept.clear()
        bench.kill(after_s, "push")
        before = bench.kept.objects()
        manifests = {oid for oid in before if oid.endswith(".dir")}
        assert not manifests or len(before) >= SMALL + 1, "a manifest is there before its members"
        moved = bench.run("push", "--json")
        assert moved["objects"] == len(oids) - len(before)
        assert bench.kept.objects() == oids


def pull_killed(bench: Bench, count: int) -> None:
    bench.run("add", "data", "large.bin")
    oids, tree = bench.cached(), bench.tree()
    bench.run("push")
    cache = bench.here.cache

    def lose() -> None:
        shutil.rmtree(cache)
        bench.here.lose(*[name for name in ("data", "large.bin") if (bench.here.root / name).exists()])

    lose()
    whole_s = bench.timed("pull")
    for after_s in points(count, whole_s):
        lose()
        bench.kill(after_s, "pull")
        before = bench.cached() if cache.exists() else set()
        assert bench.tree().items() <= tree.items(), "a file of the workspace is not whole"
        waiting = {
            oid
            for path in (cache / "modelkeep" / "incoming").rglob("*")
            if path.is_file() and (oid := path.parent.name + path.name) in oids and hashes(path, oid)
        }
        moved = bench.run("pull", "--json")
        assert moved["objects"] <= len(oids - before - waiting)
        assert bench.cached() == oids
        assert bench.tree() == tree


def hashes(path: Path, oid: str) -> bool:
    return md5(path.read_bytes()).hexdigest() == oid[:32]


def add_killed(bench: Bench, count: int) -> None:
    tree = bench.tree()
    whole_s = bench.timed("add", "data", "large.bin")
    oids = bench.cached()
    metafiles = {name: (bench.here.root / name).read_bytes() for name in ("data.dvc", "large.bin.dvc")}
    for after_s in points(count, whole_s):
        shutil.rmtree(bench.here.cache)
        shutil.rmtree(bench.here.root / ".dvc" / "tmp")
        for name in metafiles:
            (bench.here.root / name).unlink()
        bench.kill(after_s, "add", "data", "large.bin")
        bench.cached() if bench.here.cache.exists() else None
        assert bench.tree() == tree
        for name, content in metafiles.items():
            path = bench.here.root / name
            assert not path.exists() or path.read_bytes() == content
        bench.run("add", "data", "large.bin")
        assert bench.cached() == oids
        assert bench.tree() == tree


def checkout_killed(bench: Bench, count: int) -> None:
    bench.run("add", "data", "large.bin")
    first, old = bench.tree(), (bench.here.root / "data.dvc").read_bytes()
    for number in range(0, SMALL, 2):
        bench.here.write(f"data/{number % 7}/f{number}", b"second %d" % number)
    bench.here.write("data/new/one", b"new")
    (bench.here.root / "data/1/f1").unlink()
    bench.run("add", "data")
    second, new = bench.tree(), (bench.here.root / "data.dvc").read_bytes()
    trees = {old: first, new: second}

    def go(target: bytes) -> None:
        (bench.here.root / "data.dvc").write_bytes(target)

    go(old)
    whole_s = bench.timed("checkout")
    target = new
    for after_s in points(count, whole_s):
        go(target)
        bench.kill(after_s, "checkout")
        between = bench.tree()
        for name, content in between.items():
            assert content in {first.get(name), second.get(name)}, f"{name} is not whole"
        assert between.keys() >= first.keys() & second.keys(), "a file is gone that both versions have"
        bench.run("checkout")
        assert bench.tree() == trees[target]
        target = old if target == new else new


def gc_killed(bench: Bench, count: int) -> None:
    """In the cache and on the remote: what is needed stays visible at every moment, and all can be brought back."""
    bench.run("add", "data")
    needed = bench.cached()
    for number in range(SMALL):
        bench.here.write(f"data/extra{number}", b"extra %d" % number)
    bench.run("add", "data")
    bench.run("push")
    everything = bench.cached()
    for number in range(SMALL):
        (bench.here.root / f"data/extra{number}").unlink()
    bench.run("add", "data")
    bench.run("push")
    words = ("gc", "-w", "-c", "--yes", "--grace", "0")
    whole_s = bench.timed(*words)
    for after_s in points(count, whole_s):
        while bench.undo():
            pass
        while bench.undo("-c"):
            pass
        assert bench.cached() == everything
        assert bench.kept.objects() == everything
        bench.kill(after_s, *words)
        assert bench.cached() >= needed
        assert bench.kept.objects() >= needed
        bench.run(*words)
        assert bench.cached() == needed
        assert bench.kept.objects() == needed


KILLED = {
    "push": push_killed,
    "pull": pull_killed,
    "add": add_killed,
    "checkout": checkout_killed,
    "gc": gc_killed,
}


def killed(folder: Path, remote: str, verb: str, count: int) -> None:
    with REMOTES[remote](folder) as kept:
        KILLED[verb](Bench(ground(folder), kept), count)


@pytest.mark.parametrize(("remote", "verb", "count"), CI)
def test_killed_at_a_few_points(tmp_path: Path, remote: str, verb: str, count: int) -> None:
    killed(tmp_path, remote, verb, count)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.needs("moto_server")
@pytest.mark.parametrize("remote", list(REMOTES))
@pytest.mark.parametrize("verb", list(KILLED))
def test_killed_at_twenty_points(tmp_path: Path, remote: str, verb: str) -> None:
    killed(tmp_path, remote, verb, 20)
