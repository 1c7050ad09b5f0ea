"""The server's settings: modelkeep.yaml, then MODELKEEP_* variables, then options of the command line."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import os
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, cast

import msgspec
from msgspec import Meta

from modelkeep.configuration.layers import lay
from modelkeep.configuration.scalars import assign
from modelkeep.configuration.sources.yaml import Yaml, read_yaml
from modelkeep.configuration.trail import Trail
from modelkeep.configuration.tree import Mark, Node, Reading, Tree, join
from modelkeep.core.errors import BadInput
from modelkeep.core.shapes import Json
from modelkeep.core.times import duration_ns

FILE: Final = "modelkeep.yaml"
PREFIX: Final = "MODELKEEP_"
_NOWHERE: Final = Mark("settings")

Size = Annotated[int, Meta(ge=1)]
Duration = Annotated[str, Meta(pattern=r"^(\d+(\.\d+)?(ms|[smhdwy]))+$")]


class _Group(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group of settings."""


class Limits(_Group, frozen=True, kw_only=True):
    """What one request and one server may take."""

    body_bytes: Annotated[Size, Meta(description="Largest request body as sent.")] = 16 << 20
    decoded_bytes: Annotated[Size, Meta(description="Largest request body after decompression.")] = 64 << 20
    waiting_bytes: Annotated[Size, Meta(description="Bodies of records in memory at a time; more are Busy.")] = (
        256 << 20
    )
    body_seconds: Annotated[float, Meta(gt=0, description="How long a body may take to arrive.")] = 30.0
    requests: Annotated[Size, Meta(description="Requests worked on at a time; more are answered Busy.")] = 256
    queries: Annotated[Size, Meta(description="Queries run at a time; as many again wait, more are Busy.")] = 8
    query_seconds: Annotated[float, Meta(gt=0, description="How long an SQL query may run.")] = 30.0
    query_memory_bytes: Annotated[Size, Meta(description="Memory of one server's SQL queries.")] = 1 << 30
    series: Annotated[Size, Meta(description="Most different series that are kept.")] = 1_000_000


class Retention(_Group, frozen=True, kw_only=True):
    """How long what arrived is kept, counted on the active clock; rows also stay so long after their arrival."""

    samples: Annotated[Duration, Meta(description="Samples of series.")] = "90d"
    logs: Annotated[Duration, Meta(description="Log records.")] = "7d"
    predictions: Annotated[Duration, Meta(description="Predictions and facts about them.")] = "180d"
    events: Annotated[Duration, Meta(description="Events of users.")] = "180d"


class AlertSettings(_Group, frozen=True, kw_only=True):
    """Rules and channels."""

    rules: Annotated[list[str], Meta(description="Globs of Prometheus rule files, beside the default rules.")] = []
    defaults: Annotated[bool, Meta(description="Whether the default rules for any model are active.")] = True
    channels: Annotated[
        list[dict[str, object]],
        Meta(
            description="Each `{name, kind, …}`; the kinds and their keys stand in plugins.md; `secret:NAME` hides one."
        ),
    ] = []
    route: Annotated[str, Meta(description="Name of the channel that is told; empty: the built-in loopback one.")] = ""
    allow: Annotated[
        list[str], Meta(description="Hosts or networks inside the own network that channels may speak to.")
    ] = []
    every: Annotated[Duration, Meta(description="How often rules are looked at.")] = "1s"


class QualitySettings(_Group, frozen=True, kw_only=True):
    """Drift and quality."""

    window: Annotated[Duration, Meta(description="Trailing window of the derived series.")] = "7d"


class CodeSettings(_Group, frozen=True, kw_only=True):
    """What is told of the code."""

    webhooks: Annotated[
        list[dict[str, object]],
        Meta(
            description="Each `{name, kind: github or gitlab, secret: secret:NAME}`; they post to "
            "`/api/v1/webhooks/KIND`, and the secret is what both sides know."
        ),
    ] = []


class ModelSettings(_Group, frozen=True, kw_only=True):
    """The registry of models."""

    repository: Annotated[
        str, Meta(description="Folder of the git repository whose tags are the registry; empty: none.")
    ] = ""


class Settings(_Group, frozen=True, kw_only=True):
    """Everything a server is told."""

    data: Annotated[str, Meta(description="Data folder.")] = ".modelkeep"
    host: Annotated[str, Meta(description="Address to listen on; another than loopback needs a token.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port; 0 takes a free one.")] = 7300
    hosts: Annotated[
        list[str], Meta(description="Names by which the server is reached besides loopback, for the Host check.")
    ] = []
    link: Annotated[str, Meta(description="Address of this server in notifications; empty: host and port.")] = ""
    clock: Annotated[
        Literal["wall", "events"],
        Meta(description="What rules take for now: this machine's time, or the newest prediction's."),
    ] = "wall"
    disk_floor_bytes: Annotated[
        int, Meta(ge=0, description="Free disk space below which ingest is answered Busy; questions go on.")
    ] = 256 << 20
    self_sampling: Annotated[bool, Meta(description="Whether the server samples itself, its process and host.")] = True
    limits: Annotated[Limits, Meta(description=Limits.__doc__)] = Limits()
    retention: Annotated[Retention, Meta(description=Retention.__doc__)] = Retention()
    alerts: Annotated[AlertSettings, Meta(description=AlertSettings.__doc__)] = AlertSettings()
    code: Annotated[CodeSettings, Meta(description=CodeSettings.__doc__)] = CodeSettings()
    models: Annotated[ModelSettings, Meta(description=ModelSettings.__doc__)] = ModelSettings()
    quality: Annotated[QualitySettings, Meta(description=QualitySettings.__doc__)] = QualitySettings()

    @property
    def folder(self) -> Path:
        """The data folder."""
        return Path(self.data)

    @property
    def address(self) -> str:
        """Where this server is reached, as notifications say it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.link or f"http://{host}:{self.port}/"

    @property
    def channels(self) -> list[dict[str, Json]]:
        """The settings of the channels."""
        return cast("list[dict[str, Json]]", self.alerts.channels)


Option = str | int | Path | None


def load(
    file: Path | None = None,
    *,
    data: Path | None = None,
    host: str | None = None,
    port: int | None = None,
    clock: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Gives the settings of a file, with variables and options over them.

    Args:
        file: YAML; None takes modelkeep.yaml where there is one.
        data: data folder.
        host: address to listen on.
        port: 0 to 65535.
        clock: wall or events.
        environment: where MODELKEEP_* variables are looked up; None takes the process's own.

    Raises:
        BadInput: an unknown key or a wrong value; the message names file, line and key.

    >>> load(port=7301, environment={"MODELKEEP_LIMITS_SERIES": "5"}).limits.series
    5
    """
    given: dict[str, Option] = {"data": data, "host": host, "port": port, "clock": clock}
    said = {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}
    options = Reading(
        {name: value for name, value in said.items() if value is not None},
        {name: Mark(f"--{name}") for name in said},
        origin=_NOWHERE,
    )
    return _convert([_file(file), _variables(os.environ if environment is None else environment), options])


def _convert(readings: Sequence[Reading]) -> Settings:
    """Gives the settings of readings, later ones over earlier ones."""
    trail = Trail(readings)
    whole: Tree = {}
    for reading in readings:
        if not lay(whole, copy.deepcopy(reading.tree)):
            key = next(iter(key for key in reading.tree if not isinstance(whole.get(key, {}), dict)), "settings")
            raise BadInput(f"{Trail(readings[:1]).mark(key)}: {key}: expected keys and values")
    try:
        return msgspec.convert(whole, Settings, strict=False)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        key = path.rstrip("`").lstrip(".")
        raise BadInput(f"{trail.mark(key) if key else _NOWHERE}: {key or 'settings'}: {text}") from None


def parse(text: str, name: str = FILE) -> Settings:
    """Gives the settings in a text.

    Args:
        text: YAML.
        name: of its file, for messages.

    Raises:
        BadInput: as for `load`.

    >>> parse("port: 7301").port
    7301
    """
    return _convert([_read(text, name)])


def _file(file: Path | None) -> Reading:
    if file is None and not Path(FILE).exists():
        return Reading({}, origin=_NOWHERE)
    return _known(Yaml(file or FILE).read())


def _read(text: str, name: str) -> Reading:
    return _known(dataclasses.replace(read_yaml(text, name), origin=Mark(name)))


def _known(reading: Reading) -> Reading:
    """Gives a reading that has no other keys than settings.

    Raises:
        BadInput: it has; each with its line.
    """
    found = [*_strangers(reading.tree, Settings, "")]
    if found:
        hints = [f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}." for _, near, known in found]
        raise BadInput("\n".join(f"{reading.mark(key)}: {key} is no setting" for key, _, _ in found), hint=hints[0])
    return reading


def _strangers(node: Node, kind: object, key: str) -> Iterator[tuple[str, list[str], Collection[str]]]:
    """Gives keys that a group does not have, with those that are most like each, and those that there are."""
    known = typing.get_type_hints(kind) if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else {}
    for name, value in node.items() if isinstance(node, dict) and known else ():
        inner = join(key, str(name))
        if name in known:
            yield from _strangers(value, known[name], inner)
        else:
            yield inner, difflib.get_close_matches(str(name), known, 1), known


def _variables(environment: Mapping[str, str]) -> Reading:
    tree: Tree = {}
    marks: dict[str, Mark] = {}
    for key, kind, _ in _leaves(Settings, ""):
        variable = PREFIX + key.replace(".", "_").upper()
        text = environment.get(variable)
        if text is None:
            continue
        marks[key] = Mark(variable)
        assign(tree, key, _listed(text) if str(kind).startswith("list") else text, marks[key])
    return Reading(tree, marks, origin=_NOWHERE)


def _listed(text: str) -> list[Node]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _leaves(kind: type[msgspec.Struct], prefix: str) -> Iterator[tuple[str, object, str]]:
    """Every setting that holds a value: key, type, description."""
    hints = typing.get_type_hints(kind, include_extras=True)
    for name, hint in hints.items():
        plain = typing.get_args(hint)[0]
        text = next((meta.description for meta in hint.__metadata__ if meta.description), "")
        if isinstance(plain, type) and issubclass(plain, msgspec.Struct):
            yield from _leaves(plain, f"{prefix}{name}.")
        elif plain != list[dict[str, object]]:
            yield prefix + name, plain, text
        else:
            yield prefix + name, "channels", text


@dataclass(frozen=True, slots=True)
class Explained:
    """One setting with its way.

    Args:
        key: dotted.
        value: what holds.
        mark: where it was written: file and line, variable, or `default`.
        history: every (place, value) that said something of it, the default first; the last one won.
    """

    key: str
    value: Json
    mark: str
    history: tuple[tuple[str, Json], ...]


def explained(environment: Mapping[str, str], file: Path | None = None) -> list[Explained]:
    """Gives every setting with its value and who said what of it.

    Raises:
        BadInput: as for `load`.

    >>> found = {one.key: one for one in explained({"MODELKEEP_PORT": "7301"})}
    >>> found["port"].value, found["port"].history, found["host"].mark
    (7301, (('default', 7300), ('MODELKEEP_PORT', '7301')), 'default')
    """
    readings = [_file(file), _variables(environment)]
    settings, trail = _convert(readings), Trail(readings)
    rows = []
    for key, _, _ in _leaves(Settings, ""):
        said = tuple((str(step.mark), cast("Json", step.value)) for step in trail.history(key))
        history = (("default", _held(Settings(), key)), *said)
        rows.append(Explained(key, _held(settings, key), history[-1][0], history))
    return rows


def _held(settings: Settings, key: str) -> Json:
    found: object = settings
    for name in key.split("."):
        found = getattr(found, name)
    return cast("Json", msgspec.to_builtins(found))


def durations(settings: Settings) -> dict[str, int]:
    """Gives the retention by kind of record, in ns.

    >>> durations(Settings())["log"] == 7 * 86_400 * 10**9
    True
    """
    kept = settings.retention
    return {
        "prediction": duration_ns(kept.predictions),
        "fact": duration_ns(kept.predictions),
        "event": duration_ns(kept.events),
        "log": duration_ns(kept.logs),
        "sample": duration_ns(kept.samples),
    }


def reference() -> str:
    """Gives the page of all settings, as Markdown.

    >>> "| `limits.series` |" in reference()
    True
    """
    lines = [
        "# Settings",
        "",
        "`modelkeep.yaml` in the folder where the server starts, or the file that `--settings` names. A variable wins",
        "over the file, an option of the command line over both. Durations are written like `30s`, `1h30m`, `7d`.",
        "",
        "| key | variable | default | what it says |",
        "|---|---|---|---|",
    ]
    for key, kind, text in _leaves(Settings, ""):
        variable = "" if kind == "channels" else f"`{PREFIX}{key.replace('.', '_').upper()}`"
        lines.append(f"| `{key}` | {variable} | `{_default(key)}` | {text} |")
    return "\n".join([*lines, ""])


def _default(key: str) -> str:
    return msgspec.json.encode(_held(Settings(), key)).decode()
