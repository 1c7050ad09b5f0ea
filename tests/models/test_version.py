"""What a version was made of: from its tag, and from `.dvc` files, `dvc.lock`, `dvc.yaml` and metrics at its commit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelkeep.code.repository import Git
from modelkeep.core.errors import BadInput, Missing
from modelkeep.models.annotations import annotate, remarks
from modelkeep.models.artifacts import Artifact, artifact_at, artifacts_at
from modelkeep.models.difference import difference
from modelkeep.models.register import register
from modelkeep.models.registry import Registry, Version
from modelkeep.models.tree import Tree, flat, parsed
from modelkeep.models.version import Details, Made, details, trailers
from modelkeep.models.weights import format_here
from tests.code.repositories import git, repository
from tests.data.workspaces import grow
from tests.models.registries import make
from tests.models.trained import WEIGHTS, save, trained


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    trained(folder / "src", folder / "remote").git.close()
    return folder / "src"


@pytest.fixture
def models(source: Path, tmp_path: Path) -> Iterator[Registry]:
    """A clone of its own, with the cache beside it."""
    git(tmp_path, "clone", "-q", str(source), "mine")
    git(tmp_path / "mine", "config", "user.name", "Ann")
    git(tmp_path / "mine", "config", "user.email", "ann@example.org")
    (tmp_path / "mine/.dvc/config.local").write_text(f"[cache]\n    dir = {source / '.dvc/cache'}\n")
    with Git(tmp_path / "mine") as repo:
        yield Registry(repo)


def registered(models: Registry, made: Made, rev: str = "HEAD") -> Version:
    return register(models, "churn", rev=rev, trailers=trailers(models.git, rev, "churn", made))


def told(models: Registry, made: Made | None = None, rev: str = "HEAD") -> Details:
    return details(models.git, registered(models, made or Made(), rev))


def test_everything_is_found_in_the_commit(models: Registry) -> None:
    found = told(models, rev="HEAD~1")
    assert found.artifact == Artifact(
        "churn", "dvc.yaml", "model.pkl", "model", "Who leaves", ("tabular",),
        {"features": ["income", "age"], "log": "logs/train.txt", "reference": "reference.csv"},
    )  # fmt: skip
    assert found.file is not None
    assert (found.file.oid, found.file.size) == (f"md5:{hashlib.md5(WEIGHTS).hexdigest()}", len(WEIGHTS))
    (data,) = found.data
    assert (data.path, data.metafile, data.files) == ("data", "data.dvc", 1)
    oid = (models.git.read("HEAD~1", "data.dvc").decode().split("md5: ")[1]).split("\n")[0]
    assert (data.oid, found.data_version) == (f"md5:{oid}", oid)
    assert found.features == ("income", "age")
    assert found.metrics == {"auc": 0.9, "test.f1": 0.5}
    assert (found.log, found.reference, found.configuration) == ("logs/train.txt", "reference.csv", "")
    assert (found.author, found.subject) == ("Ann <ann@example.org>", "Train")
    assert found.faults == ()
    assert json.loads(json.dumps(found.json()))["data"][0]["oid"] == f"md5:{oid}"


def test_what_somebody_says_goes_before_what_is_found(models: Registry) -> None:
    found = told(
        models,
        Made(
            features=("b", "a, with comma"),
            metrics={"auc": 0.5, "rows": 7},
            configuration="cafe",
            log="https://ci.example.org/1",
            data=("reference.csv", "./data"),
            reference="data",
        ),
    )
    assert found.features == ("b", "a, with comma")
    assert found.metrics == {"auc": 0.5, "test.f1": 0.5, "rows": 7}
    assert (found.configuration, found.log, found.reference) == ("cafe", "https://ci.example.org/1", "data")
    assert [one.oid[:4] for one in found.data] == ["git:", "md5:"]
    assert found.data_version.count("+") == 1


@pytest.mark.parametrize("made", [Made(path="nothing.pkl"), Made(data=("nowhere",)), Made(reference="x")])
def test_paths_that_are_not_in_the_commit(models: Registry, made: Made) -> None:
    with pytest.raises(Missing, match="neither tracked nor in git"):
        trailers(models.git, "HEAD", "churn", made)


def test_a_version_of_gto_says_as_much(models: Registry) -> None:
    make(models, "churn@v1.0.0", "HEAD~1", "Registering artifact churn version v1.0.0")
    found = details(models.git, models.resolve("churn@1"))
    assert (found.file and found.file.path, len(found.data), found.metrics["auc"]) == ("model.pkl", 1, 0.9)


def test_a_tag_that_was_made_for_another_file(models: Registry) -> None:
    message = "Registering artifact churn version v1.0.0\n\nModelkeep-Path: model.pkl\nModelkeep-Hash: md5:0\n"
    make(models, "churn@v1.0.0", "HEAD", message)
    assert "registered as md5:0" in details(models.git, models.resolve("churn@1")).faults[0]


LOCK = """\
schema: '2.0'
stages:
  prepare:
    cmd: python prepare.py
    deps:
    - {path: raw, hash: md5, md5: 11111111111111111111111111111111.dir, size: 3, nfiles: 1}
    outs:
    - {path: ready.csv, hash: md5, md5: 22222222222222222222222222222222, size: 5}
  train:
    cmd: python train.py
    deps:
    - {path: ready.csv, hash: md5, md5: 22222222222222222222222222222222, size: 5}
    - {path: train.py, hash: md5, md5: 33333333333333333333333333333333, size: 9}
    params:
      params.yaml: {depth: 5, model.rate: 0.1}
    outs:
    - {path: model.json, hash: md5, md5: 44444444444444444444444444444444, size: 7}
    - {path: scores.yaml, hash: md5, md5: 55555555555555555555555555555555, size: 8}
"""
STAGES = """\
stages:
  prepare: {cmd: python prepare.py, deps: [raw], outs: [ready.csv]}
  train:
    cmd: python train.py
    deps: [ready.csv, train.py]
    params: [depth, model.rate]
    outs: [model.json]
    metrics:
    - scores.yaml: {cache: false}
artifacts:
  credit: {path: model.json, meta: {features: columns.json, metrics: {cost: 3}}}
"""


def test_a_pipeline_says_what_the_model_took(tmp_path: Path) -> None:
    root = repository(tmp_path / "r")
    raw = "outs:\n- md5: 11111111111111111111111111111111.dir\n  size: 3\n  nfiles: 1\n  path: raw\n"
    grow(
        root / "sub/risk",
        {
            "dvc.lock": LOCK.encode(), "dvc.yaml": STAGES.encode(), "raw.dvc": raw.encode(), "train.py": b"pass",
            "scores.yaml": b"test:\n  auc: 0.7\n", "columns.json": b'["x", "y"]', "unused.csv.dvc":
            b"outs:\n- md5: 66666666666666666666666666666666\n  size: 1\n  path: unused.csv\n",
        },
    )  # fmt: skip
    save(root, "Train")
    with Git(root) as repo:
        _pipeline(Registry(repo))


def _pipeline(models: Registry) -> None:
    name = "sub/risk:credit"
    version = register(models, name, trailers=trailers(models.git, "HEAD", name, Made()))
    assert version.event.trailers["Data"] == "md5:22222222222222222222222222222222"
    assert version.event.trailers["Path"] == "sub/risk/model.json"
    found = details(models.git, version)
    assert [(one.path, one.metafile) for one in found.data] == [("sub/risk/ready.csv", "sub/risk/dvc.lock")]
    assert found.data_version == "22222222222222222222222222222222"
    assert found.params == {"params.yaml.depth": 5, "params.yaml.model.rate": 0.1}
    assert found.metrics == {"test.auc": 0.7, "cost": 3}
    assert found.features == ("x", "y")
    assert found.file is not None
    assert found.file.oid == "md5:44444444444444444444444444444444"
    assert [one.path for one in Tree(models.git, "HEAD").beside("sub/risk/model.json")] == [
        "sub/risk/raw", "sub/risk/ready.csv", "sub/risk/unused.csv",
    ]  # fmt: skip


def test_files_that_cannot_be_read_are_told_and_the_rest_is_given(models: Registry) -> None:
    root = models.git.root
    (root / "dvc.yaml").write_text("artifacts: [")
    (root / "broken.dvc").write_text("outs: 5\n")
    (root / "metrics.json").write_text("{")
    save(root, "Break")
    make(models, "churn@v1.0.0", "HEAD", "Registering artifact churn version v1.0.0\n\nModelkeep-Path: model.pkl\n")
    found = details(models.git, models.resolve("churn@1"))
    assert found.subject == "Break"
    assert any("dvc.yaml" in fault for fault in found.faults)
    assert any("broken.dvc" in fault for fault in found.faults)
    with pytest.raises(BadInput):
        trailers(models.git, "HEAD", "churn", Made())


def test_artifacts_of_a_revision(tmp_path: Path) -> None:
    root = repository(tmp_path / "r")
    grow(
        root,
        {
            "dvc.yaml": b"artifacts:\n  churn: {path: m.pkl}\n  out: {path: ../../etc/passwd}\n",
            "sub/dvc.yaml": b"artifacts:\n  deep: {path: w/m.pkl, labels: [a]}\n",
            "artifacts.yaml": b"old: {type: model, path: o.pkl, description: Older, custom: {a: 1}}\n",
            "empty/dvc.yaml": b"",
        },
    )  # fmt: skip
    save(root, "c")
    with Git(root) as repo:
        found = {one.model: one for one in artifacts_at(repo, "HEAD")}
        assert {name: one.path for name, one in found.items()} == {
            "churn": "m.pkl", "old": "o.pkl", "out": "", "sub:deep": "sub/w/m.pkl",
        }  # fmt: skip
        assert (found["old"].desc, found["old"].meta) == ("Older", {"a": 1})
        assert artifact_at(repo, "HEAD", "sub:deep") == found["sub:deep"]
        assert artifact_at(repo, "HEAD", "old") == found["old"]
        assert artifact_at(repo, "HEAD", "none") == Artifact("none")


def test_what_differs_between_two_versions(models: Registry) -> None:
    first = told(models, Made(features=("income", "age", "zip")), rev="HEAD~1")
    second = told(models, Made(configuration="beef"))
    found = difference(models.git, first, second)
    assert list(found.data) == ["data"]
    assert (found.features_added, found.features_removed) == ((), ("zip",))
    assert found.metrics == {"auc": (0.9, 0.93)}
    assert found.configuration == ("", "beef")
    assert (found.commits, found.commits_back) == (1, 0)
    assert found.file[0] == found.file[1]
    back = difference(models.git, second, first)
    assert (back.commits, back.commits_back) == (0, 1)
    assert found.json()["metrics"] == {"auc": [0.9, 0.93]}


def test_the_format_is_told_from_the_cache(models: Registry) -> None:
    file = told(models).file
    assert file is not None
    found = format_here(models.git, file)
    assert (found.executes, found.imports, found.seen) == (True, ("collections.OrderedDict",), True)
    (models.git.root / ".dvc/config.local").unlink()
    assert format_here(models.git, file).seen is False
    code = Tree(models.git, "HEAD").piece("metrics.json")
    assert (format_here(models.git, code).name, format_here(models.git, code).executes) == ("json", False)


def test_remarks_stand_beside_the_version_and_travel(models: Registry, tmp_path: Path) -> None:
    version = registered(models, Made())
    annotate(models.git, version, "Looks odd", {"ticket": "17"}, by="Zoë <z@example.org>")
    annotate(models.git, version, values={"approved": "yes"})
    git(models.git.root, "notes", "--ref=refs/notes/modelkeep", "append", "-m", "by hand", version.event.object)
    found = remarks(models.git, version)
    assert [(one.by, one.text, one.values) for one in found] == [
        ("", "by hand", {}),
        ("Zoë <z@example.org>", "Looks odd", {"ticket": "17"}),
        ("Ann <ann@example.org>", "", {"approved": "yes"}),
    ]
    assert models.resolve("churn@1") == version
    with pytest.raises(BadInput, match="empty remark"):
        annotate(models.git, version, " ")
    with pytest.raises(BadInput, match="characters"):
        annotate(models.git, version, "x" * 70_000)


def test_figures_are_limited() -> None:
    deep: object = 1
    for _ in range(100):
        deep = {"a": deep}
    assert flat(deep) == {}  # type: ignore[arg-type]
    wide = {str(number): number for number in range(5_000)}
    assert len(flat({**wide})) == 1_000
    with pytest.raises(BadInput, match="too many"):
        parsed(b"0" * 1_000_001, "x.json")
    with pytest.raises(BadInput):
        parsed(b"{", "x.json")
