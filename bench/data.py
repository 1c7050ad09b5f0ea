"""Data verbs as whole commands: modelkeep beside DVC and git-lfs, the same files, the same disk, in one run.

    python bench/data.py [--shapes small many large] [--modes copy hardlink] [--repeat 3] [--folder build/bench/data]

`small` is 20,000 files of 4 KB, `many` 200,000 of 1 KB, `large` one file of 2 GiB. Every figure is a whole process,
from its start to its end: what a person waits for at the prompt. For each verb the tools take turns on trees of
their own with equal bytes; the disk is flushed before each turn, and the least of the repeats counts. The remote is a
local folder. `changed` is twelve changed files (or the one), then `status` and `add` together: each tool may use what
the first learned in the second. Memory is the largest resident set of the process and its children.

The last lines say how far the first `add` is from what the machine allows: MD5 of the same bytes on one core, and
the creation of as many files of that size.
"""

from __future__ import annotations

import argparse
import compileall
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHAPES = {"small": (20_000, 4096), "many": (200_000, 1024), "large": (1, 2 << 30)}
ATTIC: list[Path] = []
VERBS = (
    "add first",
    "add no-op",
    "status no-op",
    "push",
    "push no-op",
    "checkout all",
    "checkout no-op",
    "pull all",
    "changed",
)
FLOORS = {
    ("add first", "copy"): 3.0,
    ("add first", "hardlink"): 8.0,
    ("add no-op", ""): 8.0,
    ("status no-op", ""): 8.0,
    ("push", "copy"): 8.0,
    ("push no-op", ""): 20.0,
    ("checkout all", "copy"): 6.0,
}
LARGE_FLOORS = {
    ("add first", ""): 1.5,
    ("checkout all", "copy"): 2.0,
    ("add no-op", ""): 8.0,
    ("status no-op", ""): 8.0,
}


@dataclass
class Cost:
    wall: float
    cpu: float
    megabytes: float


@dataclass
class Tool:
    """One tool and the folder that it works in."""

    name: str
    program: list[str]
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *words: str) -> Cost:
        """One whole command; a failure ends the bench."""
        os.sync()
        began = time.perf_counter()
        child = subprocess.Popen(
            [*self.program, *words],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert child.stderr
        told = child.stderr.read().decode(errors="replace")
        _, status, used = os.wait4(child.pid, 0)
        wall = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            sys.exit(f"{self.name} {' '.join(words)} failed ({child.returncode}): {told.strip()[-800:]}")
        return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def fill(folder: Path, files: int, size: int) -> None:
    """The same pseudo-random bytes for every tool."""
    folder.mkdir(parents=True)
    block = hashlib.shake_256(b"modelkeep").digest(1 << 20)
    for number in range(files):
        place = folder / f"{number % 100:02d}"
        if number < 100:
            place.mkdir()
        with (place / f"{number:06d}.bin").open("wb") as file:
            head = number.to_bytes(8, "little")
            if size <= len(block):
                file.write(head + block[: size - 8])
                continue
            for part in range(size // len(block)):
                file.write(part.to_bytes(8, "little") + block[8:])


def change(folder: Path, files: int) -> None:
    for number in range(0, files, max(1, files // 12)):
        path = folder / f"{number % 100:02d}" / f"{number:06d}.bin"
        path.chmod(0o644)
        data = os.urandom(16)
        if path.stat().st_nlink > 1 or path.is_symlink():  # as an editor that saves: a new file takes the name
            fresh = path.with_suffix(".new")
            shutil.copyfile(path, fresh)
            fresh.replace(path)
        with path.open("r+b") as file:
            file.seek(path.stat().st_size // 2)
            file.write(data)


def prepared(tool: Tool, files: int, size: int, mode: str) -> None:
    """A git repository with the data in it and a remote beside it."""
    for old in (tool.folder, tool.folder.parent / f"{tool.name}-remote"):
        gone(old)
    fill(tool.folder / "data", files, size)
    for words in (["init", "-q"], ["config", "user.email", "bench@example.org"], ["config", "user.name", "bench"]):
        subprocess.run(["git", *words], cwd=tool.folder, check=True)
    if tool.name == "git-lfs":
        for words in (["git", "lfs", "install", "--local"], ["git", "lfs", "track", "data/**"]):
            subprocess.run(words, cwd=tool.folder, check=True, stdout=subprocess.DEVNULL)
        return
    tool.run("init", "-q") if tool.name == "dvc" else tool.run("init")
    tool.run("remote", "add", "-d", "store", str(tool.folder.parent / f"{tool.name}-remote"))
    config = tool.folder / ".dvc" / "config"
    config.write_text(config.read_text() + f"[cache]\n    type = {mode}\n")


def gone(path: Path) -> None:
    """Takes a tree out of the way; it is deleted at the end, for ext4 pays for deletions later."""
    if path.exists():
        attic = ATTIC[0]
        attic.mkdir(parents=True, exist_ok=True)
        path.rename(attic / f"{len(list(attic.iterdir()))}")


def verbs(tool: Tool, files: int) -> dict[str, tuple[Callable[[], None], Callable[[], list[Cost]]]]:
    """What to do before each turn, and the turn."""
    remote, cache = tool.folder.parent / f"{tool.name}-remote", tool.folder / ".dvc" / "cache"
    seen = Path(tool.environment.get("DVC_SITE_CACHE_DIR", "/nonexistent"))

    def nothing() -> None:
        pass

    def fresh() -> None:
        """As before the first `add`: the data are plain files, and nobody has seen them."""
        if not (tool.folder / "data.dvc").exists():
            return
        copy = tool.folder / "copy"
        shutil.copytree(tool.folder / "data", copy)
        for folder in (tool.folder / "data", cache, seen, tool.folder / ".dvc" / "tmp"):
            gone(folder)
        copy.rename(tool.folder / "data")
        for path in (tool.folder / "data").rglob("*.bin"):
            path.chmod(0o644)
        (tool.folder / "data.dvc").unlink()

    def here() -> list[Cost]:
        return [tool.run("add", "data")]

    return {
        "add first": (fresh, here),
        "add no-op": (nothing, here),
        "status no-op": (nothing, lambda: [tool.run("status")]),
        "push": (lambda: gone(remote), lambda: [tool.run("push")]),
        "push no-op": (nothing, lambda: [tool.run("push")]),
        "checkout all": (lambda: gone(tool.folder / "data"), lambda: [tool.run("checkout")]),
        "checkout no-op": (nothing, lambda: [tool.run("checkout")]),
        "pull all": (lambda: [gone(tool.folder / "data"), gone(cache)][0], lambda: [tool.run("pull")]),
        "changed": (lambda: change(tool.folder / "data", files), lambda: [tool.run("status"), tool.run("add", "data")]),
    }


def lfs_verbs(tool: Tool, files: int) -> dict[str, tuple[Callable[[], None], Callable[[], list[Cost]]]]:
    """git-lfs has an `add`, a `status` and a `checkout` to compare; its push needs a server."""

    def unstaged() -> None:
        subprocess.run(["git", "rm", "-rq", "--cached", "--ignore-unmatch", "data"], cwd=tool.folder, check=True)
        gone(tool.folder / ".git" / "lfs")

    def committed() -> None:
        subprocess.run(["git", "commit", "-qm", "data", "--allow-empty"], cwd=tool.folder, check=True)
        gone(tool.folder / "data")

    return {
        "add first": (unstaged, lambda: [tool.run("add", "data", ".gitattributes")]),
        "status no-op": (lambda: None, lambda: [tool.run("status", "--short")]),
        "checkout all": (committed, lambda: [tool.run("checkout", "--", "data")]),
    }


def least(costs: list[list[Cost]]) -> Cost:
    sums = [Cost(sum(c.wall for c in turn), sum(c.cpu for c in turn), max(c.megabytes for c in turn)) for turn in costs]
    return Cost(min(c.wall for c in sums), min(c.cpu for c in sums), max(c.megabytes for c in sums))


def limits(folder: Path, files: int, size: int) -> str:
    """What no tool can beat on this machine, now: MD5 of the bytes, and as many files of that size made."""
    block = bytes(min(size, 1 << 20))
    began = time.perf_counter()
    for _ in range(files * size // len(block)):
        hashlib.md5(block, usedforsecurity=False).digest()
    hashing = time.perf_counter() - began
    place = folder / "limit"
    place.mkdir(parents=True)
    began = time.perf_counter()
    for number in range(files):
        fd = os.open(place / str(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
        for _ in range(size // len(block)):
            os.write(fd, block)
        os.close(fd)
    making = time.perf_counter() - began
    gone(place)
    return f"limits: MD5 of the bytes on one core {hashing:.2f} s, writing {files:,} such files {making:.2f} s"


def floor(verb: str, mode: str, shape: str) -> float | None:
    floors = LARGE_FLOORS if shape == "large" else FLOORS
    return floors.get((verb, mode), floors.get((verb, "")))


def compare(shape: str, mode: str, repeat: int, folder: Path, tools: list[Tool]) -> None:
    files, size = SHAPES[shape]
    for tool in tools:
        prepared(tool, files, size, mode)
    acts = {tool.name: (lfs_verbs if tool.name == "git-lfs" else verbs)(tool, files) for tool in tools}
    print(f"\n{shape}: {files:,} × {size:,} B, {mode}")
    print(
        f"{'':16}" + "".join(f"{tool.name + ' s':>13}{'MB':>6}" for tool in tools) + f"{'DVC ×':>9}{'CPU ×':>7}  floor"
    )
    for verb in VERBS:
        turns: dict[str, list[list[Cost]]] = {tool.name: [] for tool in tools}
        for _ in range(repeat):
            for tool in tools:
                if verb in acts[tool.name]:
                    before, act = acts[tool.name][verb]
                    before()
                    turns[tool.name].append(act())
        found = {name: least(costs) for name, costs in turns.items() if costs}
        line = "".join(
            f"{found[tool.name].wall:13.3f}{found[tool.name].megabytes:6.0f}" if tool.name in found else " " * 19
            for tool in tools
        )
        wall, cpu = found["dvc"].wall / found["modelkeep"].wall, found["dvc"].cpu / found["modelkeep"].cpu
        wanted = floor(verb, mode, shape)
        print(f"{verb:16}{line}{wall:9.1f}{cpu:7.1f}  {'' if wanted is None else f'{wanted:g}'}", flush=True)
    print(limits(folder, files, size), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--modes", nargs="*", default=["copy", "hardlink"], choices=["copy", "hardlink"])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "bench" / "data")
    given = parser.parse_args()
    folder = given.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ATTIC.append(folder / "attic")
    peer = ROOT / "build" / "peers" / "dvc" / "bin" / "dvc"
    if not peer.exists():
        sys.exit("DVC is missing: python3 scripts/dev.py services")
    own = {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(folder / "site")}
    tools = [
        Tool("dvc", [str(peer)], folder / "dvc", own),
        Tool("modelkeep", [str(Path(sys.executable).parent / "modelkeep")], folder / "modelkeep"),
    ]
    if shutil.which("git-lfs"):
        tools.append(Tool("git-lfs", ["git"], folder / "git-lfs"))
    else:
        print("git-lfs is not installed: apt-get install git-lfs")
    for name in (ROOT / "src", peer.parent.parent / "lib"):  # as an installation leaves them
        compileall.compile_dir(name, quiet=2)
    version = subprocess.run([str(peer), "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"dvc {version}, {os.cpu_count()} cores, least of {given.repeat}")
    for shape in given.shapes:
        for mode in given.modes:
            compare(shape, mode, given.repeat, folder, tools)
            if shape == "large":
                shutil.rmtree(ATTIC[0], ignore_errors=True)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
