"""Trainings that others have kept: MLflow's runs, DVC's history and git's tags, told to a real server."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from modelkeep.code.repository import Git
from modelkeep.core.errors import BadInput, Denied, Missing, Unreachable
from modelkeep.models.mlflow import mlflow
from modelkeep.models.register import register
from modelkeep.models.registry import Registry
from modelkeep.models.runs import Run, bodies, pipelines, registrations
from modelkeep.wire.native import parts
from tests.peers import program
from tests.server.conftest import running

WRITER = """
import mlflow, sys
mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment("churn")
with mlflow.start_run(run_name="first") as run:
    mlflow.log_params({"depth": 6, "path": "a/b"})
    mlflow.log_metric("auc", 0.8, step=0)
    mlflow.log_metric("val/auc", 0.91, step=1)
    mlflow.log_metric("val/auc", 0.5, step=0)
    mlflow.log_metric("loss", float("nan"))
    mlflow.set_tag("mlflow.source.git.commit", "c" * 40)
try:
    with mlflow.start_run():
        raise ValueError("no")
except ValueError:
    pass
client = mlflow.MlflowClient()
client.create_registered_model("churn-model")
client.create_model_version("churn-model", "file:///nowhere", run.info.run_id)
deleted = client.create_run(client.get_experiment_by_name("churn").experiment_id)
client.delete_run(deleted.info.run_id)
client.create_run("0")
print(run.info.run_id)
"""


@pytest.fixture(scope="module")
def mlruns(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("mlflow") / "mlruns"
    own = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "USER": "ann", "LOGNAME": "ann"}
    command = [program("mlflow"), "-c", WRITER, f"file://{folder}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **own})
    assert done.returncode == 0, done.stderr
    return folder, done.stdout.split()[-1]


@pytest.mark.needs("mlflow")
def test_a_folder_that_mlflow_wrote(mlruns: tuple[Path, str]) -> None:
    folder, first = mlruns
    found = {(one.model, one.status): one for one in mlflow(str(folder))}
    assert found.keys() == {("churn-model", "finished"), ("churn", "failed"), ("Default", "running")}
    good = found["churn-model", "finished"]
    assert (good.run, good.version, good.by, good.code) == (first, "1", "ann", "c" * 40)
    assert good.metrics == {"auc": 0.8, "val/auc": 0.91}
    assert good.parameters == {"depth": "6", "path": "a/b"}
    assert 0 < good.at_ns < good.end_ns
    assert found["churn", "failed"].error == "failed"
    assert found["Default", "running"].end_ns == 0
    assert {one.model for one in mlflow(f"file://{folder}", "mine")} == {"churn-model", "mine"}


@pytest.mark.needs("mlflow")
def test_the_command_tells_a_server_and_telling_again_changes_nothing(mlruns: tuple[Path, str], tmp_path: Path) -> None:
    with running(tmp_path / "data") as server:
        own = {**os.environ, "MODELKEEP_URL": server.serving.url}
        words = [sys.executable, "-m", "modelkeep", "model", "trainings", "--from-mlflow", str(mlruns[0])]
        for _ in range(2):
            done = subprocess.run(words, capture_output=True, text=True, check=True, env=own)
            assert "Told of 3 trainings" in done.stderr
        assert "churn-model 1" in done.stdout
        assert "val/auc 0.9100" in done.stdout
        told = server.get("/api/v1/trainings")["trainings"]
        assert [(one["model"], one["source"]) for one in told] == [  # type: ignore[attr-defined]
            ("Default", "mlflow"), ("churn", "mlflow"), ("churn-model", "mlflow"),
        ]  # fmt: skip
        answer = server.client.get("/api/v1/query", params={"query": "model_trained_total"}).json()["data"]["result"]
        assert [one["metric"]["model"] for one in answer] == ["churn-model"]


class Stub:
    """A tracking server that answers as MLflow's REST API is described, a page at a time."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.registry = True
        self.status = 200
        self.text = ""
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def do_GET(self) -> None:
                self.reply({})

            def reply(self, body: dict[str, Any]) -> None:
                path, _, query = self.path.partition("?")
                stub.asked.append((self.command, path, self.headers.get("Authorization", "")))
                status, answer = stub.answer(path.removeprefix("/base/api/2.0/mlflow/"), body, query)
                data = (stub.text or json.dumps(answer)).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/base/"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, path: str, body: dict[str, Any], query: str) -> tuple[int, dict[str, Any]]:
        if self.status != 200:
            return self.status, {}
        if path == "experiments/search":
            return 200, {"experiments": [{"experiment_id": "7", "name": "churn"}]}
        if path == "runs/search":
            assert body["experiment_ids"] == ["7"]
            if "page_token" not in body:
                return 200, {"runs": [self.run("a", "FINISHED")], "next_page_token": "more"}
            assert body["page_token"] == "more"
            return 200, {"runs": [self.run("b", "KILLED")]}
        if path == "model-versions/search" and self.registry:
            return 200, {"model_versions": [{"name": "churn-model", "version": "3", "run_id": "a"}]}
        return 404, {"error_code": "ENDPOINT_NOT_FOUND"}

    @staticmethod
    def run(name: str, status: str) -> dict[str, Any]:
        return {
            "info": {"run_id": name, "experiment_id": "7", "status": status, "start_time": 1000, "end_time": "2000"},
            "data": {
                "metrics": [{"key": "auc", "value": 0.9, "timestamp": "1", "step": "0"}],
                "params": [{"key": "depth", "value": "6"}],
                "tags": [{"key": "mlflow.user", "value": "bob"}],
            },
            "inputs": {"dataset_inputs": [{"dataset": {"name": "rows", "digest": "d1g3st"}}]},
        }


@pytest.fixture
def stub() -> Iterator[Stub]:
    made = Stub()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_a_tracking_server(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "canary-token")
    one, two = mlflow(stub.url)
    assert (one.model, one.version, one.data_version, one.by) == ("churn-model", "3", "d1g3st", "bob")
    assert (one.at_ns, one.end_ns, one.metrics) == (10**9, 2 * 10**9, {"auc": 0.9})
    assert one.url == f"{stub.url.rstrip('/')}/#/runs/a"
    assert (two.model, two.status, two.error) == ("churn", "failed", "killed")
    assert {sent for _, _, sent in stub.asked} == {"Bearer canary-token"}
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "pw")
    stub.registry = False
    assert [one.model for one in mlflow(stub.url, "mine")] == ["mine", "mine"]
    assert stub.asked[-1][2] == f"Basic {base64.b64encode(b'ann:pw').decode()}"


def test_a_tracking_server_that_does_not_do_what_it_should(stub: Stub, tmp_path: Path) -> None:
    for status, kind in {401: Denied, 403: Denied, 404: Missing, 500: Unreachable}.items():
        stub.status = status
        with pytest.raises(kind):
            mlflow(stub.url)
    stub.status = 200
    for stub.text in ("[]", "<html>", '{"experiments": 5}'):
        with pytest.raises(BadInput):
            mlflow(stub.url)
    with pytest.raises(Unreachable):
        mlflow("http://127.0.0.1:1")
    with pytest.raises(Missing, match="no such folder"):
        mlflow(str(tmp_path / "none"))
    with pytest.raises(Missing, match="no experiments"):
        mlflow(str(tmp_path))
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "meta.yaml").write_text("name: [\n")
    with pytest.raises(BadInput, match=r"meta\.yaml"):
        mlflow(str(tmp_path))


def git(folder: Path, *words: str, at: str = "2026-01-01T00:00:00Z") -> None:
    who = {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "ann"), ("EMAIL", "a@b"))
    }
    own = {**os.environ, **who, "GIT_AUTHOR_DATE": at, "GIT_COMMITTER_DATE": at}
    subprocess.run(["git", *words], cwd=folder, check=True, env=own, capture_output=True)


def locked(model: str, data: str, depth: int) -> str:
    return (
        "schema: '2.0'\nstages:\n  train:\n    cmd: python train.py\n    deps:\n"
        f"    - path: rows.csv\n      hash: md5\n      md5: {data * 32}\n      size: 5\n"
        "    - path: train.py\n      hash: md5\n      md5: 99999999999999999999999999999999\n      size: 5\n"
        f"    params:\n      params.yaml:\n        depth: {depth}\n"
        f"    outs:\n    - path: model.pkl\n      hash: md5\n      md5: {model * 32}\n      size: 5\n"
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Three models over four commits; the third commit changes the code alone."""
    git(tmp_path, "init", "-q")
    (tmp_path / "train.py").write_text("1")
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n  train:\n    cmd: python train.py\n    deps: [rows.csv, train.py]\n    params: [depth]\n"
        "    outs: [model.pkl]\n    metrics:\n    - metrics.json: {cache: false}\n"
        "artifacts:\n  churn: {path: model.pkl, type: model}\n"
    )
    for number, (model, data) in enumerate((("a", "d"), ("b", "d"), ("b", "d"), ("c", "e"))):
        (tmp_path / "rows.csv.dvc").write_text(f"outs:\n- md5: {data * 32}\n  size: 5\n  hash: md5\n  path: rows.csv\n")
        (tmp_path / "dvc.lock").write_text(locked(model, data, number) + "# " * number)
        (tmp_path / "metrics.json").write_text(json.dumps({"auc": 0.5 + number / 10, "note": "x"}))
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-qm", f"try {number}", at=f"2026-01-0{number + 1}T00:00:00Z")
    return tmp_path


def test_every_commit_with_another_model_is_a_training_of_dvc(repository: Path) -> None:
    found = pipelines(repository)
    assert [(one.model, one.metrics["auc"]) for one in found] == [("churn", 0.5), ("churn", 0.6), ("churn", 0.8)]
    assert [one.parameters for one in found] == [{"params.yaml.depth": number} for number in (0, 1, 3)]
    assert [one.data_version for one in found] == ["d" * 32, "d" * 32, "e" * 32]
    assert found[0].by == "ann <a@b>"
    assert found[-1].code == Git(repository).resolve("HEAD")
    assert found[0].at_ns == 1_767_225_600 * 10**9
    with pytest.raises(Missing, match="fraud"):
        pipelines(repository, "fraud")


def test_every_registered_version_is_a_training_of_git(repository: Path) -> None:
    registry = Registry(Git(repository))
    trailers = (("Data", f"md5:{'d' * 32}"), ("Metrics", '{"auc":0.7,"note":"x"}'), ("Configuration", "abc"))
    register(registry, "churn", "v1.0.0", rev="HEAD~1", trailers=trailers, by="cy <cy@x>")
    (one,) = registrations(repository)
    assert (one.model, one.version, one.by, one.metrics) == ("churn", "v1.0.0", "cy <cy@x>", {"auc": 0.7})
    assert (one.data_version, one.config_version) == ("d" * 32, "abc")
    assert one.code == registry.git.resolve("HEAD~1")
    assert registrations(repository, "churn") == [one]
    with pytest.raises(Missing):
        registrations(repository, "fraud")


def test_bodies_are_what_the_server_takes_and_the_same_each_time() -> None:
    odd = Run(source="mlflow", run="r\n\ud800", model="a\nb" * 100, at_ns=10, end_ns=5, metrics={"x": 1.0})
    many = [odd, *(Run(source="git", run=str(n), model="m", at_ns=1, end_ns=0, status="running") for n in range(600))]
    first = list(bodies(many))
    assert first == list(bodies(many))
    decoded = [parts(body) for body in first]
    assert [one.rows for one in decoded] == [500, 101]
    assert len({one.token for one in decoded}) == 2
    row = decoded[0].parts[0].batch.to_pylist()[0]
    assert (row["end"], row["id"]) == (10, odd.id)
    assert list(bodies([])) == []
