"""Eight processes on one repository: all succeed, or wait; none fails for a lock, and the result is consistent."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from hashlib import md5
from pathlib import Path

import pytest

from modelkeep.data.verbs.push import push
from modelkeep.data.verbs.status import status
from tests.data.transfers import Ground, ground

PROCESSES = 8


@pytest.fixture
def here(tmp_path: Path) -> Ground:
    found = ground(tmp_path)
    source = random.Random(5)
    for number in range(PROCESSES):
        for file in range(20):
            found.write(f"d{number}/f{file}", source.randbytes(1000))
    return found


def script(here: Ground, *lines: list[str]) -> subprocess.Popen[str]:
    """Runs commands one after the other in a process of their own; stops at the first that fails."""
    code = (  # one start-up for all of them
        "import sys, json\n"
        "from modelkeep.cli.commands import modelkeep\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    modelkeep.main(words, standalone_mode=False)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(lines)],
        cwd=here.root,
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        out, err = process.communicate(timeout=100)
        assert process.returncode == 0, out + err


def consistent(here: Ground) -> None:
    assert status(here.repo).clean
    for place in (None, here.remote):
        for oid, path in here.objects(place).items():
            assert md5(path.read_bytes()).hexdigest() == oid[:32]
    assert push(here.repo).objects == 0
    assert here.objects(here.remote).keys() == here.objects().keys()


def test_different_paths_go_side_by_side(here: Ground) -> None:
    finished(
        [
            script(here, ["add", f"d{number}"], ["push", f"d{number}"], ["status", f"d{number}"], ["checkout"])
            for number in range(PROCESSES)
        ]
    )
    assert sorted(path.name for path in here.root.glob("d*.dvc")) == [f"d{number}.dvc" for number in range(PROCESSES)]
    ignored = (here.root / ".gitignore").read_text().split()
    assert sorted(ignored) == sorted(f"/d{number}" for number in range(PROCESSES))
    consistent(here)


def test_the_same_path_is_taken_in_turns(here: Ground) -> None:
    finished(
        [script(here, ["add", "d0"], ["push"], ["checkout", "d0"], ["commit", "-f", "d0"]) for _ in range(PROCESSES)]
    )
    consistent(here)


def test_a_killed_process_leaves_no_lock(here: Ground) -> None:
    process = script(here, ["add", *[f"d{number}" for number in range(PROCESSES)]])
    time.sleep(0.35)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    began = time.monotonic()
    finished([script(here, ["add", *[f"d{number}" for number in range(PROCESSES)]], ["push"])])
    assert time.monotonic() - began < 60
    consistent(here)
