"""The command line as people meet it: help, unknown words, exit codes, and what `--help` may import."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from modelkeep.cli.commands import modelkeep

HEAVY = {
    "numpy",
    "pyarrow",
    "duckdb",
    "pandas",
    "scipy",
    "sqlalchemy",
    "httpx",
    "apprise",
    "fastapi",
    "starlette",
    "rich",
}


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        return [(path, command)]
    context = click.Context(command)
    found = []
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child is not None, name
        found += leaves(child, (*path, name))
    return found


ALL = leaves(modelkeep)


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "modelkeep", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MODELKEEP_URL": "http://127.0.0.1:9", **environment},
        timeout=60,
    )


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) for path, _ in ALL])
def test_every_command_and_option_explains_itself(path: tuple[str, ...], command: click.Command) -> None:
    result = CliRunner().invoke(modelkeep, [*path, "--help"])
    assert result.exit_code == 0
    assert (command.help or "").strip(), path
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.name not in {"limit", "by"}:
            assert parameter.help, f"{path} {parameter.name} has no help"


def test_help_imports_nothing_heavy() -> None:
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "modelkeep", "--help"], capture_output=True, text=True, check=True
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in told.stderr.splitlines()}
    assert "click" in imported
    assert not imported & HEAVY


def test_an_unknown_word_gets_the_nearest_command() -> None:
    result = run("predictions")
    assert result.returncode == 2
    assert "Did you mean 'prediction'?" in result.stderr


@pytest.mark.parametrize(
    "words", [("alert", "list"), ("quality", "show"), ("log", "search"), ("token", "list"), ("query", "up")]
)
def test_without_a_server_a_question_ends_with_6_and_says_how_to_start_one(words: tuple[str, ...]) -> None:
    result = run(*words)
    assert result.returncode == 6
    assert "http://127.0.0.1:9" in result.stderr
    assert "modelkeep serve" in result.stderr
    assert result.stdout == ""


def test_a_silence_that_is_no_pair_is_refused_before_asking_the_server() -> None:
    result = run("alert", "silence", "model", "--reason", "x")
    assert result.returncode == 2
    assert "'model' is not LABEL=VALUE" in result.stderr


def test_init_writes_settings_and_keeps_the_data_folder_out_of_git(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("*.pyc\n")
    for _ in range(2):
        subprocess.run([sys.executable, "-m", "modelkeep", "init"], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / ".gitignore").read_text() == "*.pyc\n.modelkeep/\n"
    assert (tmp_path / "modelkeep.yaml").read_text().startswith("# Settings of modelkeep")


def test_doctor_without_a_server_says_so_and_exits_1(tmp_path: Path) -> None:
    result = run("doctor")
    assert result.returncode == 1
    assert "FAIL  server: no answer from http://127.0.0.1:9" in result.stdout
    assert "ok    port: 9 is free" in result.stdout
    assert "ok    installation" in result.stdout


def test_doctor_names_a_port_that_another_program_has() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        closing = threading.Thread(target=lambda: [other.accept()[0].close() for _ in range(2)], daemon=True)
        closing.start()
        result = run("doctor", MODELKEEP_URL=f"http://127.0.0.1:{port}")
    assert result.returncode == 1
    assert f"FAIL  port: {port} is taken by another program" in result.stdout
