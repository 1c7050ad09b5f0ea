"""A repository in which a model is trained twice: tracked data, a pipeline's lock, metrics, all of it small."""

from __future__ import annotations

import collections
import pickle
from pathlib import Path

from modelkeep.code.repository import Git
from modelkeep.data.repository import Repository
from modelkeep.data.verbs.add import add
from modelkeep.data.verbs.push import push
from modelkeep.models.registry import Registry
from tests.code.repositories import git
from tests.data.workspaces import grow
from tests.data.workspaces import repository as workspace

WEIGHTS = pickle.dumps(collections.OrderedDict(step=1))
ARTIFACTS = """\
artifacts:
  churn:
    path: model.pkl
    type: model
    desc: Who leaves
    labels: [tabular]
    meta:
      features: [income, age]
      log: logs/train.txt
      reference: reference.csv
metrics:
- metrics.json
"""


def trained(folder: Path, remote: Path) -> Registry:
    """Two commits, each with another version of data and metrics; the model's file is the same in both."""
    repo = workspace(folder, git=True, config=f"[core]\n    remote = r\n['remote \"r\"']\n    url = {remote}\n")
    grow(folder, {"data/train.csv": b"a,b\n1,2\n", "model.pkl": WEIGHTS, "reference.csv": b"income,age\n1,2\n"})
    git(folder, "config", "user.name", "Ann")
    git(folder, "config", "user.email", "ann@example.org")
    (folder / "dvc.yaml").write_text(ARTIFACTS)
    (folder / "metrics.json").write_text('{"auc": 0.9, "test": {"f1": 0.5, "curve": [1, 2]}}')
    add(repo, [folder / "data", folder / "model.pkl"])
    save(folder, "Train")
    push(repo)
    grow(folder, {"data/train.csv": b"a,b\n1,2\n3,4\n"})
    (folder / "metrics.json").write_text('{"auc": 0.93, "test": {"f1": 0.5}}')
    repo = Repository(folder)
    add(repo, [folder / "data"])
    save(folder, "Train on more")
    push(repo)
    return Registry(Git(folder))


def save(folder: Path, subject: str) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", subject)
    return git(folder, "rev-parse", "HEAD")
