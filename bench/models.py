"""A registry of models: modelkeep beside GTO, one git repository, whole commands from start to exit.

    python bench/models.py [--versions 500 10000] [--repeat 5] [--gto-timeout 60]

The repository is made by `git fast-import`: one model with so many versions, each a commit with a model's `.dvc` file,
the data's, `dvc.yaml` and a file of metrics, and a fifth as many promotions over three stages; then five more models
with a tenth of the versions each. All tags are packed, as after a clone. Both tools write the same tags, so both read
the same repository. GTO is pinned in bench/peers/gto.txt (`make services`). Least of the repeats, once for what writes;
`cpu` is the processor's time for that run, git's among it: on a machine that does nothing else, about what it takes.
GTO runs once, and when it took longer than --gto-timeout it is not asked again at that size.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GTO = ROOT / "build" / "peers" / "gto" / "bin" / "gto"
MODELKEEP = Path(sys.executable).with_name("modelkeep")
STAGES = ("dev", "staging", "production")
START = 1_700_000_000
AIM_MS = 300.0
ONCE = ("promote", "roll back", "register")

QUESTIONS: list[tuple[str, list[str], list[str] | None]] = [
    ("which models are there, what stands where", ["list"], ["show", "--json"]),
    ("versions of a model, with their stages", ["list", "churn", "--json"], ["show", "churn", "--json"]),
    ("newest versions of a model", ["list", "churn"], None),
    ("what stands in production", ["show", "churn@production"], ["show", "churn#production", "--json"]),
    ("which is the highest", ["show", "churn@latest"], ["show", "churn@greatest", "--json"]),
    ("what is number N made of", ["show", "churn@{middle}"], None),
    ("what happened, by whom", ["history", "churn", "--json", "--limit", "0"], ["history", "churn", "--json"]),
    ("last events", ["history", "churn"], None),
    ("what differs between two versions", ["diff", "churn@1", "churn@{middle}"], None),
]


def stream(versions: int) -> Iterator[str]:
    """What git fast-import reads."""
    chance = random.Random(7300)
    at = START
    counts: dict[str, int] = {}
    for model, count in [("churn", versions), *((f"other{number}", versions // 10) for number in range(5))]:
        for number in range(1, count + 1):
            at += 60
            yield from commit(model, number, at)
            yield tag(
                f"{model}@{name(number)}", at,
                f"Registering artifact {model} version {name(number)}\n\n"
                f"Modelkeep-Number: {number}\nModelkeep-Data: md5:{oid(number)}\nModelkeep-Path: model.pkl\n"
                f"Modelkeep-Hash: md5:{oid(number + 7)}\nModelkeep-After: {counts.get(model, 0)}\n",
            )  # fmt: skip
            if number % 5 == 0:
                counts[model] = counts.get(model, 0) + 1
                stage = chance.choice(STAGES)
                text = f"Assigning stage {stage} to artifact {model} version {name(number)}\n"
                yield tag(f"{model}#{stage}#{counts[model]}", at + 1, text)


def commit(model: str, number: int, at: int) -> Iterator[str]:
    files = {
        "dvc.yaml": f"artifacts:\n  {model}:\n    path: model.pkl\n    type: model\nmetrics:\n- metrics.json\n",
        "model.pkl.dvc": f"outs:\n- md5: {oid(number + 7)}\n  size: 1000\n  hash: md5\n  path: model.pkl\n",
        "data.dvc": f"outs:\n- md5: {oid(number)}\n  size: {number}\n  hash: md5\n  path: data\n",
        "metrics.json": f'{{"auc": 0.{number % 1000:03d}}}\n',
        ".dvc/config": "",
    }
    yield "commit refs/heads/main\nmark :1\n"
    yield f"committer Ann Lee <ann@example.org> {at} +0000\n{data(f'Train {model} again, {number}')}"
    for path, text in files.items():
        yield f"M 100644 inline {path}\n{data(text)}"
    yield "\n"


def tag(label: str, at: int, text: str) -> str:
    return f"tag {label}\nfrom :1\ntagger Ben Kim <ben@example.org> {at} +0000\n{data(text)}"


def oid(number: int) -> str:
    return hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()


def data(text: str) -> str:
    return f"data {len(text.encode())}\n{text}\n"


def name(number: int) -> str:
    """Versions of ten patches, a hundred minors: v0.0.1 … v9.99.9."""
    return f"v{number // 1000}.{number // 10 % 100}.{number % 10}"


def made(folder: Path, versions: int) -> None:
    git(folder, "init", "--quiet", "--initial-branch=main", ".")
    git(folder, "config", "user.name", "Ann Lee")
    git(folder, "config", "user.email", "ann@example.org")
    subprocess.run(["git", "fast-import", "--quiet"], cwd=folder, input="".join(stream(versions)).encode(), check=True)
    git(folder, "pack-refs", "--all")
    git(folder, "reset", "--quiet", "--hard")


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=folder, check=True)


def timed(command: list[str], folder: Path, repeat: int, limit_s: float) -> tuple[float, float] | None:
    """The least time in ms, and the processor's; None when it took longer than the limit."""
    times = []
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(repeat):
        began, before = time.perf_counter(), used_s()
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, timeout=limit_s, env=environment, check=False
            )
        except subprocess.TimeoutExpired:
            return None
        times.append((1000 * (time.perf_counter() - began), 1000 * (used_s() - before)))
        if done.returncode:
            sys.exit(f"{' '.join(command)}: {done.stderr.decode()[-500:].strip()}")
    return min(times)


def used_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--versions", type=int, nargs="+", default=[500, 10_000])
    given.add_argument("--repeat", type=int, default=5)
    given.add_argument("--gto-timeout", type=float, default=60.0)
    options = given.parse_args()
    for versions in options.versions:
        folder = Path(tempfile.mkdtemp(prefix="bench-models-"))
        try:
            made(folder, versions)
            report(folder, versions, options.repeat, options.gto_timeout)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def report(folder: Path, versions: int, repeat: int, limit_s: float) -> None:
    tags = subprocess.run(["git", "tag"], cwd=folder, capture_output=True, check=True).stdout.count(b"\n")
    print(f"{versions} versions of one model, {tags} tags in all; whole commands, ms")
    first, cpu = timed([str(MODELKEEP), "model", "list"], folder, 1, 600.0) or (0.0, 0.0)
    print(f"{'':<42} {'modelkeep':>9} {'cpu':>6} {'gto':>9} {'ratio':>7}")
    print(f"{'first question after a clone':<42} {first:9.0f} {cpu:6.0f}")
    slowest, asked = 0.0, GTO.exists()
    for question, ours, theirs in [*QUESTIONS, *writes(versions)]:
        command = [str(MODELKEEP), "model", *(word.format(middle=versions // 2) for word in ours)]
        mine, cpu = timed(command, folder, 1 if question in ONCE else repeat, 600.0) or (0.0, 0.0)
        gto, _ = (timed([str(GTO), *theirs], folder, 1, limit_s) if theirs and asked else None) or (0.0, 0.0)
        told = f"{gto:9.0f} {gto / mine:6.0f}x" if gto else f"{'-':>9}"
        if theirs and asked and not gto:
            asked, told = False, f"{'> ' + str(round(limit_s)) + ' s':>9} {1000 * limit_s / mine:6.0f}x or more"
        print(f"{question:<42} {mine:9.0f} {cpu:6.0f} {told}", flush=True)
        slowest = max(slowest, mine)
    print(f"slowest {slowest:.0f} ms, aim {AIM_MS:.0f} ms: {'reached' if slowest <= AIM_MS else 'missed'}\n")


def writes(versions: int) -> list[tuple[str, list[str], list[str] | None]]:
    """Commands that make a tag; each tool has its own name, so that neither finds its work done."""
    version = name(versions // 3)
    return [
        (
            "promote",
            ["promote", f"churn@{version}", "blue"],
            ["assign", "churn", "--version", version, "--stage", "green"],
        ),
        ("roll back", ["rollback", "churn", "production"], None),
        ("register", ["register", "fresh"], ["register", "newer"]),
    ]


if __name__ == "__main__":
    main()
