"""Runs `tests/scripts/promql/*.test`: text that says what is stored, what is asked and what comes out.

    load 30s   hits{env="prod"}  0+30x10         samples from time 0 on, every 30 s
    at 5m      rate(hits[5m])    =>  {env="prod"} 1
    at 5m      sort(hits)        =>  hits{env="a"} 1 ; hits{env="b"} 2
    from 0s to 1m step 30s  hits =>  hits{env="prod"} 0 30 60
    at 5m      nothing           =>  empty
    at 5m      sum(              =>  error unclosed

A series is numbers, `_` (no sample), `stale`, or the short forms `0+30x10` (start, step, how many more), `7x3`
(7 and three more) and `_x5`. Several results are divided by `;`; their order counts only for an instant.
"""

from __future__ import annotations

import math
import re
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from modelkeep.core.errors import BadInput
from modelkeep.core.series import STALE_BITS, Labels, canonical, labels
from modelkeep.core.shapes import Entry, Part
from modelkeep.core.times import duration_ns
from modelkeep.metrics.promql.evaluate import PromQL, Result
from modelkeep.metrics.promql.result import is_stale
from modelkeep.store.engines.series import Series

SCRIPTS = Path(__file__).parents[2] / "scripts/promql"
STALE = struct.unpack("<d", struct.pack("<Q", STALE_BITS))[0]
LOAD = re.compile(r"load\s+(\S+)\s+([^\s{]+(?:\{[^}]*\})?|\{[^}]*\})\s+(.*)")
AT = re.compile(r"at\s+(\S+)\s+(.*?)\s+=>\s+(.*)")
RANGE = re.compile(r"from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)\s+(.*?)\s+=>\s+(.*)")
SHORT = re.compile(r"(-?[\d.]+(?:e-?\d+)?|_|stale|NaN|-?Inf)(?:([+-][\d.]+))?x(\d+)")
SERIES = re.compile(r"([a-zA-Z_:][\w:]*)?(?:\{([^}]*)\})?")
PAIR = re.compile(r'([\w]+)="((?:[^"\\]|\\.)*)"')


def series(text: str) -> Labels:
    match = SERIES.fullmatch(text)
    assert match, text
    return labels({**dict(PAIR.findall(match[2] or "")), **({"__name__": match[1]} if match[1] else {})})


def numbers(text: str) -> list[float | None]:
    found: list[float | None] = []
    for word in text.split():
        short = SHORT.fullmatch(word)
        first, step, more = (short[1], float(short[2] or 0), int(short[3])) if short else (word, 0.0, 0)
        for number in range(more + 1):
            if first == "_":
                found.append(None)
            else:
                found.append(STALE if first == "stale" else float(first) + step * number)
    return found


def sample(seq: int, name: Labels, step_ns: int, text: str) -> Entry:
    points = [(at * step_ns, value) for at, value in enumerate(numbers(text)) if value is not None]
    columns = {
        "series": pa.array([canonical(name)] * len(points)).dictionary_encode(),
        "at": pa.array([at for at, _ in points], pa.int64()),
        "value": pa.array(np.array([value for _, value in points], np.float64)),
    }
    return Entry(seq, "", 0, (Part("sample", pa.record_batch(columns)),))


def shown(result: Result) -> list[tuple[Labels, list[float | None]]]:
    return [
        (one, [None if away else value for value, away in zip(row.tolist(), gone.tolist(), strict=True)])
        for one, row, gone in zip(result.labels, result.values, is_stale(result.values), strict=True)
    ]


def expected(text: str) -> list[tuple[Labels, list[float | None]]]:
    found = []
    for one in text.split(" ; "):
        match = re.fullmatch(r"(?:((?:[^\s{]*\{[^}]*\})|[a-zA-Z_:][\w:]*)\s+)?([^{}]*)", one.strip())
        assert match, one
        found.append((series(match[1] or ""), numbers(match[2])))
    return found


def same(left: float | None, right: float | None) -> bool:
    if left is None or right is None:
        return left is right
    return left == right or (math.isnan(left) and math.isnan(right)) or math.isclose(left, right, rel_tol=1e-9)


def check(result: Result, text: str, where: str) -> None:
    found = shown(result)
    if result.kind == "string":
        assert result.text == text, where
        return
    wanted = [] if text == "empty" else expected(text)
    if result.kind == "matrix":
        wanted.sort()
    assert [one for one, _ in found] == [one for one, _ in wanted], where
    for (_, mine), (_, theirs) in zip(found, wanted, strict=True):
        assert len(mine) == len(theirs), where
        assert all(same(*pair) for pair in zip(mine, theirs, strict=True)), f"{where}: {mine}"


def ask(promql: PromQL, line: str) -> tuple[Result | BadInput, str]:
    spans = RANGE.fullmatch(line)
    at = AT.fullmatch(line)
    assert spans or at, f"not understood: {line}"
    try:
        if spans:
            start, end, step = (duration_ns(spans[number]) for number in (1, 2, 3))
            return promql.range(spans[4], start, end, step), spans[5]
        assert at
        return promql.instant(at[2], duration_ns(at[1])), at[3]
    except BadInput as error:
        return error, (spans or at)[5 if spans else 3]  # type: ignore[index]


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.test")), ids=lambda path: path.stem)
@pytest.mark.parametrize("sealed", [False, True], ids=["memory", "disk"])
def test_script(path: Path, sealed: bool, tmp_path: Path) -> None:
    engine = Series(tmp_path / "0")
    loaded = cleared = 0
    for number, raw in enumerate(path.read_text().splitlines(), 1):
        line, where = raw.strip(), f"{path.name}:{number}: {raw}"
        if not line or line.startswith("#"):
            continue
        if line == "clear":
            cleared += 1
            engine = Series(tmp_path / str(cleared))
        elif load := LOAD.fullmatch(line):
            loaded += 1
            engine.apply([sample(loaded, series(load[2]), duration_ns(load[1]), load[3])])
        else:
            if sealed and engine.sealed() < loaded:
                engine.seal()
            found, text = ask(PromQL([engine]), line)
            if text.startswith("error"):
                assert isinstance(found, BadInput), where
                assert text.removeprefix("error").strip() in str(found), f"{where}: {found}"
            else:
                assert isinstance(found, Result), f"{where}: {found}"
                check(found, text, where)
