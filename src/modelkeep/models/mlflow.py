"""Runs of MLflow as trainings, read from an `mlruns` folder or from a tracking server.

A run is of the registered model that names it, else of the model that is given, else of its experiment's name.

Source: https://mlflow.org/docs/latest/api_reference/rest-api.html
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode, urlsplit

from modelkeep.core.errors import BadInput, Denied, Error, Missing, Unreachable
from modelkeep.core.shapes import Json
from modelkeep.models.runs import Run, Status, finite

if TYPE_CHECKING:
    import http.client

_MS: Final = 1_000_000
_TIMEOUT_S: Final = 60.0
_PAGE: Final = 1_000
_MOST_BYTES: Final = 10_000_000
_STATUSES: Final[dict[str, Status]] = {
    "RUNNING": "running",
    "SCHEDULED": "running",
    "FINISHED": "finished",
    "FAILED": "failed",
    "KILLED": "failed",
}
_NUMBERS: Final = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}


@dataclass(frozen=True, slots=True)
class _Raw:
    """One run as MLflow has it."""

    id: str
    experiment: str
    status: str
    start_ms: int
    end_ms: int
    user: str
    metrics: Mapping[str, object]
    parameters: Mapping[str, Json]
    tags: Mapping[str, str] = field(default_factory=dict)
    data: str = ""


def mlflow(place: str, model: str = "") -> list[Run]:
    """Gives the runs of MLflow.

    Args:
        place: an `mlruns` folder, or the address of a tracking server; its token in MLFLOW_TRACKING_TOKEN.
        model: of runs that no registered model names; empty: the experiment's name.

    Raises:
        Missing: there is no such folder, or it is none of MLflow's.
        Unreachable: the tracking server does not answer.
        Denied: it refuses.
        BadInput: what it says is not MLflow's.
    """
    if urlsplit(place).scheme in {"http", "https"}:
        server = _Server(place.rstrip("/"))
        return _runs(server.runs(), server.registered(), model, place.rstrip("/"))
    folder = Path(place.removeprefix("file://"))
    if not folder.is_dir():
        raise Missing(f"{place}: no such folder", hint="Give the folder mlruns, or the address of a tracking server.")
    return _runs(_folder_runs(folder), _folder_registered(folder), model, "")


def _runs(raw: Iterable[_Raw], registered: Mapping[str, list[tuple[str, str]]], model: str, address: str) -> list[Run]:
    found: list[Run] = []
    for one in raw:
        for name, version in registered.get(one.id) or [(model or one.experiment, "")]:
            status = _STATUSES.get(one.status, "finished")
            end_ms = one.end_ms if status != "running" else 0
            found.append(
                Run(
                    source="mlflow",
                    run=one.id,
                    model=name,
                    version=version,
                    at_ns=max(0, one.start_ms) * _MS,
                    end_ns=max(0, end_ms or (one.start_ms if status != "running" else 0)) * _MS,
                    status=status,
                    code=one.tags.get("mlflow.source.git.commit", ""),
                    data_version=one.data,
                    metrics=finite(one.metrics),
                    parameters=one.parameters,
                    by=one.tags.get("mlflow.user", "") or one.user,
                    error=one.status.lower() if status == "failed" else "",
                    url=f"{address}/#/runs/{quote(one.id, safe='')}" if address else "",
                )
            )
    return sorted(found, key=lambda one: (one.at_ns, one.run, one.model, one.version))


# --- a folder ---


def _folder_runs(folder: Path) -> Iterator[_Raw]:
    experiments = [
        one.parent for one in sorted(folder.glob("*/meta.yaml")) if one.parent.name not in {"models", ".trash"}
    ]
    if not experiments:
        raise Missing(f"{folder} holds no experiments of MLflow", hint="The folder is called mlruns as a rule.")
    for experiment in experiments:
        name = str(_document(experiment / "meta.yaml").get("name") or experiment.name)
        for meta in sorted(experiment.glob("*/meta.yaml")):
            told = _document(meta)
            if told.get("lifecycle_stage", "active") == "active" and "run_id" in told:
                yield _folder_run(meta.parent, told, name)


def _folder_run(folder: Path, told: Mapping[str, Json], experiment: str) -> _Raw:
    status = told.get("status")
    tags = _files(folder / "tags")
    return _Raw(
        id=str(told.get("run_id")),
        experiment=experiment,
        status=_NUMBERS.get(status, "FINISHED") if isinstance(status, int) else str(status),
        start_ms=_whole(told.get("start_time")),
        end_ms=_whole(told.get("end_time")),
        user=str(told.get("user_id") or ""),
        metrics={name: _last(text) for name, text in _files(folder / "metrics").items()},
        parameters=dict(_files(folder / "params")),
        tags=tags,
        data=_dataset(folder),
    )


def _folder_registered(folder: Path) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for meta in sorted(folder.glob("models/*/version-*/meta.yaml")):
        told = _document(meta)
        if told.get("run_id") and told.get("name"):
            pair = str(told["name"]), str(told.get("version") or "")
            found.setdefault(str(told["run_id"]), []).append(pair)
    return found


def _dataset(folder: Path) -> str:
    """Gives the digest of the dataset that a run took; the first where there are several."""
    for meta in sorted(folder.glob("inputs/*/meta.yaml")):
        source = str(_document(meta).get("source_id") or "")
        dataset = folder.parent / "datasets" / source / "meta.yaml"
        if source and "/" not in source and dataset.is_file():
            return str(_document(dataset).get("digest") or "")
    return ""


def _document(path: Path) -> dict[str, Json]:
    from modelkeep.data.formats.metafile import document_of

    return document_of(_bytes(path), path)


def _files(folder: Path) -> dict[str, str]:
    """Gives the texts of all files below a folder, by their paths in it."""
    if not folder.is_dir():
        return {}
    return {
        path.relative_to(folder).as_posix(): _bytes(path).decode("utf-8", "replace").strip()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}") from None


def _last(text: str) -> float | None:
    r"""Gives the last value of a metric's file: lines of time, value and step.

    >>> _last("1 0.5 0\n3 0.7 2\n2 0.6 1")
    0.7
    """
    best: tuple[int, int, float] | None = None
    for line in text.splitlines():
        words = line.split()
        try:
            found = int(words[2]) if len(words) > 2 else 0, int(words[0]), float(words[1])
        except (ValueError, IndexError):
            continue
        best = found if best is None else max(best, found)
    return best[2] if best else None


def _whole(value: Json) -> int:
    try:
        return int(value) if isinstance(value, int | float | str) else 0
    except ValueError:
        return 0


# --- a tracking server ---


class _Server:
    """A tracking server."""

    def __init__(self, address: str) -> None:
        self._address = address

    def runs(self) -> Iterator[_Raw]:
        names = {
            str(one.get("experiment_id")): str(one.get("name") or "")
            for one in self._pages("experiments/search", "experiments", {"max_results": _PAGE}, self._post)
        }
        ids: list[Json] = [*names]
        for start in range(0, len(ids), 100):
            body: dict[str, Json] = {"experiment_ids": ids[start : start + 100], "max_results": _PAGE}
            for one in self._pages("runs/search", "runs", body, self._post):
                yield _server_run(one, names)

    def registered(self) -> dict[str, list[tuple[str, str]]]:
        found: dict[str, list[tuple[str, str]]] = {}
        try:
            for one in self._pages("model-versions/search", "model_versions", {"max_results": _PAGE}, self._get):
                if one.get("run_id") and one.get("name"):
                    pair = str(one["name"]), str(one.get("version") or "")
                    found.setdefault(str(one["run_id"]), []).append(pair)
        except Missing:
            return {}  # a tracking server without a registry
        return found

    def _pages(
        self, path: str, under: str, given: dict[str, Json], ask: Callable[[str, dict[str, Json]], dict[str, Json]]
    ) -> Iterator[dict[str, Json]]:
        token: Json = None
        while True:
            answer = ask(path, given | ({"page_token": token} if token else {}))
            rows = answer.get(under) or []
            if not isinstance(rows, list):
                raise BadInput(f"{self._address}: {path} gave no list {under}", hint="Is this a server of MLflow?")
            yield from (row for row in rows if isinstance(row, dict))
            before, token = token, answer.get("next_page_token")
            if not token or token == before:
                return

    def _post(self, path: str, body: dict[str, Json]) -> dict[str, Json]:
        return self._asked("POST", path, json.dumps(body).encode())

    def _get(self, path: str, given: dict[str, Json]) -> dict[str, Json]:
        return self._asked("GET", f"{path}?{urlencode(given)}", None)

    def _asked(self, method: str, path: str, body: bytes | None) -> dict[str, Json]:
        import http.client

        place = urlsplit(self._address)
        kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
        if not place.hostname:
            raise BadInput(f"{self._address!r} is no address")
        connection = kind(place.hostname, place.port, timeout=_TIMEOUT_S)
        headers = {"Content-Type": "application/json", **_authorization()}
        try:
            connection.request(method, f"{place.path}/api/2.0/mlflow/{path}", body, headers)
            return self._read(connection.getresponse(), path)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"no answer from {place.hostname}: {error}", hint="Is the tracking server up?") from None
        finally:
            connection.close()

    def _read(self, response: http.client.HTTPResponse, path: str) -> dict[str, Json]:
        text = response.read()
        if response.status >= 400:
            raise _refusal(response.status, f"{urlsplit(self._address).hostname}: {path.partition('?')[0]}")
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise BadInput(
                f"{urlsplit(self._address).hostname} gave no JSON object", hint="Is this a server of MLflow?"
            )
        return found


def _refusal(status: int, what: str) -> Error:
    if status in {401, 403}:
        return Denied(f"{what}: refused with {status}", hint="Set MLFLOW_TRACKING_TOKEN, or user and password.")
    if status == 404:
        return Missing(f"{what}: not found", hint="Give the address of a tracking server of MLflow.")
    return Unreachable(f"{what}: answered {status}")


def _authorization() -> dict[str, str]:
    """Gives what MLflow's own client would send, from its own variables."""
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    user, password = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if user and password:
        return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}
    return {}


def _server_run(one: dict[str, Json], names: Mapping[str, str]) -> _Raw:
    info, data, inputs = (_object(one.get(name)) for name in ("info", "data", "inputs"))
    datasets = _rows(inputs.get("dataset_inputs"))
    return _Raw(
        id=str(info.get("run_id") or info.get("run_uuid") or ""),
        experiment=names.get(str(info.get("experiment_id")), "") or str(info.get("experiment_id") or ""),
        status=str(info.get("status") or "FINISHED"),
        start_ms=_whole(info.get("start_time")),
        end_ms=_whole(info.get("end_time")),
        user=str(info.get("user_id") or ""),
        metrics={str(row.get("key")): row.get("value") for row in _rows(data.get("metrics"))},
        parameters={str(row.get("key")): row.get("value") for row in _rows(data.get("params"))},
        tags={str(row.get("key")): str(row.get("value")) for row in _rows(data.get("tags"))},
        data=str(_object(datasets[0].get("dataset")).get("digest") or "") if datasets else "",
    )


def _object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _rows(value: Json) -> list[dict[str, Json]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
