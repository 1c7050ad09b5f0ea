"""`modelkeep remote`: DVC's options and files, and no secret on any screen."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from modelkeep.cli.commands.remote import remote
from modelkeep.core.errors import Conflict, Missing
from tests.peers import program

SECRET = "s3cr3t-value"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "repo" / ".dvc").mkdir(parents=True)
    file = tmp_path / "repo" / ".dvc" / "config"
    file.touch()
    for name in ("GLOBAL", "SYSTEM"):
        monkeypatch.setenv(f"DVC_{name}_CONFIG_DIR", str(tmp_path / name.lower()))
    monkeypatch.chdir(tmp_path / "repo")
    return file


def _run(*words: str, text: str = "") -> Result:
    result = CliRunner().invoke(remote, words, input=text)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_add_list_and_default(config: Path) -> None:
    assert "Setting 'disk' as a default remote." in _run("add", "-d", "Disk", "../store").stderr
    assert config.read_text() == "[core]\n    remote = disk\n['remote \"disk\"']\n    url = ../../store\n"
    assert _run("default").stdout == "disk\n"
    _run("add", "far", "s3://bucket/x")
    lines = _run("list").stdout.splitlines()
    assert lines[1].split() == ["disk", str(config.parent.parent.parent / "store"), "(default)"]
    answer = json.loads(_run("list", "--json").stdout)
    assert answer["remotes"][1] == {"name": "far", "url": "s3://bucket/x", "default": False, "options": {}}
    _run("default", "far")
    assert _run("default").stdout == "far\n"
    _run("default", "--unset")
    assert _run("default").exit_code == 1
    with pytest.raises(Conflict):
        _run("add", "far", "elsewhere")
    _run("add", "-f", "far", "gs://b")
    assert "url = gs://b" in config.read_text()


def test_modify_rename_and_remove(config: Path) -> None:
    _run("add", "-d", "a", "s3://b")
    _run("modify", "a", "region", "eu-west-1")
    assert "region = eu-west-1" in config.read_text()
    _run("modify", "--unset", "a", "region")
    assert "region" not in config.read_text()
    assert "has no region" in _run("modify", "-u", "a", "region").stderr
    _run("rename", "a", "z")
    assert config.read_text() == "[core]\n    remote = z\n['remote \"z\"']\n    url = s3://b\n"
    _run("remove", "z")
    assert config.read_text().strip() == ""
    for words in (["remove", "z"], ["modify", "z", "a", "b"], ["rename", "z", "y"], ["default", "z"]):
        with pytest.raises(Missing, match="no remote 'z'"):
            _run(*words)


@pytest.mark.parametrize(
    ("level", "file"),
    [
        ("--local", "repo/.dvc/config.local"),
        ("--project", "repo/.dvc/config"),
        ("--global", "global/config"),
        ("--system", "system/config"),
    ],
)
def test_levels(config: Path, tmp_path: Path, level: str, file: str) -> None:
    _run("add", level, "-d", "a", "s3://b")
    assert (tmp_path / file).read_text() == "[core]\n    remote = a\n['remote \"a\"']\n    url = s3://b\n"
    assert "s3://b" in _run("list", level).stdout
    assert _run("default", level).stdout == "a\n"
    _run("remove", level, "a")
    assert (tmp_path / file).read_text() == "\n"


def test_a_secret_is_asked_for_and_never_shown(config: Path) -> None:
    _run("add", "s3", "s3://b")
    asked = _run("modify", "--local", "s3", "secret_access_key", text=f"{SECRET}\n")
    listed = _run("list")
    told = _run("modify", "s3", "password", SECRET)
    assert "secret_access_key=********" in listed.stdout
    assert "Warning: .dvc/config:3: password: a secret in a file that git publishes" in told.stderr
    assert SECRET in (config.parent / "config.local").read_text()
    for result in (asked, listed, told, _run("list", "--json"), _run("list", "--local")):
        assert SECRET not in result.output


def test_a_password_in_a_url_is_masked(config: Path) -> None:
    added = _run("add", "web", f"https://me:{SECRET}@host/x")
    assert "Warning: .dvc/config:2: url" in added.stderr
    for result in (added, _run("list"), _run("list", "--json")):
        assert SECRET not in result.output
        assert "me:" not in result.output


@pytest.mark.needs("dvc")
def test_dvc_reads_what_is_written(config: Path) -> None:
    _run("add", "-d", "disk", "../a store, 2")
    _run("add", "far", "s3://bucket/x")
    _run("modify", "far", "grant_read", 'a="b", c')
    _run("modify", "--local", "far", "secret_access_key", "x#y 'z'")
    dvc = str(program("dvc"))
    shown = subprocess.run([dvc, "config", "--list"], capture_output=True, text=True, check=True).stdout
    assert f"remote.disk.url={config.parent.parent.parent}/a store, 2\n" in shown
    assert "core.remote=disk\n" in shown
    assert 'remote.far.grant_read=a="b", c\n' in shown
    assert "remote.far.secret_access_key=x#y 'z'\n" in shown
    subprocess.run([dvc, "remote", "modify", "far", "region", "eu"], check=True)
    before = config.read_text()
    _run("modify", "far", "region", "eu")
    assert config.read_text() == before
