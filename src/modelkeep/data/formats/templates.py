"""`${…}` in `dvc.yaml`: as much of DVC's templates as it takes to know where outs lie."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from modelkeep.core.shapes import Json
from modelkeep.data.formats.metafile import document_of

Read = Callable[[str], bytes | None]
"""Gives a file beside `dvc.yaml`; None when there is none."""
_TEMPLATE: Final = re.compile(r"(\\?)\$\{\s*([^{}]*?)\s*\}")
_STEP: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def values(document: Mapping[str, Json], path: Path, read: Read) -> dict[str, Json]:
    """Gives what a `dvc.yaml` knows by name: `params.yaml` and its `vars`.

    Args:
        document: the file's mapping.
        path: where it lies.
        read: gives other files.

    Raises:
        BadInput: a file that it names is no YAML.
    """
    known: dict[str, Json] = {}
    found = document.get("vars")
    for one in ("params.yaml", *(found if isinstance(found, list) else ())):
        if isinstance(one, dict):
            _merge(known, one)
        elif isinstance(one, str):
            name, _, keys = one.partition(":")
            data = read(name)
            whole = (
                document_of(data, path.with_name(name)) if data and name.endswith((".yaml", ".yml", ".json")) else {}
            )
            wanted = {key.strip() for key in keys.split(",")} if keys else whole.keys()
            _merge(known, {key: value for key, value in whole.items() if key in wanted})
    return known


def filled(text: str, known: Mapping[str, Json]) -> str:
    r"""Gives a text with its templates filled.

    Raises:
        KeyError: there is no value for one, or none that can stand in a text.

    >>> filled("data/${item.name}-${n[1]}", {"item": {"name": "eu"}, "n": [1, 2]})
    'data/eu-2'
    """
    return _TEMPLATE.sub(lambda found: found[0][1:] if found[1] else _text(_at(known, found[2])), text)


def item(stage: Mapping[str, Json], name: str, known: Mapping[str, Json]) -> dict[str, Json]:
    """Gives what one stage of many knows besides: `item`, and the `key` of a mapping.

    Args:
        stage: the stage as written, with `foreach` or `matrix`.
        name: what stands behind `@` in its name.
        known: what the file knows.
    """
    each, matrix = stage.get("foreach"), stage.get("matrix")
    if isinstance(each, str):
        each = _maybe(each, known)
    if isinstance(each, dict):
        return {"key": name, "item": each[name]} if name in each else {}
    if isinstance(each, list):
        nested = any(isinstance(one, dict | list) for one in each)
        names = {str(at) if nested else _text(one): one for at, one in enumerate(each)}
        return {"item": names[name]} if name in names else {}
    if isinstance(matrix, dict):
        return _of_matrix(matrix, name, known)
    return {}


def _of_matrix(matrix: Mapping[str, Json], name: str, known: Mapping[str, Json]) -> dict[str, Json]:
    axes: list[list[tuple[str, Json]]] = []
    for key, found in matrix.items():
        choices = _maybe(found, known) if isinstance(found, str) else found
        if not isinstance(choices, list):
            return {}
        axes.append(
            [(f"{key}{at}" if isinstance(one, dict | list) else _text(one), one) for at, one in enumerate(choices)]
        )
    for chosen in itertools.islice(itertools.product(*axes), 100_000):
        if "-".join(label for label, _ in chosen) == name:
            return {"key": name, "item": dict(zip(matrix, (one for _, one in chosen), strict=True))}
    return {}


def _maybe(text: str, known: Mapping[str, Json]) -> Json:
    """What a whole template stands for."""
    found = _TEMPLATE.fullmatch(text)
    try:
        return _at(known, found[2]) if found is not None else None
    except KeyError:
        return None


def _at(known: Mapping[str, Json], path: str) -> Json:
    place: Json = dict(known)
    for name, number in _STEP.findall(path):
        if name and isinstance(place, dict) and name in place:
            place = place[name]
        elif isinstance(place, list) and (number or name).isdigit() and int(number or name) < len(place):
            place = place[int(number or name)]
        else:
            raise KeyError(path)
    return place


def _text(value: Json) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, dict | list):
        raise KeyError(str(value))
    return str(value)


def _merge(into: dict[str, Json], new: Mapping[str, Json]) -> None:
    for key, value in new.items():
        below = into.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            _merge(below, value)
        else:
            into[key] = value
