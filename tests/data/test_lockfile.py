"""What pipelines put out, from `dvc.lock` and `dvc.yaml` as DVC writes and reads them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput
from modelkeep.data.formats import plain
from modelkeep.data.formats.lockfile import pipeline_outs
from modelkeep.data.formats.metafile import LEGACY, Out

HERE = Path("dvc.yaml")
YAML = b"""\
vars:
- top: 1
stages:
  one:
    cmd: mkdir -p o && echo 1 > o/x
    outs:
    - o
    - keep:
        persist: true
    - nopush:
        push: false
        remote: far
    metrics:
    - m.json:
        cache: false
  each:
    foreach: [x, y]
    do:
      wdir: w/${item}
      cmd: echo ${item} > ${item}.txt
      outs:
      - ${item}.txt:
          cache: false
  mat:
    matrix:
      p: [1, 2]
    cmd: echo ${item.p} > p${item.p}
    outs:
    - p${item.p}
  never:
    cmd: 'true'
    outs:
    - zz
"""
LOCK = b"""\
schema: '2.0'
stages:
  mat@1:
    cmd: echo 1 > p1
    outs:
    - path: p1
      hash: md5
      md5: b026324c6904b2a9cb4b88d6d61c81d1
      size: 2
  each@x:
    cmd: echo x > x.txt
    outs:
    - path: x.txt
      hash: md5
      md5: 401b30e3b8b5d629635a5c613cdb7919
      size: 2
  gone:
    cmd: old
    outs:
    - path: gone.txt
      md5: 009520053b00386d1173f3988c55d192
      size: 2
  one:
    cmd: mkdir -p o && echo 1 > o/x && echo 2 > m.json && echo 3 > keep && echo
      4 > nopush
    deps:
    - path: in.csv
      hash: md5
      md5: 6d7fce9fee471194aa8b5b6e47267f03
      size: 2
    params:
      params.yaml:
        train.lr: 0.001
        seeds:
        - 1
        - 2
    outs:
    - path: keep
      hash: md5
      md5: 6d7fce9fee471194aa8b5b6e47267f03
      size: 2
    - path: m.json
      hash: md5
      md5: 26ab0db90d72e28ad0ba1e22ee510510
      size: 2
    - path: nopush
      hash: md5
      md5: 48a24b70a0b376535542b996af517398
      size: 2
    - path: o
      hash: md5
      md5: 2bb1ab0d4a051c86389bd68a9371f6ba.dir
      size: 2
      nfiles: 1
"""


def _outs(lock: bytes | None, stages: bytes | None) -> dict[str, Out]:
    return {out.path: out for one in pipeline_outs(HERE, lock, stages) for out in one.outs}


def test_objects_from_the_lock_and_flags_from_the_stages() -> None:
    found = _outs(LOCK, YAML)
    assert set(found) == {"o", "keep", "nopush", "m.json", "x.txt", "p1", "zz"}
    assert found["o"].is_dir
    assert found["o"].nfiles == 1
    assert found["keep"].persist
    assert (found["nopush"].push, found["nopush"].remote) == (False, "far")
    assert not found["m.json"].cache
    assert not found["x.txt"].cache
    assert found["p1"].cache
    assert found["zz"].oid == ""
    assert found["o"].hash == "md5"


def test_a_stage_starts_in_its_own_folder() -> None:
    folders = {out.path: one.wdir for one in pipeline_outs(HERE, LOCK, YAML) for out in one.outs}
    assert folders["x.txt"] == "w/x"
    assert folders["o"] == "."


def test_variables_in_a_folders_name() -> None:
    stages = b"vars:\n- base: {dir: out}\nstages:\n  a:\n    cmd: x\n    wdir: ${base.dir}/n\n    outs:\n    - f\n"
    assert [one.wdir for one in pipeline_outs(HERE, None, stages)] == ["out/n"]
    each = b"stages:\n  a:\n    foreach:\n      k: {d: one}\n    do: {cmd: x, wdir: '${item.d}/${key}', outs: [f]}\n"
    lock = LOCK.replace(b"each@x", b"a@k").replace(b"x.txt", b"f")
    assert {"one/k"} <= {one.wdir for one in pipeline_outs(HERE, lock, each)}
    matrix = b"stages:\n  a:\n    matrix: {m: [p, q], n: [1]}\n    cmd: x\n    wdir: ${item.m}\n    outs: [f]\n"
    lock = LOCK.replace(b"each@x", b"a@q-1").replace(b"x.txt", b"f")
    assert [one.wdir for one in pipeline_outs(HERE, lock, matrix)] == ["q"]


def test_variables_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("where: deep\n")
    stages = b"stages:\n  a:\n    cmd: x\n    wdir: ${where}\n    outs:\n    - f\n"
    assert [one.wdir for one in pipeline_outs(tmp_path / "dvc.yaml", None, stages)] == ["deep"]
    found = pipeline_outs(HERE, None, stages, read={"params.yaml": b"where: else\n"}.get)
    assert [one.wdir for one in found] == ["else"]
    with pytest.raises(BadInput, match=r"dvc\.yaml: stages\.a\.wdir: no value for 'where'"):
        pipeline_outs(HERE, None, stages, read=lambda name: None)


def test_without_stages_all_outs_count() -> None:
    assert "gone.txt" in _outs(LOCK, None)
    assert _outs(LOCK, None)["gone.txt"].hash == LEGACY
    assert _outs(None, None) == {}
    assert set(_outs(None, YAML)) == {"o", "keep", "nopush", "m.json", "zz"}


def test_a_lock_of_dvc_1() -> None:
    lock = b"one:\n  cmd: x\n  outs:\n  - path: a\n    md5: 6d7fce9fee471194aa8b5b6e47267f03\n"
    assert _outs(lock, None)["a"].legacy


def test_the_usual_lock_needs_no_yaml_library() -> None:
    assert plain.read(LOCK.decode()) is not None
    assert "dvc" not in sys.modules


@pytest.mark.parametrize(
    ("lock", "says"),
    [
        (b"stages:\n  a:\n<<<<<<< HEAD\n", "dvc.lock:3: merge conflict markers"),
        (b"stages: [1]\n", "dvc.lock: stages"),
        (
            b"schema: '2.0'\nstages:\n  a:\n    outs:\n    - path: a\n      md5: ../x\n",
            "dvc.lock:6: stages.a.outs[0].md5",
        ),
        (b"schema: [\n", "dvc.lock:2: "),
    ],
)
def test_what_is_no_lock_is_refused(lock: bytes, says: str) -> None:
    with pytest.raises(BadInput) as refused:
        pipeline_outs(HERE, lock, None)
    assert refused.value.message.startswith(says)


pieces = st.sampled_from(
    [*LOCK.split(b"\n")[:10], *YAML.split(b"\n"), b"  a: [", b"    outs: x", b"    outs:\n    - {a: b}"]
)


@given(
    st.lists(pieces, max_size=12).map(b"\n".join) | st.binary(max_size=40),
    st.lists(pieces, max_size=12).map(b"\n".join),
)
def test_any_bytes_are_read_or_refused(lock: bytes, stages: bytes) -> None:
    try:
        found = pipeline_outs(HERE, lock, stages)
    except BadInput:
        return
    assert all(out.path for one in found for out in one.outs)
