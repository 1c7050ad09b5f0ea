"""What people install: the wheel and the sdist hold what they must and nothing else."""

from __future__ import annotations

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
    ):
        assert needed in names
    assert not [name for name in names if ".venv" in name or "__pycache__" in name]


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
