"""Which version of a model this process runs: said once by whoever loaded it, carried by every prediction after."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Tie:
    """What a process knows of a model that it loaded.

    Args:
        model: its name in predictions.
        version: of the model.
        commit: the git commit that the version names.
        data_version: what it was trained on.
        configuration: the hash of the configuration that it was trained with.
    """

    model: str
    version: str
    commit: str = ""
    data_version: str = ""
    configuration: str = ""


class Tied:
    """The models that were loaded here; safe from many threads.

    >>> tied = Tied()
    >>> tied.take(Tie("credit", "v1.2.0", data_version="ab"))
    >>> tied.version("credit"), tied.version("fraud"), tied.of("credit", "v1.2.0").data_version
    ('v1.2.0', None, 'ab')
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._versions: dict[object, str] = {}
        self._ties: dict[tuple[str, str], Tie] = {}

    def take(self, tie: Tie) -> None:
        """Has predictions of a model that name no version carry this one from now on."""
        with self._lock:
            self._ties[tie.model, tie.version] = tie
            self._versions[tie.model] = tie.version

    def version(self, model: object) -> str | None:
        """Gives the version of a model that was loaded last; None when none was."""
        return self._versions.get(model) if self._versions else None

    def of(self, model: str, version: str) -> Tie | None:
        """Gives what is known of a version that was loaded here."""
        return self._ties.get((model, version)) if self._ties else None

    def forget(self) -> None:
        """Forgets everything, for tests."""
        with self._lock:
            self._versions.clear()
            self._ties.clear()


tied: Final = Tied()
