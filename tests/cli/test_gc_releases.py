"""gc keeps the data of every release that the server knows, and takes nothing while that server is away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.server_process import ServerProcess


def run(folder: Path, *words: str, url: str = "", code: int = 0) -> str:
    own = {**os.environ, **({"MODELKEEP_URL": url} if url else {})}
    command = [sys.executable, "-m", "modelkeep", *words]
    done = subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout


def collected(told: str) -> int:
    return sum(int(one["objects"]) for one in json.loads(told)["collected"])


def test_the_data_of_a_release_stay(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    repo.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=repo, check=True)
    run(repo, "init")
    (repo / "train.csv").write_text("a,b\n1,2\n")
    run(repo, "add", "train.csv")
    server = ServerProcess(tmp_path / "server")
    client = server.start()
    say = "import modelkeep as mk; mk.log_prediction('m', {'a': 1}, 1.0, version='1'); assert mk.flush(30)"
    own = {**os.environ, "MODELKEEP_URL": client.url, "MODELKEEP_DATA_VERSION": "train.csv.dvc"}
    subprocess.run([sys.executable, "-c", say], cwd=repo, env=own, check=True)
    run(repo, "remove", "--outs", "--force", "train.csv.dvc")

    assert collected(run(repo, "gc", "--grace", "0", "--json")) == 1
    assert collected(run(repo, "gc", "--grace", "0", "--json", url=client.url)) == 0
    server.stop()
    run(repo, "gc", "--grace", "0", "--yes", url=client.url, code=6)
    assert collected(run(repo, "gc", "--grace", "0", "--json")) == 1
