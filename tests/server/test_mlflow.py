"""MLflow's own client against a real server whose registry is a git repository's tags."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelkeep.code.repository import Git
from modelkeep.core.errors import BadInput
from modelkeep.models.register import deregister, promote, register
from modelkeep.models.registry import Registry
from modelkeep.server.mlflowsearch import Searched, chosen, ordered
from modelkeep.server.settings import ModelSettings
from tests.peers import program
from tests.server.conftest import Running, running

ANN = "ann <ann@example.org>"
PATH = "/api/2.0/mlflow"


def commit(folder: Path, text: str) -> None:
    (folder / "model.txt").write_text(text)
    own = {
        "GIT_AUTHOR_NAME": "ann",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "ann",
        "GIT_COMMITTER_EMAIL": "a@b",
    }
    for words in (["add", "."], ["commit", "-qm", text]):
        subprocess.run(["git", *words], cwd=folder, check=True, env={**os.environ, **own}, capture_output=True)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`churn` v1.0.0 in production, v1.1.0, v2.0.0 taken back; `fraud` v0.1.0."""
    folder = tmp_path_factory.mktemp("registry") / "repo"
    subprocess.run(["git", "init", "-q", folder], check=True)
    (folder / "dvc.yaml").write_text(
        "artifacts:\n  churn:\n    path: model.txt\n    type: model\n    desc: who leaves\n    labels: [tabular]\n"
    )
    registry = Registry(Git(folder))
    for number, version in enumerate(("v1.0.0", "v1.1.0", "v2.0.0")):
        commit(folder, f"model {number}")
        trailers = (("Data", f"md5:{number}"), ("Path", "model.txt"))
        register(registry, "churn", version, trailers=trailers, text=f"try {number}", by=ANN)
    register(registry, "fraud", "v0.1.0", by=ANN)
    promote(registry, "churn@v1.0.0", "production", by=ANN)
    deregister(registry, "churn@v2.0.0", by=ANN)
    registry.git.close()
    return folder


@pytest.fixture(scope="module")
def registered(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings = ModelSettings(repository=str(repository))
    with running(tmp_path_factory.mktemp("server") / "data", models=settings) as found:
        yield found


@pytest.fixture(scope="module")
def told(registered: Running) -> dict[str, Any]:
    done = subprocess.run(
        [program("mlflow"), Path(__file__).with_name("mlflow_calls.py"), registered.serving.url],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_DISABLE_TELEMETRY": "true"},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.needs("mlflow")
def test_the_client_reads_models_versions_and_aliases(told: dict[str, Any], repository: Path) -> None:
    first, second = ["churn", 1, "v1.0.0", ["production"]], ["churn", 2, "v1.1.0", []]
    assert told["model"][:2] == ["churn", "who leaves"]
    assert {name: int(number) for name, number in told["model"][2].items()} == {"production": 1}
    assert told["model"][3] == {"modelkeep.type": "model", "modelkeep.label.tabular": "true"}
    assert told["latest"] == [first, second]
    assert told["production"] == [first]
    assert told["version"] == told["by_alias"] == first
    assert told["newest"] == second
    one = Registry(Git(repository)).resolve("churn@v1.0.0")
    assert told["details"] == ["READY", "Production", "try 0", f"git:{one.commit}:model.txt", ANN]
    assert told["times"] == [one.at_ns // 1_000_000] * 2
    assert told["uri"].startswith("git:")
    assert told["versions"] == [second, first]


@pytest.mark.needs("mlflow")
def test_the_client_searches(told: dict[str, Any]) -> None:
    assert told["models"] == ["churn", "fraud"]
    assert told["like"] == ["churn"]
    assert told["ordered"] == ["fraud", "churn"]
    assert told["pages"] == [["churn"], ["fraud"], False]
    assert [int(one) for one in told["high"]] == [2]
    assert [int(one) for one in told["tagged"]] == [1]


@pytest.mark.needs("mlflow")
def test_the_client_moves_aliases_and_the_tags_follow(told: dict[str, Any], repository: Path) -> None:
    assert told["canary"] == ["churn", 2, "v1.1.0", ["canary"]]
    assert told["moved"] == ["churn", 1, "v1.0.0", ["canary", "production"]]
    events = Registry(Git(repository)).history("churn")
    stages = [(one.action, one.stage, one.version) for one in events if one.stage == "canary"]
    assert stages[:2] == [("assign", "canary", "v1.1.0"), ("assign", "canary", "v1.0.0")]
    assert {action for action, _, _ in stages[2:]} == {"unassign"}
    assert Registry(Git(repository)).stages("churn").keys() == {"production"}


@pytest.mark.needs("mlflow")
def test_the_client_is_told_what_is_wrong(told: dict[str, Any]) -> None:
    for name in ("gone", "no_model", "no_version", "taken_back", "create"):
        assert told[name][0] == "RESOURCE_DOES_NOT_EXIST", told[name]
    for name in ("bad_filter", "bad_alias"):
        assert told[name][0] == "INVALID_PARAMETER_VALUE", told[name]
    assert "modelkeep model register" in told["create"][1]


def test_errors_and_limits_have_mlflows_form(registered: Running, server: Running) -> None:
    for words, status in {
        "/registered-models/get": 400,
        "/registered-models/get?name=nobody": 404,
        "/registered-models/search?max_results=0": 400,
        "/registered-models/search?max_results=1001": 400,
        "/registered-models/search?page_token=x": 400,
        "/registered-models/search?order_by=colour": 400,
        "/model-versions/get?name=churn&version=": 400,
        "/model-versions/search?filter=colour%3D'red'": 400,
        "/registered-models/get-latest-versions?name=churn&stages=Best": 400,
        "/experiments/get?experiment_id=0": 404,
    }.items():
        answer = registered.client.get(PATH + words)
        assert answer.status_code == status, words
        assert set(answer.json()) == {"error_code", "message"}, words
    none = server.client.get(f"{PATH}/registered-models/search")
    assert none.status_code == 404
    assert "models.repository" in none.json()["message"]
    assert registered.client.post(f"{PATH}/registered-models/alias", content=b"[1]").status_code == 400
    assert registered.client.post(f"{PATH}/registered-models/alias", content=b"{").status_code == 400


def test_an_alias_needs_the_scope_write_and_carries_the_owner(repository: Path, tmp_path: Path) -> None:
    with running(tmp_path / "data", models=ModelSettings(repository=str(repository))) as found:
        _, reader = found.house.tokens.create("reader", ["read"])
        _, writer = found.house.tokens.create("deploy-bot", ["write"])
        body = {"name": "churn", "alias": "blue", "version": "2"}
        answer = found.client.get(f"{PATH}/registered-models/get?name=churn")
        assert (answer.status_code, answer.json()["error_code"]) == (401, "UNAUTHENTICATED")
        own = {"Authorization": f"Bearer {reader}"}
        assert found.client.get(f"{PATH}/registered-models/get?name=churn", headers=own).status_code == 200
        answer = found.client.post(f"{PATH}/registered-models/alias", json=body, headers=own)
        assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")
        own = {"Authorization": f"Bearer {writer}"}
        assert found.client.post(f"{PATH}/registered-models/alias", json=body, headers=own).json() == {}
    (event,) = [one for one in Registry(Git(repository)).history("churn") if one.stage == "blue"]
    assert event.by.startswith("deploy-bot")


def test_tags_made_elsewhere_are_seen_at_the_next_question(repository: Path, registered: Running) -> None:
    registry = Registry(Git(repository))
    promote(registry, "fraud@v0.1.0", "staging", by=ANN)
    answer = registered.client.get(f"{PATH}/registered-models/alias?name=fraud&alias=staging").json()
    assert answer["model_version"]["current_stage"] == "Staging"


ROWS = [
    Searched({"name": "a", "version": "1", "tags": [{"key": "team", "value": "risk"}]}, "a", 1, 10),
    Searched({"name": "a", "version": "12"}, "a", 12, 5),
    Searched({"name": "B_x", "version": "2", "creation_timestamp": 7}, "B_x", 2, 20),
]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", [1, 12, 2]),
        ("name = 'a'", [1, 12]),
        ('name != "a"', [2]),
        ("name ILIKE 'b%'", [2]),
        ("name LIKE 'B\\_x'", []),
        ("name LIKE '_' AND version_number > 1", [12]),
        ("name IN ('B_x', 'c') and version_number <= 2", [2]),
        ("tags.team = 'risk'", [1]),
        ("tag.`team` != 'risk'", []),
        ("tags.`mlflow.prompt.is_prompt` = 'false'", [1, 12, 2]),
        ("tags.`mlflow.prompt.is_prompt` != 'true'", [1, 12, 2]),
        ("tags.`mlflow.prompt.is_prompt` = 'true'", []),
        ("attributes.creation_timestamp = 7", [2]),
        ("version_number IN (1, 2)", [1, 2]),
    ],
)
def test_filters(text: str, numbers: list[int]) -> None:
    assert [one.number for one in chosen(ROWS, text)] == numbers


@pytest.mark.parametrize(
    "text",
    [
        "name",
        "name =",
        "name = a",
        "= 'a'",
        "name = 'a' OR name = 'b'",
        "name = 'a' AND",
        "name > 'a'",
        "colour = 'x'",
        "version_number = 'x'",
        "version_number LIKE 1",
        "name IN 'a'",
        "name IN ('a' 'b')",
        "'a' = name",
        "name ~ 'x'",
        "name = 'a'; DROP",
        "name IN (",
        "1 = 1",
        "x" * 20_000,
    ],
)
def test_filters_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(BadInput):
        chosen(ROWS, text)


def test_orders() -> None:
    assert [one.number for one in ordered(ROWS, [])] == [2, 12, 1]
    assert [one.number for one in ordered(ROWS, ["last_updated_timestamp DESC"])] == [2, 1, 12]
    assert [one.number for one in ordered(ROWS, ["name DESC", "version_number ASC"])] == [1, 12, 2]
    with pytest.raises(BadInput):
        ordered(ROWS, ["name SIDEWAYS"])
