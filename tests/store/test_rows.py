"""The row engine against a plain list of rows."""

from __future__ import annotations

import json
import math
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from modelkeep.core.clock import DAY, HOUR, SECOND, Fixed
from modelkeep.core.errors import BadInput, Conflict, Corrupt
from modelkeep.core.layouts import EVENT, FACT, LOG, PREDICTION, Layout
from modelkeep.core.shapes import Entry, Json, Part
from modelkeep.store.engines.rows import Rows
from modelkeep.store.rows.manifest import FORM, Ledger, Manifest, encoded

TYPES = {"string": pa.string(), "int64": pa.int64(), "double": pa.float64(), "bool": pa.bool_()}


def part(kind: str, layout: Layout, rows: Sequence[dict[str, object]], **meta: str) -> Part:
    columns = {name: pa.array([row.get(name) for row in rows], TYPES[form]) for name, form in layout}
    loose = {name: None for row in rows for name in row if name not in columns}
    columns |= {name: pa.array([row.get(name) for row in rows]) for name in loose}
    return Part(kind, pa.record_batch(columns).replace_schema_metadata(meta))


def predictions(rows: Sequence[dict[str, object]], model: str = "m", version: str = "1", release: str = "r") -> Part:
    return part("prediction", PREDICTION, rows, model=model, version=version, release=release)


def facts(rows: Sequence[dict[str, object]]) -> Part:
    return part("fact", FACT, [{"kind": "label", "source": "", **row} for row in rows])


def entry(seq: int, *parts: Part, received_ns: int = 0) -> Entry:
    return Entry(seq, "", received_ns, parts)


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    return Rows(tmp_path / "rows", clock=Fixed(30 * DAY))


def reopened(rows: Rows, **options: object) -> Rows:
    rows.close()
    return Rows(rows._folder, clock=rows._clock, **options)  # type: ignore[arg-type]


# what is kept


def test_rows_come_back_before_and_after_a_seal(rows: Rows) -> None:
    sent = {
        "id": "a",
        "at": 7,
        "score": 0.5,
        "latency_ns": 3,
        "features.age": 41,
        "features.city": "Ulm",
        "prediction": True,
    }
    rows.apply([entry(1, predictions([sent]))])
    before = rows.scan("prediction").to_pylist()
    assert rows.seal() == 1
    assert rows.scan("prediction").to_pylist() == before
    kept = before[0]
    names = ("id", "at", "score", "latency_ns", "error", "model", "version", "release")
    assert [kept[name] for name in names] == ["a", 7, 0.5, 3, None, "m", "1", "r"]
    assert (kept["features.age"], kept["features.city"], kept["prediction"]) == (41.0, "Ulm", 1.0)
    rows.close()


def test_every_kind_is_kept_and_foreign_kinds_are_passed_over(rows: Rows) -> None:
    rows.apply(
        [
            entry(
                1,
                part("event", EVENT, [{"at": 1, "name": "buy", "user": "u", "properties": "{}"}]),
                part("log", LOG, [{"at": 2, "message": "hello", "severity": 9}]),
                part("sample", (("series", "string"),), [{"series": "x"}]),
                part("reference", (), [{"features.age": 3.0, "score": 0.1}], model="m", version="2"),
                received_ns=9,
            )
        ]
    )
    rows.seal()
    assert rows.scan("event", columns=["name", "user"]).to_pylist() == [{"name": "buy", "user": "u"}]
    assert rows.scan("log", columns=["at", "message"]).to_pylist() == [{"at": 2, "message": "hello"}]
    found = rows.scan("reference", model="m", columns=["at", "version", "features.age"]).to_pylist()
    assert found == [{"at": 9, "version": "2", "features.age": 3.0}]
    rows.close()


def test_an_entry_taken_twice_counts_once(rows: Rows) -> None:
    one, two = (entry(seq, predictions([{"id": str(seq), "at": seq}])) for seq in (1, 2))
    rows.apply([one])
    rows.seal()
    rows = reopened(rows)
    rows.apply([one, two])
    rows.apply([one, two])
    assert rows.scan("prediction")["id"].to_pylist() == ["1", "2"]
    rows.close()


def test_what_was_not_sealed_comes_again_from_the_journal(rows: Rows) -> None:
    entries = [entry(seq, predictions([{"id": str(seq), "at": seq}])) for seq in (1, 2, 3)]
    rows.apply(entries[:2])
    rows.seal()
    rows.apply(entries[2:])
    rows = reopened(rows)
    assert rows.sealed() == 2
    assert rows.scan("prediction")["id"].to_pylist() == ["1", "2"]
    rows.apply(entries)
    assert rows.scan("prediction")["id"].to_pylist() == ["1", "2", "3"]
    rows.close()


# types that change


def test_text_in_a_numeric_feature_goes_to_misfits_and_is_counted(rows: Rows) -> None:
    rows.apply([entry(1, predictions([{"id": "a", "at": 1, "features.age": 41}]))])
    rows.seal()
    rows = reopened(rows)
    rows.apply(
        [
            entry(
                2, predictions([{"id": "b", "at": 2, "features.age": "old"}, {"id": "c", "at": 3, "features.age": "7"}])
            )
        ]
    )
    for _ in range(2):
        found = rows.scan("prediction", columns=["features.age", "misfits"]).to_pylist()
        assert [row["features.age"] for row in found] == [41.0, None, 7.0]
        assert [row["misfits"] for row in found] == [None, '{"features.age": "old"}', None]
        assert rows.status().misfits == {("m", "features.age"): 1}
        rows.seal()
        rows = reopened(rows)
    rows.close()


def test_numbers_in_a_text_feature_become_text(rows: Rows) -> None:
    rows.apply([entry(1, predictions([{"id": "a", "at": 1, "features.code": "x"}]))])
    rows.apply([entry(2, predictions([{"id": "b", "at": 2, "features.code": 7}]))])
    assert rows.scan("prediction", columns=["features.code"])["features.code"].to_pylist() == ["x", "7"]
    rows.close()


def test_a_column_of_nulls_decides_nothing(rows: Rows) -> None:
    rows.apply([entry(1, predictions([{"id": "a", "at": 1, "features.code": None}]))])
    rows.apply([entry(2, predictions([{"id": "b", "at": 2, "features.code": "x"}]))])
    assert rows.scan("prediction")["features.code"].to_pylist() == [None, "x"]
    rows.close()


def test_one_name_may_be_text_for_one_model_and_a_number_for_another(rows: Rows) -> None:
    rows.apply([entry(1, predictions([{"id": "a", "at": 1, "features.x": 1.5}], model="one"))])
    rows.apply([entry(2, predictions([{"id": "b", "at": 2, "features.x": "y"}], model="two"))])
    assert rows.scan("prediction")["features.x"].to_pylist() == ["1.5", "y"]
    assert rows.scan("prediction", model="one")["features.x"].to_pylist() == [1.5]
    rows.close()


def test_rows_that_fit_nowhere_are_put_aside_and_the_rest_goes_on(rows: Rows) -> None:
    broken = Part("event", pa.record_batch({"at": ["yesterday"], "name": ["buy"]}))
    rows.apply([entry(1, broken, predictions([{"id": "a", "at": 1}]))])
    assert rows.scan("prediction")["id"].to_pylist() == ["a"]
    assert rows.status().refused_rows == 1
    (aside,) = (rows._folder / "refused").iterdir()
    assert pa.ipc.open_file(aside).read_all().to_pylist() == [{"at": "yesterday", "name": "buy"}]
    rows.close()


# files


def test_files_lie_in_hive_folders_by_model_and_day(rows: Rows) -> None:
    rows.apply([entry(1, predictions([{"id": "a", "at": 3 * DAY + 5}], model="a/b c"))])
    rows.apply([entry(2, facts([{"id": "a", "at": 4 * DAY}]))])
    rows.seal()
    names = sorted(path.relative_to(rows._folder).as_posix() for path in rows._folder.rglob("*.parquet"))
    assert names == ["fact/dt=1970-01-05/2-2-2.parquet", "prediction/model=a%2Fb%20c/dt=1970-01-04/1-1-1.parquet"]
    table = pq.ParquetFile(rows._folder / names[1]).read()
    assert (table["model"].to_pylist(), table["at"].to_pylist()) == (["a/b c"], [3 * DAY + 5])
    rows.close()


def test_a_year_at_once_makes_few_files(rows: Rows) -> None:
    year = [{"id": str(day), "at": day * DAY, "features.x": float(day)} for day in range(365)]
    for seq in range(1, 21):
        rows.apply([entry(seq, predictions(year))])
        rows.seal()
    assert len(list(rows._folder.rglob("*.parquet"))) == 20
    assert rows.compact() >= 14
    assert rows.scan("prediction").num_rows == 20 * 365
    rows.close()


def test_joining_keeps_every_row_and_comes_to_an_end(rows: Rows) -> None:
    expected: Counter[str] = Counter()
    for seq in range(1, 40):
        sent = [{"id": f"{seq}-{n}", "at": (seq % 3 + 28) * DAY + n, f"features.f{seq % 4}": n} for n in range(seq)]
        expected.update(str(row["id"]) for row in sent)
        rows.apply([entry(seq, predictions(sent), facts([{"id": "x", "at": seq}]))])
        rows.seal()
    assert rows.compact() > 40
    assert rows.compact() == 0
    rows = reopened(rows)
    assert Counter(rows.scan("prediction")["id"].to_pylist()) == expected
    assert rows.scan("prediction").column_names.count("features.f3") == 1
    assert rows.scan("fact").num_rows == 39
    rows.close()


def test_files_that_no_manifest_lists_are_removed_at_opening(rows: Rows) -> None:
    rows.apply([entry(1, facts([{"id": "a", "at": 1}]))])
    rows.seal()
    stray = rows._folder / "fact" / "dt=1970-01-09" / "9-9-9.parquet"
    stray.parent.mkdir()
    stray.write_bytes(b"half a file")
    rows = reopened(rows)
    assert not stray.parent.exists()
    assert rows.scan("fact").num_rows == 1
    rows.close()


def test_a_copy_taken_while_files_are_joined_is_whole(rows: Rows, tmp_path: Path) -> None:
    for seq in range(1, 12):
        rows.apply([entry(seq, facts([{"id": str(seq), "at": seq}]))])
        rows.seal()
    with rows.snapshot() as files:
        rows.compact()
        rows.apply([entry(12, facts([{"id": "12", "at": 12}]))])
        rows.seal()
        for name, path in files:
            target = tmp_path / "copy" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    assert not list(rows._folder.glob("snapshot-*"))
    copy = Rows(tmp_path / "copy")
    assert (copy.sealed(), copy.scan("fact").num_rows, rows.scan("fact").num_rows) == (11, 11, 12)
    assert len(list(rows._folder.rglob("*.parquet"))) == rows.status().files
    copy.close()
    rows.close()


# damage


def test_a_damaged_file_is_named_and_left_out(rows: Rows) -> None:
    many = [{"id": str(n), "at": n, "features.x": n * 0.7} for n in range(500)]
    rows.apply([entry(1, predictions(many, model="hurt"), predictions(many, model="well"))])
    rows.seal()
    path = next(rows._folder.glob("prediction/model=hurt/*/*.parquet"))
    data = bytearray(path.read_bytes())
    data[4 : len(data) // 2] = bytes(len(data) // 2 - 4)
    path.write_bytes(data)
    rows = reopened(rows)
    assert set(rows.scan("prediction")["model"].to_pylist()) == {"well"}
    assert rows.status().damaged == (path.relative_to(rows._folder).as_posix(),)
    assert rows.sql("SELECT count(*) AS n FROM prediction").to_pylist() == [{"n": 500}]
    rows.close()


def test_a_file_damaged_while_in_use_is_left_out_from_then_on(rows: Rows) -> None:
    many = [{"id": str(n), "at": n, "features.x": n * 0.7} for n in range(500)]
    rows.apply([entry(1, predictions(many, model="hurt"), predictions(many, model="well"))])
    rows.seal()
    path = next(rows._folder.glob("prediction/model=hurt/*/*.parquet"))
    path.write_bytes(b"PAR1" + bytes(path.stat().st_size - 8) + b"PAR1")
    assert rows.sql("SELECT count(features.x) AS n FROM prediction").to_pylist() == [{"n": 500}]
    assert len(rows.status().damaged) == 1
    rows.close()


@settings(max_examples=25)
@given(place=st.floats(0, 1), bit=st.integers(0, 7))
def test_a_flipped_bit_never_gives_a_wrong_answer(place: float, bit: int) -> None:
    rows = Rows(Path(tempfile.mkdtemp()))
    sent = [{"id": f"{n:032x}", "at": n, "features.x": n**0.5} for n in range(200)]
    rows.apply([entry(1, predictions(sent), predictions(sent, model="other"))])
    rows.seal()
    path = next(rows._folder.glob("prediction/model=m/*/*.parquet"))
    data = bytearray(path.read_bytes())
    data[min(int(place * len(data)), len(data) - 1)] ^= 1 << bit
    path.write_bytes(data)
    rows = reopened(rows)
    assert rows.scan("prediction", model="m").num_rows == 0
    assert rows.scan("prediction")["features.x"].to_pylist() == [n**0.5 for n in range(200)]
    assert len(rows.status().damaged) == 1
    rows.close()


def test_verify_finds_one_flipped_bit(rows: Rows) -> None:
    rows.apply([entry(1, facts([{"id": "a", "at": 1}]))])
    rows.seal()
    path = next(rows._folder.rglob("*.parquet"))
    data = bytearray(path.read_bytes())
    assert rows.verify() == ()
    data[20] ^= 1
    path.write_bytes(data)
    assert len(rows.verify()) == 1
    rows.close()


def test_a_missing_file_is_named_at_opening(rows: Rows) -> None:
    rows.apply([entry(1, facts([{"id": "a", "at": 1}]), predictions([{"id": "b", "at": 1}]))])
    rows.seal()
    next(rows._folder.glob("fact/*/*.parquet")).unlink()
    rows = reopened(rows)
    assert len(rows.status().damaged) == 1
    assert (rows.scan("fact").num_rows, rows.scan("prediction").num_rows) == (0, 1)
    rows.close()


@settings(max_examples=40)
@given(place=st.floats(0, 1), bit=st.integers(0, 7))
def test_a_flipped_bit_in_the_manifest_is_mended_from_its_copy(place: float, bit: int) -> None:
    folder = Path(tempfile.mkdtemp())
    ledger = Ledger(folder)
    kept = Manifest(seq=3, serial=9, types={"prediction/m": {"features.a": "double"}})
    ledger.store(kept)
    path = folder / "manifest.json"
    data = bytearray(path.read_bytes())
    data[min(int(place * len(data)), len(data) - 1)] ^= 1 << bit
    path.write_bytes(data)
    assert Ledger(folder).load() == kept


def test_two_damaged_manifests_are_corrupt_and_named(rows: Rows) -> None:
    rows.apply([entry(1, facts([{"id": "a", "at": 1}]))])
    rows.seal()
    rows.close()
    for name in ("manifest.json", "manifest.copy.json"):
        (rows._folder / name).write_text("{}")
    with pytest.raises(Corrupt, match=r"manifest\.copy\.json is damaged"):
        Rows(rows._folder)


def test_a_newer_store_and_a_second_process_are_refused(rows: Rows) -> None:
    with pytest.raises(Conflict, match="in use by process"):
        Rows(rows._folder)
    rows.close()
    (rows._folder / "manifest.json").write_bytes(encoded(Manifest(form=FORM + 1)))
    with pytest.raises(Conflict, match=f"form {FORM + 1}, this modelkeep reads up to {FORM}"):
        Rows(rows._folder)


# questions


def test_scan_prunes_orders_and_limits(rows: Rows) -> None:
    for seq, day in enumerate((3, 1, 2), 1):
        rows.apply([entry(seq, predictions([{"id": f"{day}-{n}", "at": day * DAY + n} for n in range(5)]))])
        rows.seal()
    rows.apply([entry(9, predictions([{"id": "9-0", "at": 9 * DAY}]))])
    assert rows.scan("prediction", limit=2)["id"].to_pylist() == ["1-0", "1-1"]
    assert rows.scan("prediction", limit=3, newest_first=True)["id"].to_pylist() == ["9-0", "3-4", "3-3"]
    assert rows.scan("prediction", newest_first=True)["id"].to_pylist()[-1] == "1-0"
    cut = rows.scan("prediction", start_ns=DAY + 3, end_ns=2 * DAY + 1)
    assert cut["id"].to_pylist() == ["1-3", "1-4", "2-0"]
    older = rows.scan("prediction", end_ns=3 * DAY, limit=1, newest_first=True)
    assert older["id"].to_pylist() == ["2-4"]
    assert rows.scan("prediction", ids=["2-2", "9-0", "none"])["id"].to_pylist() == ["2-2", "9-0"]
    assert rows.scan("prediction", model="other").num_rows == 0
    assert rows.scan("prediction", version="2").num_rows == 0
    rows.close()


def test_scan_names_what_it_does_not_know(rows: Rows) -> None:
    assert rows.scan("fact").num_rows == 0
    with pytest.raises(BadInput, match="kind 'sample'"):
        rows.scan("sample")
    with pytest.raises(BadInput, match="has a column"):
        rows.scan("prediction", columns=["features.x"])
    with pytest.raises(BadInput, match="have no id"):
        rows.scan("event", ids=["a"])
    rows.close()


def test_the_fact_that_arrived_last_counts(rows: Rows) -> None:
    rows.apply(
        [
            entry(
                1,
                facts(
                    [{"id": "a", "model": "m", "value": 1.0, "at": 5}, {"id": "a", "model": "m", "value": 2.0, "at": 3}]
                ),
            )
        ]
    )
    rows.seal()
    rows.apply(
        [entry(2, facts([{"id": "b", "model": "m", "value": 1.0, "at": 5}, {"id": "b", "value": 2.0, "at": 5}]))]
    )
    rows.apply(
        [
            entry(
                3,
                facts(
                    [
                        {"id": "a", "model": "other", "value": 9.0, "at": 9},
                        {"id": "a", "kind": "feedback", "text": "good", "at": 1},
                    ]
                ),
            )
        ]
    )
    found = rows.latest_facts(["a", "b"], "m")
    assert found.column_names == [name for name, _ in FACT]
    assert [(row["id"], row["kind"], row["value"]) for row in found.to_pylist()] == [
        ("a", "feedback", None),
        ("a", "label", 2.0),
        ("b", "label", 2.0),
    ]
    rows.close()


# retention


def test_old_days_go_one_after_another(tmp_path: Path) -> None:
    clock = Fixed(30 * DAY)
    rows = Rows(tmp_path, clock=clock, retention={"log": 7 * DAY})
    for day in range(23, 31):
        sent = [{"at": day * DAY + n, "message": str(day)} for n in range(10)]
        rows.apply([entry(day, part("log", LOG, sent))])
    rows.seal()
    assert len(list(tmp_path.rglob("*.parquet"))) == 1
    assert rows.expire() == 0
    clock.at_ns = 31 * DAY + HOUR
    assert rows.expire() == 10
    assert rows.expire() == 0
    assert sorted(set(rows.scan("log")["message"].to_pylist())) == [str(day) for day in range(24, 31)]
    assert rows.status().expired_rows == 10
    rows.close()


def test_a_clock_that_jumps_ahead_deletes_nothing_without_a_yes(tmp_path: Path) -> None:
    clock = Fixed(30 * DAY)
    rows = Rows(tmp_path, clock=clock)
    for day in range(20, 30):
        rows.apply([entry(day, predictions([{"id": str(day), "at": day * DAY}]))])
        rows.seal()
    clock.at_ns += 3650 * DAY
    assert rows.expire() == 0
    assert (rows.status().expiry_refused, rows.scan("prediction").num_rows) == (1, 10)
    assert rows.expire(confirmed=True) == 10
    assert not list(tmp_path.rglob("*.parquet"))
    rows.close()


def test_references_and_unnamed_kinds_stay(tmp_path: Path) -> None:
    rows = Rows(tmp_path, clock=Fixed(9000 * DAY), retention={"log": DAY})
    rows.apply([entry(1, predictions([{"id": "a", "at": 1}]))])
    rows.seal()
    assert rows.expire(confirmed=True) == 0
    rows.close()


# against a plain list

VALUES = st.one_of(st.none(), st.floats(-5, 5), st.booleans(), st.sampled_from(["x", "7", "-1.5", ""]))
ROW = st.fixed_dictionaries(
    {"id": st.sampled_from("abcde"), "at": st.integers(-2 * DAY, 9 * DAY)},
    optional={"features.p": VALUES, "features.q": VALUES, "prediction": VALUES, "score": st.floats(0, 1)},
)


def columns_of(sent: list[dict[str, object]]) -> list[dict[str, object]]:
    """Makes each loose column of one type, as the wire does: text wins, numbers and bools become text beside it."""
    names = {name for row in sent for name in row} - {"id", "at", "score"}
    for name in names:
        values = [row.get(name) for row in sent]
        kinds = {type(value) for value in values} - {type(None)}
        for row in sent:
            value = row.get(name)
            if value is None or len(kinds) == 1:
                continue
            row[name] = (value if isinstance(value, str) else json.dumps(value)) if str in kinds else float(value)  # type: ignore[arg-type]
    return sent


class Model:
    """The same rows, kept the plain way."""

    def __init__(self) -> None:
        self.types: dict[tuple[str, str], type] = {}
        self.rows: list[dict[str, object]] = []
        self.misfits: Counter[tuple[str, str]] = Counter()

    def take(self, model: str, sent: list[dict[str, object]], count: bool = True) -> None:
        for name in ("features.p", "features.q", "prediction"):
            first = next((row[name] for row in sent if row.get(name) is not None), None)
            if first is not None:
                self.types.setdefault((model, name), str if isinstance(first, str) else float)
        for row in sent:
            kept = {"model": model, "id": row["id"], "at": row["at"], "score": row.get("score")}
            for name in ("features.p", "features.q", "prediction"):
                kept[name] = self.fit(model, name, row.get(name))
            self.rows.append(kept)

    def fit(self, model: str, name: str, value: object) -> object:
        if value is None:
            return None
        if self.types[model, name] is str:
            if isinstance(value, float):
                return ("text of", value)
            return value if isinstance(value, str) else str(value).lower()
        if isinstance(value, str):
            try:
                return float({"true": "1", "false": "0"}.get(value, value))
            except ValueError:
                self.misfits[model, name] += 1
                return None
        return float(value)  # type: ignore[arg-type]


def same(kept: object, found: Json) -> bool:
    if isinstance(kept, tuple):
        return isinstance(found, str) and math.isclose(float(found), kept[1])
    return kept == found


class RowsAgainstAList(RuleBasedStateMachine):
    """Batches, seals, joins and crashes in any order leave what a list would hold."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.rows = Rows(self.folder, clock=Fixed(8 * DAY))
        self.journal: list[Entry] = []
        self.model = Model()

    @rule(
        sent=st.lists(
            st.tuples(st.sampled_from(["m", "n"]), st.lists(ROW, min_size=1, max_size=6)), min_size=1, max_size=4
        )
    )
    def send(self, sent: list[tuple[str, list[dict[str, object]]]]) -> None:
        fresh = []
        for model, rows in sent:
            even = columns_of([dict(row) for row in rows])
            self.model.take(model, even)
            fresh.append(entry(len(self.journal) + len(fresh) + 1, predictions(even, model=model)))
        self.journal += fresh
        self.rows.apply(fresh)

    @rule()
    def seal(self) -> None:
        assert self.rows.seal() == len(self.journal)

    @rule()
    def join(self) -> None:
        self.rows.compact()

    @rule(ahead=st.integers(1, 5))
    def crash(self, ahead: int) -> None:
        self.rows.close()
        self.rows = Rows(self.folder, clock=Fixed(8 * DAY))
        behind = self.journal[self.rows.sealed() :]
        for start in range(0, len(behind), ahead):
            self.rows.apply(behind[start : start + ahead])

    @invariant()
    def agrees(self) -> None:
        for model in ("m", "n"):
            found = self.rows.scan("prediction", model=model).to_pylist()
            kept = [row for row in self.model.rows if row["model"] == model]
            kept.sort(key=lambda row: int(str(row["at"])))
            assert len(found) == len(kept)
            for one, other in zip(kept, found, strict=True):
                assert all(same(value, other.get(name)) for name, value in one.items()), (one, other)
        counts = {key: count for key, count in self.model.misfits.items() if count}
        assert self.rows.status().misfits == counts

    def teardown(self) -> None:
        if hasattr(self, "rows"):
            self.rows.close()


RowsAgainstAList.TestCase.settings = settings(max_examples=12, stateful_step_count=12, deadline=None)
TestRowsAgainstAList = RowsAgainstAList.TestCase


def test_times_are_kept_to_the_ns(rows: Rows) -> None:
    at = 1_364_774_400 * SECOND + 1
    rows.apply([entry(1, predictions([{"id": "a", "at": at}]))])
    rows.seal()
    assert rows.scan("prediction")["at"].to_pylist() == [at]
    assert rows.sql("SELECT at_ns FROM prediction")["at_ns"].to_pylist() == [at]
    rows.close()
