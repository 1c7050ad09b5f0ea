"""Formats are told from bytes that real libraries write; nothing is ever unpickled, and nothing hides from a folder."""

from __future__ import annotations

import collections
import gzip
import io
import json
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.models.formats import by_name, format_of, format_of_files
from modelkeep.models.pickles import scanned


class Trap:
    """Unpickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        import os

        return os.system, (f"touch {self.path}",)


def file(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_runs_a_program_is_read_and_not_run(tmp_path: Path, protocol: int) -> None:
    trap = tmp_path / "sprung"
    found = format_of(file(tmp_path, "model.pkl", pickle.dumps({"a": [Trap(trap)]}, protocol)))
    assert (found.name, found.executes) == ("pickle", True)
    assert found.suspicious in {("posix.system",), ("nt.system",)}
    assert "posix.system" in found.why or "nt.system" in found.why
    assert not trap.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_of_plain_values_calls_nothing(tmp_path: Path, protocol: int) -> None:
    found = format_of(file(tmp_path, "model.pkl", pickle.dumps({"w": [1.5, 2], "n": ("é", None, b"x")}, protocol)))
    if protocol < 3:  # bytes are made by a call there
        assert found.imports == ("_codecs.encode",)
    else:
        assert (found.executes, found.imports) == (False, ())


def test_what_a_pickle_names(tmp_path: Path) -> None:
    found = format_of(file(tmp_path, "m.pkl", pickle.dumps([collections.OrderedDict(a=np.arange(3.0))])))
    assert found.executes
    assert "collections.OrderedDict" in found.imports
    assert found.suspicious == ()
    strings = pickle.dumps(["os", "system"]) + pickle.dumps(collections.Counter("a"))
    assert format_of(file(tmp_path, "two.pkl", strings)).imports == ("collections.Counter",)


def test_a_pickle_that_ends_early_counts_as_running_code(tmp_path: Path) -> None:
    whole = pickle.dumps({"a": list(range(1000))})
    found = format_of(file(tmp_path, "m.pkl", whole[:-20]))
    assert found.executes
    assert "not looked at to its end" in found.why


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_joblib_plain_and_compressed(tmp_path: Path, pack: object) -> None:
    data = pickle.dumps(collections.OrderedDict(a=1))
    found = format_of(file(tmp_path, "model.joblib", pack(data)))  # type: ignore[operator]
    assert (found.name, found.executes, found.imports) == ("joblib", True, ("collections.OrderedDict",))


def test_what_scikit_learn_and_joblib_write(tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    linear = pytest.importorskip("sklearn.linear_model")
    model = linear.LogisticRegression().fit(np.array([[0.0], [1.0]]), [0, 1])
    for name, options in (
        ("plain.joblib", {}),
        ("small.joblib", {"compress": 3}),
        ("xz.joblib", {"compress": ("xz", 3)}),
    ):
        joblib.dump(model, tmp_path / name, **options)
        found = format_of(tmp_path / name)
        assert (found.name, found.executes) == ("joblib", True), name
        assert "sklearn.linear_model._logistic.LogisticRegression" in found.imports


def test_formats_without_code(tmp_path: Path) -> None:
    head = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    onnx = b"\x08\x08\x12\x07pytorch\x1a\x032.1" + bytes(60)
    files = {
        "safetensors": struct.pack("<Q", len(head)) + head + bytes(4),
        "onnx": onnx,
        "gguf": b"GGUF\x03\x00\x00\x00" + bytes(30),
        "catboost": b"CBM1" + bytes(40),
        "lightgbm": b"tree\nversion=v4\nnum_class=1\n",
        "xgboost": b'{"learner":{"attributes":{}}}',
        "tflite": struct.pack("<I", 28) + b"TFL3" + bytes(30),
        "pmml": b'<?xml version="1.0"?><PMML version="4.4"></PMML>',
        "json": b'{"a": 1}',
        "text": "größer\n".encode(),
    }
    for name, data in files.items():
        found = format_of(file(tmp_path, f"{name}.bin", data))
        assert (found.name, found.executes, found.seen) == (name, False, True)
    assert format_of(file(tmp_path, "unknown", bytes(range(1, 200)))).executes is None
    assert format_of(file(tmp_path, "empty", b"")).executes is False


def test_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "numbers.npy", np.arange(4))
    np.save(tmp_path / "objects.npy", np.array([{}, None], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "numbers.npz", a=np.arange(3), b=np.ones(2))
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))
    assert [format_of(tmp_path / name).executes for name in ("numbers.npy", "numbers.npz")] == [False, False]
    assert [format_of(tmp_path / name).executes for name in ("objects.npy", "objects.npz")] == [True, True]


def archive(folder: Path, name: str, members: dict[str, bytes]) -> Path:
    path = folder / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for member, data in members.items():
            made.writestr(member, data)
    return path


def test_archives(tmp_path: Path) -> None:
    weights = pickle.dumps(collections.OrderedDict(w=1), 2)
    torch = archive(tmp_path, "m.pt", {"m/data.pkl": weights, "m/data/0": bytes(8), "m/version": b"3"})
    found = format_of(torch)
    assert (found.name, found.executes, found.imports) == ("torch", True, ("collections.OrderedDict",))
    assert "weights_only" in found.why
    trap = archive(tmp_path, "t.pt", {"m/data.pkl": pickle.dumps(Trap(tmp_path / "x"), 2)})
    assert format_of(trap).suspicious
    script = archive(tmp_path, "s.pt", {"m/data.pkl": weights, "m/code/__torch__.py": b"", "m/constants.pkl": weights})
    assert format_of(script).name == "torchscript"
    layers = {"metadata.json": b"{}", "model.weights.h5": b""}
    plain = archive(tmp_path, "p.keras", {"config.json": b'{"class_name": "Dense"}', **layers})
    assert (format_of(plain).name, format_of(plain).executes) == ("keras", False)
    lambdas = archive(tmp_path, "l.keras", {"config.json": b'{"class_name": "Lambda", "config": {}}', **layers})
    assert format_of(lambdas).executes is True
    schema = {"__class__": "LogisticRegression", "__module__": "sklearn.linear_model._logistic", "content": {"a": [1]}}
    skops = format_of(archive(tmp_path, "m.skops", {"schema.json": json.dumps(schema).encode()}))
    assert (skops.name, skops.executes, skops.imports) == (
        "skops", False, ("sklearn.linear_model._logistic.LogisticRegression",),
    )  # fmt: skip
    assert format_of(archive(tmp_path, "h.zip", {"handler.py": b"print()"})).executes is True
    assert format_of(archive(tmp_path, "x.zip", {"a.dat": b"1"})).executes is None
    assert format_of(file(tmp_path, "cut.zip", torch.read_bytes()[:40])).executes is True
    bomb = archive(tmp_path, "bomb.keras", {"config.json": b" " * 20_000_000, "metadata.json": b"{}"})
    assert format_of(bomb).why == "its description is too large to be looked at"


def test_hdf5_with_a_lambda_layer(tmp_path: Path) -> None:
    head = b"\x89HDF\r\n\x1a\n" + bytes(2_000_000)
    assert format_of(file(tmp_path, "a.h5", head)).executes is False
    marked = head[: (1 << 20) - 9] + b'{"class_name": "Lambda"}' + bytes(9)
    assert format_of(file(tmp_path, "b.h5", marked)).executes is True


def test_one_file_makes_a_folder_run_code(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    file(folder, "config.json", b"{}")
    file(folder, "model.safetensors", struct.pack("<Q", 2) + b"{}")
    assert (format_of(folder).name, format_of(folder).executes) == ("folder", False)
    file(folder, "deep/modeling.py", b"")
    assert format_of(folder).executes is True
    assert format_of(folder).why == "deep/modeling.py"
    file(folder, "MLmodel", b"flavors: {}\n")
    assert format_of(folder).name == "mlflow"
    saved = tmp_path / "saved"
    file(saved, "saved_model.pb", b"\x08\x01")
    assert (format_of(saved).name, format_of(saved).executes) == ("tensorflow", True)
    objects = {"a/code.py": file(tmp_path, "00ab", b"import os\n")}
    assert format_of_files(objects).executes is True


def test_names_alone() -> None:
    assert by_name("a/b/model.PKL") == by_name("model.pkl")
    assert by_name("model.pkl").told() == (
        "pickle: executes code on load (loading a pickle calls what it names, by its name only)"
    )
    assert by_name("weights").executes is None


@given(st.binary(max_size=300) | st.binary(max_size=60).map(lambda data: b"\x80\x04" + data))
def test_any_bytes_are_looked_at_without_an_error(data: bytes) -> None:
    found = scanned(io.BytesIO(data))
    assert found.calls or found.whole


HEADS = [b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"\x89HDF\r\n\x1a\n", b"\x1f\x8b", b"\x78\x9c", b"BZh9", b"\x80\x05", b""]


@given(
    st.sampled_from(HEADS),
    st.binary(max_size=200),
    st.sampled_from(["m.pkl", "m.npy", "m.h5", "m.joblib", "m.pt", "m"]),
)  # fmt: skip
def test_any_file_has_a_format(tmp_path_factory: pytest.TempPathFactory, head: bytes, rest: bytes, name: str) -> None:
    path = tmp_path_factory.mktemp("any") / name
    path.write_bytes(head + rest)
    assert format_of(path).name
