"""Drift between two tables: modelkeep beside Evidently and NannyML, the same files and the same measures, in one run.

    python bench/drift.py [--rows 100000] [--repeat 3] [--peers evidently nannyml] [--folder build/bench]

Twenty numeric columns (normal, lognormal, gamma, tied integers, some with 2 % nulls) and ten categorical ones with 2 to
200 levels; every other numeric column of the current table is shifted a little. Each tool runs in a process of its own,
a peer in an environment of its own (made once under build/peers). Reading the files and importing are not counted; the
least of the repeats is, and CPU time is that of the whole process, threads included.

modelkeep computes KS, PSI, Jensen-Shannon and Wasserstein per number and chi-square, PSI and Jensen-Shannon per name.
Evidently is asked for the same seven (its PSI and Jensen-Shannon cut numbers into other bins); NannyML has no PSI, and
is compared with modelkeep without it. Both peers are asked for bare measures, no report, plot or chunks.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

ROOT = Path(__file__).resolve().parent.parent
NUMERIC, CATEGORICAL = 20, 10
LEVELS = (2, 3, 5, 10, 20, 30, 50, 80, 120, 200)
Values = dict[str, dict[str, float]]


def drawn(rng: np.random.Generator, kind: int, rows: int) -> np.ndarray:
    if kind == 3:
        return rng.integers(0, 50, rows).astype(float)
    return (rng.normal(size=rows), rng.lognormal(size=rows), rng.gamma(2, size=rows))[kind]


def write(folder: Path, rows: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(("reference", "current")):
        rng = np.random.default_rng(seed)
        columns: dict[str, pa.Array] = {}
        for at in range(NUMERIC):
            values = drawn(rng, at % 4, rows) + 0.1 * seed * (at % 2)
            gone = rng.random(rows) < 0.02 * (at % 5 == 0)
            columns[f"n{at}"] = pa.array(values, mask=gone)
        for at, levels in enumerate(LEVELS):
            columns[f"c{at}"] = pa.array(np.char.add("level", (rng.zipf(1.5, rows) % levels).astype(str)))
        parquet.write_table(pa.table(columns), folder / f"{name}.parquet")


def ours(folder: Path, measures: list[str] | None) -> Callable[[], Values]:
    from modelkeep.quality.compare import compare

    files = [parquet.read_table(folder / f"{name}.parquet") for name in ("reference", "current")]
    reference, current = (one.combine_chunks() for one in files)

    def run() -> Values:
        found = compare(reference, current, measures=measures)
        return {row.column: {name: one.value for name, one in row.measures.items()} for row in found.rows}

    return run


def evidently(folder: Path) -> Callable[[], Values]:
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    reference, current = (pd.read_parquet(folder / f"{name}.parquet") for name in ("reference", "current"))
    numbers, names = ([one for one in reference.columns if one[0] == kind] for kind in "nc")
    asked = [(one, way) for one in numbers for way in ("ks", "psi", "jensenshannon", "wasserstein")]
    asked += [(one, way) for one in names for way in ("chisquare", "psi", "jensenshannon")]

    def run() -> Values:
        shape = DataDefinition(numerical_columns=numbers, categorical_columns=names)
        left, right = (Dataset.from_pandas(one, data_definition=shape) for one in (reference, current))
        report = Report([ValueDrift(column=one, method=way) for one, way in asked])
        found: Values = {}
        for (column, way), metric in zip(asked, report.run(right, left).dict()["metrics"], strict=True):
            found.setdefault(column, {})[way] = float(metric["value"])
        return found

    return run


def nannyml(folder: Path) -> Callable[[], Values]:
    import pandas as pd
    from nannyml import UnivariateDriftCalculator

    reference, current = (pd.read_parquet(folder / f"{name}.parquet") for name in ("reference", "current"))
    ways = {"n": ["kolmogorov_smirnov", "jensen_shannon", "wasserstein"], "c": ["chi2", "jensen_shannon"]}

    def run() -> Values:
        calculator = UnivariateDriftCalculator(
            column_names=list(reference.columns),
            continuous_methods=ways["n"],
            categorical_methods=ways["c"],
            chunk_number=1,
        )
        table = calculator.fit(reference).calculate(current).filter(period="analysis").to_df()
        return {
            name: {way: float(table[name, way, "value"].iloc[0]) for way in ways[name[0]]} for name in reference.columns
        }

    return run


CHILDREN: dict[str, Callable[[Path], Callable[[], Values]]] = {
    "modelkeep": lambda folder: ours(folder, None),
    "modelkeep without psi": lambda folder: ours(folder, ["ks", "jensen_shannon", "wasserstein", "chi_square"]),
    "evidently": evidently,
    "nannyml": nannyml,
}


def child(name: str, folder: Path, repeat: int) -> None:
    import resource

    warnings.simplefilter("ignore")
    run = CHILDREN[name](folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    walls, cpus, values = [], [], {}
    for _ in range(repeat):
        wall, cpu = time.perf_counter(), time.process_time()
        values = run()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    version = importlib.metadata.version(name.split(maxsplit=1)[0])
    print(json.dumps({"wall": min(walls), "cpu": min(cpus), "rss": grown, "version": version, "values": values}))


def environment(name: str) -> Path:
    """Makes a peer's own environment once and gives its Python."""
    folder = ROOT / "build" / "peers" / name
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"Making build/peers/{name} (once)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(ROOT / "bench" / "peers" / f"{name}.txt")], check=True)
        (folder / "ready").touch()
    return python


def measured(name: str, python: Path, folder: Path, repeat: int) -> dict[str, object]:
    command = [str(python), __file__, "--child", name, "--folder", str(folder), "--repeat", str(repeat)]
    silent = {"DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}
    done = subprocess.run(command, env={**os.environ, **silent}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr.strip()[-800:]}")
    return json.loads(done.stdout.splitlines()[-1])


def apart(left: Values, right: Values, pairs: dict[str, str], kind: str) -> str:
    """The largest difference between two tools' values of the same measure."""
    parts = []
    for mine, theirs in pairs.items():
        names = [name for name in left if name[0] == kind and theirs in right[name]]
        gaps = [abs(left[name][mine] - right[name][theirs]) for name in names]
        if gaps:
            parts.append(f"{mine} {max(gaps):.1e}")
    return ", ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--peers", nargs="*", default=["evidently", "nannyml"], choices=["evidently", "nannyml"])
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "bench")
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.folder, given.repeat)
        return
    write(given.folder, given.rows)
    print(f"{given.rows:,} + {given.rows:,} rows, {NUMERIC} numbers and {CATEGORICAL} names, {os.cpu_count()} cores")
    print(f"{'':24}{'version':>9}{'wall s':>9}{'CPU s':>9}{'MB':>8}{'wall ×':>9}{'CPU ×':>8}")
    for peer in given.peers:
        mine = "modelkeep without psi" if peer == "nannyml" else "modelkeep"
        names = {mine: Path(sys.executable), peer: environment(peer)}
        found = {name: measured(name, python, given.folder, given.repeat) for name, python in names.items()}
        for name, one in found.items():
            wall, cpu = (float(one[what]) / float(found[mine][what]) for what in ("wall", "cpu"))  # type: ignore[arg-type]
            figures = f"{one['wall']:9.3f}{one['cpu']:9.3f}{one['rss']:8.0f}{wall:9.1f}{cpu:8.1f}"
            print(f"{name:24}{one['version']:>9}{figures}")
        values = [found[name]["values"] for name in (mine, peer)]
        same = {"jensen_shannon": "jensenshannon", "wasserstein": "wasserstein", "psi": "psi"}
        if peer == "nannyml":
            same = {"ks": "kolmogorov_smirnov", "jensen_shannon": "jensen_shannon"}
        print(f"  largest difference: {apart(*values, same, 'n')}")  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
