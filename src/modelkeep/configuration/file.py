"""What all files have in common as sources: bounded reading, a version by content, and being followed."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path
from typing import ClassVar, Final

from modelkeep.configuration.tree import Mark, Reading
from modelkeep.core.errors import BadInput, Denied, Missing

_LIMIT_BYTES: Final = 16 << 20
_STEP_MS: Final = 10
_LOOK_MS: Final = 200


class File:
    """A file of configuration; a format's class says how its text is read.

    Args:
        where: the path; options may follow a question mark (`app.ini?interpolation=extended`).

    Raises:
        BadInput: an option that the format does not know.
    """

    live: ClassVar[bool] = True
    options: ClassVar[tuple[str, ...]] = ()

    def __init__(self, where: str | Path) -> None:
        text, _, query = str(where).partition("?")
        self.path: Final = Path(text)
        self.name: Final = text
        self.given: Final = dict(pair.partition("=")[::2] for pair in query.split("&") if pair)
        unknown = sorted(set(self.given) - set(self.options))
        if unknown:
            known = ", ".join(self.options) or "none"
            raise BadInput(f"{text}: there is no option {unknown[0]!r}", hint=f"Options of this format: {known}.")
        self._refused = ""
        self._stop = threading.Event()

    def parse(self, text: str) -> Reading:
        """Reads the file's text; the version is added by the caller."""
        raise NotImplementedError

    def read(self) -> Reading:
        """Gives the file's tree with the line of every key.

        Raises:
            Missing: there is no such file.
            Denied: it may not be read.
            BadInput: it is no UTF-8, too large, or wrong in its format.
        """
        data = self._bytes()
        version = hashlib.sha256(data).hexdigest()
        self._refused = version  # until it is known to be good
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise BadInput(f"{self.name}:{line}: not UTF-8 at byte {error.start}", hint="Save it as UTF-8.") from None
        found = self.parse(text)
        self._refused = ""
        return Reading(
            found.tree,
            found.marks,
            version=version,
            read_ns=time.time_ns(),
            origin=Mark(self.name),
            texts=found.texts,
        )

    def watch(self, seen: str, wait_s: float) -> bool:
        """Blocks until the file's bytes are others than those of `seen`, and than those that were refused last.

        The folder is watched, not the file: editors and Kubernetes put a new file in the place of the old one.
        """
        from watchfiles import watch

        until, sign = time.monotonic() + wait_s, self._sign()
        if self._differs(seen):
            return True
        for events in watch(
            self.path.parent if self.path.parent.exists() else Path(),
            watch_filter=None,
            debounce=5 * _STEP_MS,
            step=_STEP_MS,
            stop_event=self._stop,
            rust_timeout=max(_STEP_MS, min(_LOOK_MS, int(wait_s * 1000))),
            yield_on_timeout=True,
            raise_interrupt=False,
            recursive=False,
        ):
            # also without an event: one may have come before the watching began, and some file systems send none
            before, sign = sign, self._sign()
            if (events or sign != before) and self._differs(seen):
                return True
            if time.monotonic() >= until:
                break
        return False

    def close(self) -> None:
        """Ends a blocked watch."""
        self._stop.set()

    def _sign(self) -> tuple[int, ...]:
        try:
            found = self.path.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev

    def _differs(self, seen: str) -> bool:
        try:
            return hashlib.sha256(self._bytes()).hexdigest() not in {seen, self._refused}
        except Missing:
            return seen not in {"", "absent"}

    def _bytes(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                data = file.read(_LIMIT_BYTES + 1)
        except FileNotFoundError:
            raise Missing(
                f"{self.name}: there is no such file", hint=f"Write optional:{self.name} if it may be absent."
            ) from None
        except PermissionError:
            raise Denied(f"{self.name} may not be read", hint="Give this user the right to read it.") from None
        except OSError as error:
            raise BadInput(f"{self.name}: {error.strerror or error}") from None
        if len(data) > _LIMIT_BYTES:
            raise BadInput(f"{self.name}: larger than {_LIMIT_BYTES >> 20} MB", hint="Keep data elsewhere.")
        return data
