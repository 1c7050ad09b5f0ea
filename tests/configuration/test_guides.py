"""The guides run as they stand: files are written, python and shell blocks run in order, `# value` is checked."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.peers import ROOT

BLOCK = re.compile(r"(?:^`([\w./-]+)`:\n\n)?^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def run(code: str, names: dict[str, object]) -> int:
    """Runs statements; an expression with a comment behind it must have that value."""
    lines, checked = code.split("\n"), 0
    for statement in ast.parse(code).body:
        comment = lines[(statement.end_lineno or 1) - 1][statement.end_col_offset or 0 :].strip()
        if isinstance(statement, ast.Expr) and comment.startswith("# "):
            value = eval(compile(ast.Expression(statement.value), "guide", "eval", dont_inherit=True), names)
            assert comment.removeprefix("# ") in {repr(value), str(value)}, f"{ast.unparse(statement)} is {value!r}"
            checked += 1
        else:
            exec(compile(ast.Module([statement], []), "guide", "exec", dont_inherit=True), names)
    return checked


@pytest.mark.parametrize(("guide", "least"), [("configuration", 20), ("from-hydra", 6), ("from-pydantic-settings", 7)])
def test_a_guide_runs(
    guide: str, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    text = (ROOT / "docs" / "guides" / f"{guide}.md").read_text(encoding="utf-8")
    module = ModuleType("guide")
    monkeypatch.setitem(sys.modules, "guide", module)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    names = vars(module)
    checked, printed = 0, ""
    for path, kind, code in BLOCK.findall(text):
        if path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(code)
        elif kind == "python":
            checked += run(code, names)
            printed = capsys.readouterr().out or printed
        elif kind == "sh":
            own = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
            done = subprocess.run(
                ["bash", "-exo", "pipefail", "-c", code], env=own, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            assert "adam-0.01" in done.stdout or "Best: run" in done.stderr
        elif code.startswith("an object"):
            assert printed == code
    assert checked >= least
