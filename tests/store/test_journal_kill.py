"""kill -9 while several threads append: nothing acknowledged is lost, nothing is there twice."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelkeep.store.journal.journal import Journal

APPENDING = """
import os, sys, threading
from pathlib import Path
import pyarrow as pa
from modelkeep.core.shapes import Part
from modelkeep.store.journal.journal import Journal

journal = Journal(Path(sys.argv[1]), segment_bytes=300_000, reserve_bytes=0)
for token in sys.argv[3].split():
    kept = journal.append([Part("event", pa.record_batch({"token": [token]}))], token=token)
    os.write(1, f"again {token} {kept.seq}\\n".encode())

def append(thread):
    number = 0
    while True:
        token = f"{sys.argv[2]}-{thread}-{number}"
        os.write(1, f"try {token} 0\\n".encode())
        batch = pa.record_batch({"token": [token], "filler": ["x" * (number * 37 % 5000)]})
        kept = journal.append([Part("event", batch)], token=token)
        os.write(1, f"kept {token} {kept.seq}\\n".encode())
        number += 1
        if thread == 0 and number % 50 == 0:
            journal.release("rows", kept.seq - 100)

threads = [threading.Thread(target=append, args=(thread,)) for thread in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def killed(folder: Path, round_: int, unsure: list[str], after_s: float) -> list[list[str]]:
    """Runs the appending process for a while, kills it, and gives what it said."""
    said = folder.with_name(f"said-{round_}")
    with said.open("wb") as out:
        command = [sys.executable, "-c", APPENDING, str(folder), str(round_), " ".join(unsure)]
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE)
        end = time.monotonic() + 30
        while b"kept" not in said.read_bytes()[-4096:] and time.monotonic() < end and process.poll() is None:
            time.sleep(0.01)
        time.sleep(after_s)
        process.kill()
        _, complaints = process.communicate()
    assert complaints == b""
    lines = [line.split() for line in said.read_text().splitlines()]
    assert any(line[0] == "kept" for line in lines)
    return lines


@pytest.mark.parametrize("kills", [5, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.timeout(1200)
def test_killed_at_any_moment(tmp_path, kills):
    folder, rng = tmp_path / "journal", random.Random(3)
    kept: dict[str, int] = {}
    unsure: list[str] = []
    for round_ in range(kills):
        lines = killed(folder, round_, unsure, rng.uniform(0.0, 0.4))
        for verb, token, seq in lines:
            if verb != "try":
                assert kept.setdefault(token, int(seq)) == int(seq)
        unsure = [token for verb, token, _ in lines if verb == "try" and token not in kept]
        journal = Journal(folder, reserve_bytes=0)
        found: dict[int, str] = {}
        after = 0
        while entries := journal.read(after):
            found |= {entry.seq: entry.parts[0].batch["token"][0].as_py() for entry in entries}
            assert [entry.token for entry in entries] == [found[entry.seq] for entry in entries]
            after = entries[-1].seq
        assert len(set(found.values())) == len(found), "there twice"
        assert list(found) == list(range(journal.first(), journal.last() + 1))
        for token, seq in kept.items():
            if seq >= journal.first():
                assert found[seq] == token, "acknowledged and lost"
        assert not journal.recovered.damaged
        assert journal.recovered.seconds < 2
        journal.close()
    assert len(kept) > 20 * kills
