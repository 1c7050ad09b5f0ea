"""The sources of the page: types hold, nothing foreign is fetched, what people write is never HTML."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.peers import program

UI = Path(__file__).resolve().parents[2] / "ui"
SOURCES = sorted(path for path in (UI / "src").rglob("*") if path.suffix in {".svelte", ".ts", ".css", ".js"})


@pytest.mark.needs("node", "npm")
def test_types_and_accessibility_hold() -> None:
    check = UI / "node_modules" / "svelte-check" / "bin" / "svelte-check"
    assert check.exists(), "python3 scripts/dev.py services installs what this test needs"
    told = subprocess.run(
        [program("node"), check, "--fail-on-warnings", "--output", "machine"],
        cwd=UI, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout + told.stderr


def test_the_lock_file_names_no_place_of_downloads() -> None:
    lock = json.loads((UI / "package-lock.json").read_text(encoding="utf-8"))
    assert lock["packages"]
    assert not [name for name, entry in lock["packages"].items() if "resolved" in entry]
    assert all("integrity" in entry for name, entry in lock["packages"].items() if name and not entry.get("link"))


def test_dependencies_are_pinned_exactly() -> None:
    told = json.loads((UI / "package.json").read_text(encoding="utf-8"))
    for kind in ("dependencies", "devDependencies"):
        assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in told[kind].values())


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(UI / "src").as_posix())
def test_no_html_of_users_no_foreign_address_no_inline_style(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "{@html" not in text
    assert not re.search(r"\.innerHTML|insertAdjacentHTML|outerHTML|\beval\(|new Function\(", text)
    assert not re.search(r"""['"(]https?://(?!www\.w3\.org/)""", text)
    assert not re.search(r'<[a-z]+[^>]*\sstyle="', text)
    assert len(text.splitlines()) <= 500


def test_every_text_is_in_a_catalogue() -> None:
    """Components and views say what `strings.ts` files say: no letters between tags."""
    for path in SOURCES:
        if path.suffix != ".svelte":
            continue
        markup = re.sub(
            r"<script.*?</script>|<style.*?</style>|<!--.*?-->", "", path.read_text(encoding="utf-8"), flags=re.DOTALL
        )
        markup = re.sub(r"\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}", "", markup)
        said = [words.strip() for words in re.findall(r"(?<!=)>([^<>]*)<", markup)]
        assert not [words for words in said if re.search(r"[A-Za-z]{2}", words)], path
