"""The commands of the guides about models run, in order, beside a server that saw the model serve."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelkeep.models.register import promote, register
from tests.models.test_runs import WRITER
from tests.models.trained import trained
from tests.peers import program
from tests.server_process import ServerProcess

ROOT = Path(__file__).resolve().parent.parent.parent
SERVING = """
import sys
import modelkeep as mk
mk.load("churn@" + sys.argv[1], repo=".")
mk.log_prediction("churn", {"income": 1.0, "age": 2.0}, 1, score=0.7)
mk.flush(20)
"""
WRITES = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}

pytestmark = pytest.mark.timeout(200)


def blocks(guide: str, language: str) -> str:
    text = (ROOT / "docs/guides" / guide).read_text(encoding="utf-8")
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """A repository with two versions that both served, and the environment in which its server is known."""
    made = trained(tmp_path / "r", tmp_path / "remote")
    register(made, "churn", "v1.0.0", rev="HEAD~1")
    register(made, "churn", "v1.1.0")
    promote(made, "churn@v1.0.0", "production")
    made.git.close()
    (tmp_path / "modelkeep.yaml").write_text(f"models:\n  repository: {made.git.root}\n")
    server = ServerProcess(tmp_path / "house", "--settings", str(tmp_path / "modelkeep.yaml"))
    try:
        own = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "MODELKEEP_URL": server.start().url,
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
        }
        for version in ("v1.0.0", "v1.1.0"):
            subprocess.run([sys.executable, "-c", SERVING, version], cwd=made.git.root, env=own, check=True, timeout=60)
        yield made.git.root, own
    finally:
        server.stop()


@pytest.mark.parametrize("guide", ["which-code.md", "roll-back.md"])
def test_the_commands_of_a_guide_run(place: tuple[Path, dict[str, str]], guide: str) -> None:
    root, own = place
    done = subprocess.run(
        ["bash", "-exo", "pipefail", "-c", blocks(guide, "sh")],
        cwd=root,
        env=own,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.mark.needs("mlflow")
def test_mlflows_client_gets_what_the_guide_says(place: tuple[Path, dict[str, str]]) -> None:
    root, own = place
    subprocess.run(
        [program("mlflow"), "-c", WRITER, f"file://{root}/mlruns"],
        check=True,
        env={**own, **WRITES},
        capture_output=True,
    )
    subprocess.run(["bash", "-exc", blocks("from-mlflow.md", "sh")], cwd=root, env=own, check=True, capture_output=True)
    script = blocks("from-mlflow.md", "python").replace("http://127.0.0.1:7300", own["MODELKEEP_URL"])
    done = subprocess.run(
        [program("mlflow"), "-c", script], cwd=root, env=own, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] == ["1", "v1.0.0"]
    shown = subprocess.run(
        ["modelkeep", "model", "show", "credit-risk"], cwd=root, env=own, capture_output=True, text=True, check=True
    )
    assert "champion" in shown.stdout
