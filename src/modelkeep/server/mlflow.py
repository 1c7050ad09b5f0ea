"""MLflow's registry as its client asks for it: models, versions and aliases of the git tags, by MLflow's REST paths.

A version's number is its place among the registrations, from 1 and for ever; its semantic version is in the tag
`modelkeep.version`. An alias is a stage: setting one promotes. What has no meaning here is refused by name.

Source: https://mlflow.org/docs/latest/api_reference/rest-api.html
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

import orjson
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from modelkeep.core.errors import BadInput, Error, Missing
from modelkeep.core.shapes import Json
from modelkeep.models.names import check_model
from modelkeep.models.state import Model, Version
from modelkeep.server import answers
from modelkeep.server.crew import Crew
from modelkeep.server.mlflowsearch import Searched, chosen, ordered
from modelkeep.server.routes import Need, Routes
from modelkeep.server.values import Row

if TYPE_CHECKING:
    from modelkeep.models.registry import Registry
    from modelkeep.server.registry import Repository

PREFIX: Final = "/api/2.0/mlflow/"
_MODELS: Final = f"{PREFIX}registered-models"
_VERSIONS: Final = f"{PREFIX}model-versions"
_STAGES: Final = {"staging": "Staging", "production": "Production", "archived": "Archived"}
_NO_STAGE: Final = "None"
_MODELS_MOST: Final = 1_000
_VERSIONS_MOST: Final = 200_000
_MS: Final = 1_000_000

Given = Mapping[str, Json]
Answer = Callable[["Registry", Given, str], Row]


class Mlflow:
    """Answers MLflow's registry paths.

    Args:
        repository: with the registry.
        crew: threads for questions.
    """

    def __init__(self, repository: Repository, crew: Crew) -> None:
        self._repository, self._crew = repository, crew

    def add(self, routes: Routes) -> None:
        """Enters all paths."""
        entered: tuple[tuple[str, str, Need, Answer], ...] = (
            ("GET", f"{_MODELS}/get", "read", _get_model),
            ("GET", f"{_MODELS}/search", "read", _search_models),
            ("GET POST", f"{_MODELS}/get-latest-versions", "read", _latest_versions),
            ("GET", f"{_MODELS}/alias", "read", _by_alias),
            ("POST", f"{_MODELS}/alias", "write", _set_alias),
            ("DELETE", f"{_MODELS}/alias", "write", _delete_alias),
            ("GET", f"{_VERSIONS}/get", "read", _get_version),
            ("GET", f"{_VERSIONS}/search", "read", _search_versions),
            ("GET", f"{_VERSIONS}/get-download-uri", "read", _download),
        )
        for methods, path, scope, work in entered:
            routes.add(methods, path, scope, self._page(work))
        routes.add("GET POST PUT PATCH DELETE", f"{PREFIX}{{operation...}}", "read", _unknown)

    def _page(self, work: Answer) -> ASGIApp:
        async def page(scope: Scope, receive: Receive, send: Send) -> None:
            given = await _given(scope, receive)
            token = scope.get("modelkeep.token")
            by = f"{token.name} <{token.name}@token>" if token else ""

            def answered() -> bytes:
                with self._repository.held() as registry:
                    return orjson.dumps(work(registry, given, by))

            await answers.json(send, await self._crew.run(answered))

        return page


async def _unknown(scope: Scope, receive: Receive, send: Send) -> None:
    named = answers.clean(scope["path"].removeprefix(PREFIX)[:80])
    raise Missing(
        f"{named} of MLflow's API is not here",
        hint="Versions are registered with `modelkeep model register`; here they are read, and aliases are set.",
    )


async def _given(scope: Scope, receive: Receive) -> Given:
    """Gives the parameters: of the query, or of a JSON body where there is one."""
    found: dict[str, Json] = {}
    for name, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=1000):
        before = found.get(name)
        if name in found:
            found[name] = [*(before if isinstance(before, list) else [before]), value]
        else:
            found[name] = value
    body = b"" if scope["method"] == "GET" else await Request(scope, receive).body()
    if body:
        try:
            told = orjson.loads(body)
        except ValueError as error:
            raise BadInput(f"body: not JSON: {error}") from None
        if not isinstance(told, dict):
            raise BadInput("body: expected a JSON object")
        found |= told
    return found


def _text(given: Given, name: str, *, needed: bool = True) -> str:
    value = given.get(name)
    if value is None or value == "":
        if needed:
            raise BadInput(f"Missing value for required parameter '{name}'")
        return ""
    if isinstance(value, bool | list | dict):
        raise BadInput(f"{name}: expected one text")
    return str(value)


def _texts(given: Given, name: str) -> list[str]:
    value = given.get(name)
    return [str(one) for one in value] if isinstance(value, list) else [str(value)] if value not in (None, "") else []


# --- models ---


def _model(registry: Registry, name: str) -> Model:
    model = registry.artifact(check_model(name))
    if model.deprecated is not None or not model.active:
        raise Missing(f"{name}: every version was taken back", hint="`modelkeep model list --all` shows it.")
    return model


def _get_model(registry: Registry, given: Given, by: str) -> Row:
    model = _model(registry, _text(given, "name"))
    return {"registered_model": _registered(model) | _described(registry, model)}


def _registered(model: Model) -> dict[str, Json]:
    first, last = model.active[0], model.events[-1]
    aliases: list[Json] = [
        {"alias": stage, "version": str(one.number)} for stage, one in model.stages.items() if one.registered
    ]
    return {
        "name": model.name,
        "creation_timestamp": first.at_ns // _MS,
        "last_updated_timestamp": max(first.at_ns, last.at_ns) // _MS,
        "user_id": first.by,
        "latest_versions": [_version(model, one) for one in _latest(model, ())],
        "aliases": aliases,
    }


def _described(registry: Registry, model: Model) -> dict[str, Json]:
    """Gives what `dvc.yaml` says of a model at its highest version; nothing where that cannot be read."""
    from modelkeep.models.artifacts import artifact_at

    newest = model.latest
    if newest is None:
        return {}
    try:
        found = artifact_at(registry.git, newest.commit, model.name)
    except Error:
        return {}
    tags = [("modelkeep.type", found.type), *((f"modelkeep.label.{label}", "true") for label in found.labels)]
    told: dict[str, Json] = {"tags": [{"key": key, "value": value} for key, value in tags if value]}
    return told | ({"description": found.desc} if found.desc else {})


def _search_models(registry: Registry, given: Given, by: str) -> Row:
    found = [
        Searched(_registered(model), model.name, 0, max(one.at_ns for one in (model.active[0], model.events[-1])))
        for model in registry.artifacts()
    ]
    rows, token = _paged(found, given, most=_MODELS_MOST, usual=100)
    return {"registered_models": rows, **({"next_page_token": token} if token else {})}


def _latest_versions(registry: Registry, given: Given, by: str) -> Row:
    model = _model(registry, _text(given, "name"))
    return {"model_versions": [_version(model, one) for one in _latest(model, _texts(given, "stages"))]}


def _latest(model: Model, stages: Sequence[str]) -> list[Version]:
    """Gives the version of each of MLflow's stages, and the newest that stands in none of them."""
    wanted = {one.lower() for one in stages} or {*_STAGES, _NO_STAGE.lower()}
    if unknown := wanted - {*_STAGES, _NO_STAGE.lower()}:
        raise BadInput(
            f"Invalid Model Version stage: {sorted(unknown)[0]}", hint="None, Staging, Production, Archived."
        )
    by_stage: dict[str, Version] = {}
    for one in model.active:
        by_stage[_stage(one).lower()] = one
    return [one for stage, one in by_stage.items() if stage in wanted]


def _stage(one: Version) -> str:
    return next((_STAGES[stage.lower()] for stage in one.stages if stage.lower() in _STAGES), _NO_STAGE)


# --- versions ---


def _wanted(registry: Registry, given: Given) -> tuple[Model, Version]:
    """Gives the version that is asked for by its number, or by its semantic version."""
    model, number = _model(registry, _text(given, "name")), _text(given, "version")
    found = next((one for one in model.active if number in (str(one.number), one.version)), None)
    if found is None:
        raise Missing(f"Model Version (name={model.name}, version={number[:60]}) not found")
    return model, found


def _get_version(registry: Registry, given: Given, by: str) -> Row:
    model, found = _wanted(registry, given)
    return {"model_version": _version(model, found)}


def _version(model: Model, one: Version) -> dict[str, Json]:
    told = one.event.trailers
    tags = {
        "modelkeep.version": one.version,
        "modelkeep.commit": one.commit,
        "modelkeep.data": told.get("Data", ""),
        "modelkeep.configuration": told.get("Configuration", ""),
        "modelkeep.path": told.get("Path", ""),
        "modelkeep.hash": told.get("Hash", ""),
        "modelkeep.features": told.get("Features", ""),
        "modelkeep.metrics": told.get("Metrics", ""),
        "modelkeep.log": told.get("Log", ""),
    }
    shown: list[Json] = [{"key": key, "value": value} for key, value in tags.items() if value]
    return {
        "name": model.name,
        "version": str(one.number),
        "creation_timestamp": one.at_ns // _MS,
        "last_updated_timestamp": one.at_ns // _MS,
        "user_id": one.by,
        "current_stage": _stage(one),
        "description": one.event.text,
        "source": _source(one),
        "run_id": "",
        "status": "READY",
        "tags": shown,
        "aliases": [*one.stages],
    }


def _source(one: Version) -> str:
    """Gives where a version is: the commit, and its path in it where the tag says it."""
    path = one.event.trailers.get("Path", "")
    return f"git:{one.commit}{f':{path}' if path else ''}"


def _search_versions(registry: Registry, given: Given, by: str) -> Row:
    found = [
        Searched(_version(model, one), model.name, one.number, one.at_ns)
        for model in registry.artifacts()
        for one in model.active
    ]
    rows, token = _paged(found, given, most=_VERSIONS_MOST, usual=10_000)
    return {"model_versions": rows, **({"next_page_token": token} if token else {})}


def _download(registry: Registry, given: Given, by: str) -> Row:
    _, found = _wanted(registry, given)
    return {"artifact_uri": _source(found)}


# --- aliases ---


def _by_alias(registry: Registry, given: Given, by: str) -> Row:
    model, alias = _model(registry, _text(given, "name")), _text(given, "alias")
    found = model.latest if alias == "latest" else model.stages.get(alias)
    if found is None or not found.registered:
        raise Missing(f"Registered model alias {alias[:60]} not found.")
    return {"model_version": _version(model, found)}


def _set_alias(registry: Registry, given: Given, by: str) -> Row:
    from modelkeep.models.register import promote

    model, found = _wanted(registry, given)
    promote(registry, f"{model.name}@{found.version}", _text(given, "alias"), by=by)
    return {}


def _delete_alias(registry: Registry, given: Given, by: str) -> Row:
    from modelkeep.models.register import unassign

    model, alias = _model(registry, _text(given, "name")), _text(given, "alias")
    if alias in model.stages:  # MLflow's own server says nothing of an alias that is not there
        unassign(registry, model.name, alias, by=by)
    return {}


# --- pages ---


def _paged(found: Sequence[Searched], given: Given, *, most: int, usual: int) -> tuple[list[Json], str]:
    wanted = _text(given, "max_results", needed=False) or str(usual)
    if not wanted.isdigit() or not 0 < int(wanted) <= most:
        raise BadInput(f"Invalid value for max_results: {wanted[:20]}, it must be from 1 to {most}")
    rows = ordered(chosen(found, _text(given, "filter", needed=False)), _texts(given, "order_by"))
    start, end = _place(_text(given, "page_token", needed=False)), int(wanted)
    page: list[Json] = [one.row for one in rows[start : start + end]]
    more = start + end < len(rows)
    return page, base64.urlsafe_b64encode(str(start + end).encode()).decode() if more else ""


def _place(token: str) -> int:
    try:
        place = int(base64.urlsafe_b64decode(token)) if token else 0
    except (binascii.Error, ValueError):
        place = -1
    if place < 0:
        raise BadInput("Invalid page token")
    return place
