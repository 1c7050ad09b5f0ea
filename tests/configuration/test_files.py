"""What all files have in common."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from modelkeep.configuration.source import open_sources, suffix_plugin
from modelkeep.configuration.sources.yaml import Yaml
from modelkeep.core.errors import BadInput, Denied, Missing


def test_a_file_has_a_version_by_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\n")
    source = Yaml(path)
    first = source.read()
    assert first.version == source.read().version
    path.write_text("a:  1\n")
    assert source.read().version != first.version
    assert first.origin.source == str(path)
    assert first.read_ns > 0


def test_watching_sees_what_changed_before_it_began(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\n")
    source = Yaml(path)
    seen = source.read().version
    assert not source.watch(seen, 0.05)
    path.write_text("a: 2\n")
    assert source.watch(seen, 20)
    assert not source.watch(source.read().version, 0.05)
    path.write_text("a: [\n")
    assert source.watch(seen, 20)
    with pytest.raises(BadInput):
        source.read()
    assert not source.watch(seen, 0.05)  # it is known to be wrong
    path.unlink()
    assert source.watch(seen, 20)
    with pytest.raises(Missing):
        source.read()


def test_closing_ends_a_blocked_watch(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: 1\n")
    source = Yaml(tmp_path / "a.yaml")
    seen = source.read().version
    thread = threading.Thread(target=source.watch, args=(seen, 60))
    began = time.monotonic()
    thread.start()
    source.close()
    thread.join(30)
    assert not thread.is_alive()
    assert time.monotonic() - began < 30


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(BadInput, match="Is a directory"):
        Yaml(tmp_path / "folder.yaml").read()
    with pytest.raises(Missing) as caught:
        Yaml(tmp_path / "no.yaml").read()
    assert caught.value.hint == f"Write optional:{tmp_path}/no.yaml if it may be absent."
    if os.geteuid() != 0:
        (tmp_path / "shut.yaml").write_text("a: 1\n")
        (tmp_path / "shut.yaml").chmod(0)
        with pytest.raises(Denied):
            Yaml(tmp_path / "shut.yaml").read()


def test_names_tell_the_format(tmp_path: Path) -> None:
    names = ["a.yaml", "a.YML", "a.json", "a.toml", "a.ini", "a.cfg", "a.conf", "a.env", ".env", ".env.prod", "a.txt"]
    assert [suffix_plugin(name) for name in names] == [
        *("yaml", "yaml", "json", "toml", "ini", "ini", "ini", "dotenv", "dotenv", "dotenv", "")
    ]
    (tmp_path / "a.ini").write_text("[a]\nx = $${y}\n")
    (source,) = open_sources(f"file://{tmp_path}/a.ini?interpolation=extended")
    assert source.read().tree == {"a": {"x": r"\${y}"}}
