"""The README and the guides say what is so: their links lead somewhere and their examples run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from modelkeep.server.settings import parse
from tests.server_process import ServerProcess

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_examples_of_the_readme_run_against_a_server(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data")
    client = server.start()
    own = {**os.environ, "MODELKEEP_URL": client.url, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    (python,) = blocks(ROOT / "README.md", "python")
    subprocess.run(
        [sys.executable, "-c", python + "\npredict({'income': 52_000})\nassert mk.flush(30)"],
        env=own,
        check=True,
        timeout=60,
    )
    curl, questions = blocks(ROOT / "README.md", "sh")
    for line in [*curl.strip().splitlines(), *questions.strip().splitlines()]:
        command = line.replace("http://127.0.0.1:7300", client.url)
        told = subprocess.run(command, shell=True, env=own, capture_output=True, text=True, check=False, timeout=60)
        assert told.returncode == 0, f"{command}\n{told.stdout}{told.stderr}"
    rows = client.post("/api/v1/sql", {"sql": "select count(*) from prediction where model = 'credit-risk'"})["rows"]
    assert rows == [[3]]
    server.stop()


def test_the_settings_in_the_guides_are_valid() -> None:
    others = {"configuration.md", "from-hydra.md", "from-pydantic-settings.md"}  # tests/configuration/test_guides.py
    pages = [page for page in PAGES if page.name not in others]
    found = [text for page in pages for text in blocks(page, "yaml") if not text.startswith("groups:")]
    assert len(found) >= 3
    for text in found:
        parse(text, "guide.yaml")


def test_generated_pages_are_current() -> None:
    told = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "reference.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, f"{told.stdout}{told.stderr}\nRun scripts/reference.py."
