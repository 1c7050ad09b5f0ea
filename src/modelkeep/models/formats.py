"""What kind of file a model is, and whether loading it executes code; told from bytes, nothing is ever loaded.

Pickles are read opcode by opcode, as `pickletools` does, and never run. Everything is limited: bytes, opcodes, members
of an archive. What could not be looked at to its end counts as executing code.
"""

from __future__ import annotations

import json
import os
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Final, NamedTuple

from modelkeep.models.pickles import Pickle, compressed, looks_pickled, scanned

_HEAD: Final = 512
_MOST_JSON: Final = 100_000_000
_MOST_PIECE: Final = 16_000_000
_MOST_MEMBERS: Final = 10_000
_MOST_FILES: Final = 2_000
_LAMBDA: Final = (b'"class_name": "Lambda"', b'"class_name":"Lambda"')
_PROGRAMS: Final = (b"\x7fELF", b"MZ", b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe", b"\xfe\xed\xfa\xcf", b"#!")
_ONNX: Final = frozenset({0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42})
_CODE: Final = (".py", ".pyc", ".so", ".dll", ".dylib", ".sh", ".pyd", ".jar")
_BY_NAME: Final[dict[str, tuple[str, bool | None, str]]] = {
    ".safetensors": ("safetensors", False, "tensors only"),
    ".onnx": ("onnx", False, "a graph of operators"),
    ".skops": ("skops", False, "types are checked before they are made"),
    ".cbm": ("catboost", False, "trees only"),
    ".gguf": ("gguf", False, "tensors and texts"),
    ".tflite": ("tflite", False, "a graph of operators"),
    ".ubj": ("xgboost", False, "trees only"),
    ".keras": ("keras", None, "depends on its layers"),
    ".h5": ("hdf5", None, "depends on its layers"),
    ".hdf5": ("hdf5", None, "depends on its layers"),
    ".pkl": ("pickle", True, "loading a pickle calls what it names"),
    ".pickle": ("pickle", True, "loading a pickle calls what it names"),
    ".dill": ("pickle", True, "loading a pickle calls what it names"),
    ".joblib": ("joblib", True, "joblib loads pickles"),
    ".pt": ("torch", True, "torch loads pickles unless weights_only is set"),
    ".pth": ("torch", True, "torch loads pickles unless weights_only is set"),
    ".bin": ("torch", None, "may be a pickle"),
    ".py": ("python", True, "source code"),
}
"""What is said of a file that is not here, by its name: kind, whether code is executed, and why."""


class Format(NamedTuple):
    """What kind of file a model is.

    Args:
        name: such as `safetensors`, `pickle`, `torch`; `unknown` when nobody knows.
        executes: whether loading it executes code that the file names; None when that is not known.
        why: in a few words.
        imports: what a pickle names, or the types that a file has made, sorted.
        suspicious: those of them that a model has no need of.
        seen: whether the bytes were looked at, or only the name was.
    """

    name: str
    executes: bool | None
    why: str
    imports: tuple[str, ...] = ()
    suspicious: tuple[str, ...] = ()
    seen: bool = True

    def told(self) -> str:
        """The format in one line, as people read it."""
        state = {True: "executes code on load", False: "no code on load", None: "may execute code on load"}
        guess = "" if self.seen else ", by its name only"
        return f"{self.name}: {state[self.executes]} ({self.why}{guess})"


def by_name(path: str) -> Format:
    """Gives what the name of a file says about it.

    >>> by_name("model.safetensors").executes, by_name("model.pkl").executes, by_name("model").name
    (False, True, 'unknown')
    """
    name, executes, why = _BY_NAME.get(os.path.splitext(path)[1].lower(), ("unknown", None, "a name says little"))  # noqa: PTH122
    return Format(name, executes, why, seen=False)


def format_of(path: Path, name: str = "") -> Format:
    """Gives what kind of model a file or folder is.

    Args:
        path: of a folder, all files count: one that executes code makes the folder do so.
        name: of the file, where it lies under another one.

    Raises:
        OSError: it cannot be read.
    """
    if not path.is_dir():
        return _file(path, name or path.name)
    found: dict[str, Path] = {}
    for place, folders, files in os.walk(path):
        folders.sort()
        here = Path(place)
        found |= {(here / one).relative_to(path).as_posix(): here / one for one in sorted(files)}
        if len(found) > _MOST_FILES:
            break
    return format_of_files({name: file for name, file in found.items() if file.is_file()})


def format_of_files(files: Mapping[str, Path]) -> Format:
    """Gives what kind of model some files are together.

    Args:
        files: where each lies, by its path in the model.

    Raises:
        OSError: one cannot be read.
    """
    if len(files) > _MOST_FILES:
        return Format("folder", True, f"more than {_MOST_FILES} files, not all were looked at")
    if "saved_model.pb" in files:
        return Format("tensorflow", True, "its graph may read and write files, and have Python called")
    found = {name: _file(path, name) for name, path in files.items()}
    imports = tuple(sorted({one for form in found.values() for one in form.imports}))
    suspicious = tuple(sorted({one for form in found.values() for one in form.suspicious}))
    kind = "mlflow" if "MLmodel" in files else "folder"
    guilty = [name for name, form in found.items() if form.executes or name.endswith(_CODE)]
    if guilty:
        more = f" and {len(guilty) - 1} more" if len(guilty) > 1 else ""
        return Format(kind, True, f"{guilty[0]}{more}", imports, suspicious)
    unknown = [name for name, form in found.items() if form.executes is None]
    if unknown:
        return Format(kind, None, f"{unknown[0]} is of no form we know", imports)
    told = {form.name for form in found.values()} - {"text", "json"}
    return Format(kind, False, ", ".join(sorted(told)) or "texts only", imports)


def _file(path: Path, name: str) -> Format:
    with path.open("rb") as file:
        head = file.read(_HEAD)
        for known in (_by_magic, _archive, _numpy, _pickled, _text):
            file.seek(0)
            found = known(_Look(head, file, path, os.path.splitext(name)[1].lower()))  # noqa: PTH122
            if found is not None:
                return found
    return Format("unknown", None, "of no form we know")


class _Look(NamedTuple):
    head: bytes
    file: IO[bytes]
    path: Path
    suffix: str


def _by_magic(look: _Look) -> Format | None:
    head = look.head
    for magic, form in _MAGIC.items():
        if head.startswith(magic):
            return form
    if head[4:8] == b"TFL3":
        return Format("tflite", False, "a graph of operators")
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        found = _has(look.file, _LAMBDA)
        why = "a Lambda layer holds Python code" if found else "no Lambda layer"
        return Format("hdf5", found, why)
    if head.startswith(_PROGRAMS):
        return Format("program", True, "a program or library of the machine")
    return _safetensors(head, look.path) or _onnx(head)


_MAGIC: Final[dict[bytes, Format]] = {
    b"GGUF": Format("gguf", False, "tensors and texts"),
    b"CBM1": Format("catboost", False, "trees only"),
    b"tree\nversion=": Format("lightgbm", False, "trees only"),
    b"tree\r\nversion=": Format("lightgbm", False, "trees only"),
    b"binf": Format("xgboost", False, "trees only"),
    b"{L\x00": Format("xgboost", False, "trees only"),
    b"PAR1": Format("parquet", False, "a table"),
    b"ARROW1": Format("arrow", False, "a table"),
}


def _safetensors(head: bytes, path: Path) -> Format | None:
    if len(head) < 10 or head[8:9] != b"{":
        return None
    (length,) = struct.unpack("<Q", head[:8])
    if not 2 <= length <= min(_MOST_JSON, path.stat().st_size - 8):
        return None
    with path.open("rb") as file:
        file.seek(8)
        try:
            found = json.loads(file.read(length))
        except (ValueError, RecursionError):
            return None
    return Format("safetensors", False, "tensors only") if isinstance(found, dict) else None


def _onnx(head: bytes) -> Format | None:
    """A protobuf whose first field is the version of its form, and the second who made it, or the graph."""
    found = len(head) > 3 and head[0] == 0x08 and 1 <= head[1] <= 0x20 and head[2] in _ONNX
    return Format("onnx", False, "a graph of operators") if found else None


def _numpy(look: _Look) -> Format | None:
    head = look.head
    if not head.startswith(b"\x93NUMPY"):
        return None
    return Format("numpy", _objects(head), "an array of Python objects" if _objects(head) else "an array of numbers")


def _objects(head: bytes) -> bool:
    """Whether the head of an array says that it holds pickled objects."""
    told = head[10:].partition(b"}")[0]
    return b"'|O'" in told or b"'O'" in told or b"descr" not in told


def _pickled(look: _Look) -> Format | None:
    plain = compressed(look.head, look.file)
    if plain is None and not looks_pickled(look.head, look.suffix):
        return None
    source = plain or look.file
    found = scanned(source)
    if not found.is_pickle:
        return None
    joblib = plain is not None or look.suffix == ".joblib" or any(name.startswith("joblib.") for name in found.imports)
    return _of_pickle("joblib" if joblib else "torch" if found.torch else "pickle", found)


def _of_pickle(name: str, found: Pickle) -> Format:
    if not found.calls and found.whole:
        return Format(name, False, "plain values only; it names nothing to call", found.imports)
    why = "names what no model needs: " + ", ".join(found.suspicious) if found.suspicious else "it calls what it names"
    if not found.whole:
        why += "; not looked at to its end"
    return Format(name, True, why, found.imports, found.suspicious)


def _archive(look: _Look) -> Format | None:
    if not look.head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return None
    try:
        with zipfile.ZipFile(look.file) as archive:
            members = archive.infolist()
            if len(members) > _MOST_MEMBERS:
                return Format("zip", True, f"more than {_MOST_MEMBERS} members, not all were looked at")
            names = {member.filename for member in members}
            for known in _ARCHIVES:
                found = known(archive, names)
                if found is not None:
                    return found
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, ValueError) as error:
        return Format("zip", True, f"cannot be looked at: {error}")
    return Format("zip", None, "an archive of no form we know")


def _torch(archive: zipfile.ZipFile, names: Iterable[str]) -> Format | None:
    pickles = [name for name in names if name.endswith(("data.pkl", "constants.pkl"))]
    if not any(name.rpartition("/")[2] == "data.pkl" for name in pickles):
        return None
    found = [scanned(_member(archive, name)) for name in sorted(pickles)]
    merged = Pickle(
        True,
        all(one.whole for one in found),
        any(one.calls for one in found),
        tuple(sorted({name for one in found for name in one.imports})),
        tuple(sorted({name for one in found for name in one.suspicious})),
    )
    if any("/code/" in name for name in names):
        return Format("torchscript", True, "holds a program of its own", merged.imports, merged.suspicious)
    told = _of_pickle("torch", merged)
    safe = all(name.startswith(_TENSORS) for name in merged.imports) and merged.whole
    return (
        told._replace(why="tensors only, but a pickle: load it with weights_only=True")
        if safe and told.executes
        else told
    )


_TENSORS: Final = ("torch._utils.", "torch.", "collections.OrderedDict", "_codecs.encode")


def _keras(archive: zipfile.ZipFile, names: Iterable[str]) -> Format | None:
    if not {"config.json", "metadata.json"} <= set(names):
        return None
    told = _member(archive, "config.json").read(_MOST_PIECE + 1)
    if len(told) > _MOST_PIECE:
        return Format("keras", True, "its description is too large to be looked at")
    found = any(mark in told for mark in _LAMBDA) or b"__lambda__" in told
    return Format("keras", found, "a Lambda layer holds Python code" if found else "no Lambda layer")


def _skops(archive: zipfile.ZipFile, names: Iterable[str]) -> Format | None:
    if "schema.json" not in set(names):
        return None
    try:
        types = sorted(set(_types(json.loads(_member(archive, "schema.json").read(_MOST_PIECE)))))
    except (ValueError, RecursionError):
        return Format("skops", None, "its description cannot be read")
    return Format("skops", False, "types are checked before they are made", tuple(types))


def _types(node: object) -> Iterable[str]:
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            module, name = one.get("__module__"), one.get("__class__")
            if isinstance(module, str) and isinstance(name, str):
                yield f"{module}.{name}"
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def _arrays(archive: zipfile.ZipFile, names: Iterable[str]) -> Format | None:
    if not names or not all(name.endswith(".npy") for name in names):
        return None
    pickled = [name for name in sorted(names) if _objects(_member(archive, name).read(_HEAD))]
    return Format("numpy", bool(pickled), f"{pickled[0]} holds Python objects" if pickled else "arrays of numbers")


def _with_code(archive: zipfile.ZipFile, names: Iterable[str]) -> Format | None:
    found = sorted(name for name in names if name.endswith((*_CODE, ".pkl", ".pickle", ".pt", ".joblib")))
    return Format("zip", True, f"holds {found[0]}") if found else None


_ARCHIVES: Final[tuple[Callable[[zipfile.ZipFile, set[str]], Format | None], ...]] = (
    _torch,
    _keras,
    _skops,
    _arrays,
    _with_code,
)


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    return archive.open(name)


def _text(look: _Look) -> Format | None:
    head = look.head
    if b"\0" in head:
        return None
    start = head.lstrip()
    if look.suffix in {".py", ".sh"}:
        return Format("python" if look.suffix == ".py" else "program", True, "source code")
    if start.startswith(b"{"):
        return Format("xgboost", False, "trees only") if b'"learner"' in head else Format("json", False, "values only")
    if b"<PMML" in head:
        return Format("pmml", False, "a description")
    try:
        head[:-4].decode() if len(head) == _HEAD else head.decode()
    except UnicodeDecodeError:
        return None
    return Format("text", False, "no code that anybody loads")


def _has(file: IO[bytes], marks: Iterable[bytes]) -> bool:
    """Whether a file holds one of some marks anywhere."""
    file.seek(0)
    tail, longest = b"", max(map(len, marks))
    while piece := file.read(1 << 20):
        if any(mark in tail + piece for mark in marks):
            return True
        tail = piece[-longest:]
    return False
