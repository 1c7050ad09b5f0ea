"""Pickles read without running them: whether there is anything to call in one, and what it names.

Source: https://docs.python.org/3/library/pickletools.html
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from typing import IO, Final, NamedTuple, cast

_MOST_BYTES: Final = 512_000_000
_MOST_OPCODES: Final = 3_000_000
_MOST_NAMES: Final = 1_000
_CALLS: Final = frozenset({"GLOBAL", "STACK_GLOBAL", "REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"})
_CALLS_BY_CODE: Final = frozenset({"EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"})
_STRINGS: Final = frozenset(
    {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "STRING", "BINSTRING", "SHORT_BINSTRING"}
)
_PUTS: Final = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GETS: Final = frozenset({"GET", "BINGET", "LONG_BINGET"})
_TORCH: Final = 0x1950A86A20F9469CFC6C
_SUFFIXES: Final = frozenset({".pkl", ".pickle", ".dill", ".joblib", ".pt", ".pth", ".p"})
_UNFIT_MODULES: Final = frozenset(
    {
        "asyncio", "bdb", "cffi", "code", "codeop", "commands", "ctypes", "ftplib", "http", "httpx", "importlib", "imp",
        "multiprocessing", "nt", "os", "pdb", "pip", "pkgutil", "platform", "posix", "pty", "requests", "runpy",
        "shutil", "signal", "smtplib", "socket", "socketserver", "ssl", "subprocess", "sys", "tempfile", "threading",
        "timeit", "urllib", "urllib2", "urllib3", "venv", "webbrowser", "xmlrpc", "zipimport",
    }
)  # fmt: skip
_UNFIT_NAMES: Final = frozenset(
    {
        "__import__", "apply", "breakpoint", "compile", "delattr", "eval", "exec", "execfile", "exit", "getattr",
        "globals", "input", "locals", "memoryview", "open", "setattr", "vars",
    }
)  # fmt: skip
_BUILTINS: Final = frozenset({"builtins", "__builtin__", "__builtins__"})
_MAGIC: Final[dict[bytes, str]] = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ": "xz", b"\x5d\x00\x00": "lzma"}


class Pickle(NamedTuple):
    """What a pickle holds.

    Args:
        is_pickle: whether it is one at all.
        whole: whether it was read to its end.
        calls: whether loading it calls anything.
        imports: what it names, `module.name`, sorted.
        suspicious: those of them that no model has a need of.
        torch: whether it begins as files of old torch do.
    """

    is_pickle: bool
    whole: bool
    calls: bool
    imports: tuple[str, ...] = ()
    suspicious: tuple[str, ...] = ()
    torch: bool = False


def looks_pickled(head: bytes, suffix: str) -> bool:
    r"""Says whether bytes may begin a pickle: by the mark of protocol 2 and later, or by the file's name.

    >>> looks_pickled(b"\x80\x04\x95", ""), looks_pickled(b"{}", ".json")
    (True, False)
    """
    return (head[:1] == b"\x80" and head[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}) or suffix.lower() in _SUFFIXES


def scanned(source: IO[bytes]) -> Pickle:
    """Gives what a pickle holds, read opcode by opcode.

    Several pickles in a row are read as one, as `torch` and `pickle.load` in a loop do. Behind what joblib writes as
    raw arrays the reading ends; then it is not whole.
    """
    scan = _Scan()
    limited = _Limited(source)
    whole = False
    try:
        while scan.count < _MOST_OPCODES:
            scan.one(cast("IO[bytes]", limited))
            if not limited.peeked():
                whole = True
                break
    except Exception:  # noqa: BLE001 - whatever is wrong with a pickle, it is not run here
        whole = False
    return Pickle(
        scan.count > 1 and (scan.stops > 0 or scan.proto),
        whole,
        scan.calls or not whole,
        tuple(sorted(scan.names)),
        tuple(sorted(name for name in scan.names if is_suspicious(name))),
        scan.torch,
    )


def is_suspicious(name: str) -> bool:
    """Says whether a name is one that a model has no need of.

    >>> is_suspicious("posix.system"), is_suspicious("builtins.eval"), is_suspicious("numpy.ndarray")
    (True, True, False)
    """
    module, _, last = name.rpartition(".")
    top = module.partition(".")[0]
    return top in _UNFIT_MODULES or (top in _BUILTINS and last in _UNFIT_NAMES) or last in {"__import__", "__globals__"}


def compressed(head: bytes, file: IO[bytes]) -> IO[bytes] | None:
    """Gives the content of a file that joblib compresses; None when it is not compressed."""
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            if kind == "gzip":
                return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
            return cast("IO[bytes]", bz2.BZ2File(file) if kind == "bz2" else lzma.LZMAFile(file))
    if head[:1] == b"\x78" and len(head) > 1 and (head[0] * 256 + head[1]) % 31 == 0:
        return cast("IO[bytes]", _Inflated(file))
    return None


class _Scan:
    """What was seen so far."""

    def __init__(self) -> None:
        self.count = 0
        self.stops = 0
        self.proto = False
        self.calls = False
        self.torch = False
        self.names: set[str] = set()
        self._recent: list[str] = []
        self._memo: dict[int, str] = {}

    def one(self, source: IO[bytes]) -> None:
        """Reads one pickle."""
        import pickletools

        self._memo.clear()
        self._recent.clear()
        for opcode, argument, _ in pickletools.genops(source):
            self.count += 1
            self._take(opcode.name, argument)
            if self.count >= _MOST_OPCODES:
                raise ValueError("too long")
        self.stops += 1

    def _take(self, name: str, argument: object) -> None:
        if name == "PROTO":
            self.proto = True
        elif name in _STRINGS:
            self._push(str(argument))
        elif name in _PUTS or name == "MEMOIZE":
            key = len(self._memo) if name == "MEMOIZE" else int(str(argument))
            self._memo[key] = self._recent[-1] if self._recent else ""
        elif name in _GETS:
            self._push(self._memo.get(int(str(argument)), ""))
        elif name in _CALLS or name in _CALLS_BY_CODE:
            self.calls = self.calls or name not in {"PERSID", "BINPERSID"}
            self._name(name, argument)
        elif name in {"LONG1", "LONG4"} and argument == _TORCH:
            self.torch = True

    def _push(self, text: str) -> None:
        self._recent.append(text)
        del self._recent[:-64]

    def _name(self, opcode: str, argument: object) -> None:
        if opcode in {"GLOBAL", "INST"}:
            module, _, name = str(argument).partition(" ")
        elif opcode == "STACK_GLOBAL":
            module, name = self._recent[-2:] if len(self._recent) > 1 else ("?", "?")
        elif opcode.startswith("EXT"):
            module, name = "copyreg", f"extension {argument}"
        else:
            return
        if len(self.names) < _MOST_NAMES or is_suspicious(f"{module}.{name}"):
            self.names.add(f"{module}.{name}")


class _Limited:
    """A source of which only so many bytes are read."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._left = _MOST_BYTES
        self._ahead = b""

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > self._left:
            raise ValueError("too long")
        data = self._ahead + self._source.read(size - len(self._ahead)) if size else b""
        self._ahead = b"" if size else self._ahead
        self._left -= len(data)
        return data

    def readline(self) -> bytes:
        line = self._ahead + self._source.readline(1 << 20)
        self._ahead = b""
        self._left -= len(line)
        if self._left < 0:
            raise ValueError("too long")
        return line

    def peeked(self) -> bytes:
        """The byte that comes next; empty at the end."""
        if not self._ahead:
            self._ahead = self._source.read(1)
        return self._ahead


class _Inflated:
    """What zlib holds, as far as it is asked for."""

    def __init__(self, source: IO[bytes]) -> None:
        self._pieces = self._inflate(source)
        self._ready = b""

    def _inflate(self, source: IO[bytes]) -> Iterator[bytes]:
        engine = zlib.decompressobj()
        while piece := source.read(1 << 16):
            while piece:
                yield engine.decompress(piece, 1 << 20)
                piece = engine.unconsumed_tail
        yield engine.flush()

    def read(self, size: int) -> bytes:
        while len(self._ready) < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._ready += piece
        data, self._ready = self._ready[:size], self._ready[size:]
        return data

    def readline(self, size: int) -> bytes:
        line = b""
        while len(line) < size and not line.endswith(b"\n"):
            one = self.read(1)
            if not one:
                break
            line += one
        return line
