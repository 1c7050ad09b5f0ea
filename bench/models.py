"""A registry of models: modelkeep beside GTO, one git repository, whole commands from start to exit.

    python bench/models.py [--versions 10000] [--repeat 5] [--gto-timeout 300]

The repository is made by `git fast-import`: one model with so many versions, each a commit with a model's `.dvc` file,
the data's, `dvc.yaml` and a file of metrics, and a fifth as many promotions over three stages; then five more models
with a tenth of the versions each. All tags are packed, as after a clone. Both tools write the same tags, so both read
the same repository. GTO is pinned in bench/peers/gto.txt (`make services`). Least of the repeats; GTO, which needs far
longer, runs once per question when one run takes more than ten seconds, and is given up after --gto-timeout.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
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


def timed(command: list[str], folder: Path, repeat: int, limit_s: float) -> float | None:
    """The least time in ms; None when it took longer than the limit, or failed."""
    times = []
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(repeat):
        began = time.perf_counter()
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, timeout=limit_s, env=environment, check=False
            )
        except subprocess.TimeoutExpired:
            return None
        taken = 1000 * (time.perf_counter() - began)
        if done.returncode:
            print(f"    {' '.join(command[1:])}: {done.stderr.decode()[-200:].strip()}")
            return None
        times.append(taken)
        if taken > 10_000:
            break
    return min(times)


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--versions", type=int, default=10_000)
    given.add_argument("--repeat", type=int, default=5)
    given.add_argument("--gto-timeout", type=float, default=300.0)
    options = given.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-models-"))
    try:
        made(folder, options.versions)
        report(folder, options.versions, options.repeat, options.gto_timeout)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def report(folder: Path, versions: int, repeat: int, limit_s: float) -> None:
    tags = subprocess.run(["git", "tag"], cwd=folder, capture_output=True, check=True).stdout.count(b"\n")
    print(f"{versions} versions of one model, {tags} tags in all; whole commands, ms")
    first = timed([str(MODELKEEP), "model", "list"], folder, 1, limit_s)
    print(f"{'first question of all, nothing remembered':<46} {first or 0:9.0f}")
    print(f"{'':<46} {'modelkeep':>9} {'gto':>9} {'ratio':>7}")
    worst = 0.0
    middle = str(versions // 2)
    for question, ours, theirs in [*QUESTIONS, *writes(versions)]:
        command = [str(MODELKEEP), "model", *(word.format(middle=middle) for word in ours)]
        mine = timed(command, folder, 1 if "{once}" in question else repeat, limit_s)
        gto = timed([str(GTO), *theirs], folder, repeat, limit_s) if theirs and GTO.exists() else None
        told = f"{gto:9.0f}" if gto else f"{'> ' + str(round(limit_s)) + ' s' if theirs else '-':>9}"
        ratio = f"{gto / mine:6.0f}x" if gto and mine else ""
        worst = max(worst, mine or limit_s * 1000)
        print(f"{question.replace('{once}', ''):<46} {mine or 0:9.0f} {told} {ratio}")
    print(f"slowest {worst:.0f} ms, aim {AIM_MS:.0f} ms: {'reached' if worst <= AIM_MS else 'missed'}")


def writes(versions: int) -> list[tuple[str, list[str], list[str] | None]]:
    """Commands that make a tag; each tool has its own name, so that neither finds its work done."""
    version = name(versions // 3)
    return [
        (
            "promote{once}",
            ["promote", f"churn@{version}", "blue"],
            ["assign", "churn", "--version", version, "--stage", "green"],
        ),
        ("roll back{once}", ["rollback", "churn", "production"], None),
        ("register{once}", ["register", "fresh"], ["register", "newer"]),
    ]


if __name__ == "__main__":
    main()
