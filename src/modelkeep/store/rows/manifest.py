"""The list of the row engine's live files: one small document, replaced whole, that decides what counts."""

from __future__ import annotations

import logging
import zlib
from pathlib import Path
from typing import Final

import msgspec

from modelkeep.core.errors import BadInput, Conflict, Corrupt
from modelkeep.store.disk import Disk

FORM: Final = 1

log: Final = logging.getLogger(__name__)


class Sealed(msgspec.Struct, frozen=True, omit_defaults=True):
    """One Parquet file that counts.

    Args:
        name: path below the engine's folder.
        kind: of its rows.
        model: of its rows; empty for kinds that are not kept per model.
        rows: how many.
        size_bytes: of the file.
        crc: CRC-32 of the file.
        from_ns: the smallest `at`.
        to_ns: the largest `at`.
        from_seq: the smallest journal entry that brought a row.
        to_seq: the largest.
        columns: names of the loose columns in it.
        received_ns: no row in it arrived later.
    """

    name: str
    kind: str
    model: str
    rows: int
    size_bytes: int
    crc: int
    from_ns: int
    to_ns: int
    from_seq: int
    to_seq: int
    columns: tuple[str, ...] = ()
    received_ns: int = 0


class Manifest(msgspec.Struct, frozen=True):
    """Everything that counts at one moment.

    Args:
        seq: the journal is sealed up to here.
        serial: grows with every write; file names carry it, so that no name is used twice.
        files: live files.
        types: model → loose column → type, per kind `kind/model`.
        misfits: `kind/model` → column → values that did not fit.
        form: of this document.
    """

    seq: int = 0
    serial: int = 0
    files: tuple[Sealed, ...] = ()
    types: dict[str, dict[str, str]] = {}
    misfits: dict[str, dict[str, int]] = {}
    form: int = FORM


class _Envelope(msgspec.Struct):
    crc: int
    manifest: msgspec.Raw


class _Form(msgspec.Struct):
    form: int = 0


class Ledger:
    """Keeps the manifest of one folder, twice: the second copy serves only when the first is damaged.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> ledger = Ledger(folder)
    >>> ledger.load().seq
    0
    >>> ledger.store(Manifest(seq=3))
    >>> Ledger(folder).load().seq
    3
    """

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self._first = folder / "manifest.json"
        self._second = folder / "manifest.copy.json"
        self._disk = disk or Disk()
        self.restored = False
        """Whether `load` had to take the second copy, which may be one seal behind."""

    def load(self) -> Manifest:
        """Gives what was stored last.

        Raises:
            Corrupt: both copies are damaged.
            Conflict: a newer modelkeep wrote them.
        """
        if not self._first.exists() and not self._second.exists():
            return Manifest()
        try:
            return _read(self._first)
        except Corrupt as error:
            log.error("%s; its copy is used", error)
            self.restored = True
            return _read(self._second)

    def store(self, manifest: Manifest) -> None:
        """Makes the manifest durable; after a crash there is the old one or the new one."""
        data = encoded(manifest)
        self._disk.keep(self._first, data)
        self._disk.keep(self._second, data)


def encoded(manifest: Manifest) -> bytes:
    """Gives the manifest as it stands in its file, with its checksum."""
    body = msgspec.json.encode(manifest)
    return msgspec.json.encode(_Envelope(zlib.crc32(body), msgspec.Raw(body)))


def _read(path: Path) -> Manifest:
    try:
        envelope = msgspec.json.decode(path.read_bytes(), type=_Envelope)
        body = bytes(envelope.manifest)
        if zlib.crc32(body) != envelope.crc:
            raise BadInput("the checksum differs")
        form = msgspec.json.decode(body, type=_Form).form
        if form > FORM:
            raise Conflict(
                f"{path} has form {form}, this modelkeep reads up to {FORM}",
                hint="Run the newer modelkeep that wrote it, or restore a backup.",
            )
        return msgspec.json.decode(body, type=Manifest)
    except (OSError, msgspec.MsgspecError, BadInput) as error:
        raise Corrupt(f"{path} is damaged: {error}", hint="Restore a backup.") from error
