"""Trainings told to the server: a block around the code that trains, which never fails because of us."""

from __future__ import annotations

import getpass
import os
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Final

from modelkeep.core.ids import token
from modelkeep.sdk import values
from modelkeep.sdk.buffer import TRAINING
from modelkeep.sdk.client import here
from modelkeep.sdk.context import current
from modelkeep.sdk.releases import data_version

_LARGEST: Final = 200_000
_ACTORS: Final = ("GITHUB_ACTOR", "GITLAB_USER_LOGIN", "GITLAB_USER_NAME")


class Run:
    """One training; its attributes may be set until it ends.

    Attributes:
        id: made for it.
        model: its name.
        version: what the result is called; empty while nobody knows.
        data: version of the data, or the path of a `.dvc` file that names it.
    """

    def __init__(self, model: str, version: str, data: str, parameters: Mapping[str, object]) -> None:
        self.id: Final = token()
        self.model: Final = model
        self.version = version
        self.data = data
        self._parameters = dict(parameters)
        self._metrics: dict[str, float] = {}
        self._lock = threading.Lock()
        self._at_ns = self._started_ns = 0
        self._by = ""

    def log_metrics(self, metrics: Mapping[str, object] | None = None, /, **more: object) -> None:
        """Keeps figures; of one that is told again the last counts. What is no finite number is left out.

        >>> run = Run("churn", "", "", {})
        >>> run.log_metrics({"auc": 0.91}, loss=float("nan"))
        >>> run.metrics
        {'auc': 0.91}
        """
        try:
            for name, value in {**(metrics or {}), **more}.items():
                number = values.number(value)
                if number is not None and number - number == 0.0:
                    with self._lock:
                        self._metrics[values.named(name, "unnamed")] = number
        except Exception as error:  # noqa: BLE001 - the training must not fail over its figures
            here().failed("log_metrics", error)

    def log_params(self, parameters: Mapping[str, object] | None = None, /, **more: object) -> None:
        """Keeps parameters beside those that `train` was given."""
        try:
            with self._lock:
                self._parameters |= {str(name): value for name, value in {**(parameters or {}), **more}.items()}
        except Exception as error:  # noqa: BLE001
            here().failed("log_params", error)

    @property
    def metrics(self) -> dict[str, float]:
        """The figures so far."""
        with self._lock:
            return dict(self._metrics)

    def __enter__(self) -> Run:
        try:
            around = current.get()
            self._started_ns = time.monotonic_ns()
            self._at_ns = around.at_ns if around and around.at_ns else time.time_ns()
            self._by = _who()
            self.data = data_version(str(self.data))
            self._tell("running", 0)
        except Exception as error:  # noqa: BLE001
            here().failed("train", error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            end_ns = self._at_ns + max(1, time.monotonic_ns() - self._started_ns)
            if kind is None:
                self._tell("finished", end_ns)
            else:
                self._tell("failed", end_ns, kind.__name__)
        except Exception as failure:  # noqa: BLE001
            here().failed("train", failure)

    def _tell(self, status: str, end_ns: int, error: str = "") -> None:
        client = here()
        if not client.on:
            return
        with self._lock:
            metrics, parameters = values.json(self._metrics), values.json(self._parameters)
        if len(parameters) > _LARGEST:
            first = list(self._parameters.items())[:100]
            parameters = values.json({name: values.json(value)[:200] for name, value in first})
        version = str(self.version or "") or client.settings.model_version
        said = (version, status, str(self.data), metrics, parameters, self._by, error)
        item = (TRAINING, self.id, self._at_ns, end_ns, self.model, *said)
        client.buffer.items.append(item)  # trainings are few: never dropped
        client.buffer.nudge()


def train(model: str, /, *, version: str = "", data: str = "", **params: object) -> Run:
    """Gives a block that tells who trained a model, when, from what, and how it went; an exception within passes on.

    The server sees the training begin and end. Code, data and configuration are those that a prediction would carry.

    Args:
        model: its name.
        version: what the result is called; may be set on the run later, `run.version = "7"`.
        data: version of the data, or the path of a `.dvc` file that names it; empty: MODELKEEP_DATA_VERSION.
        params: hyper-parameters.

    Returns:
        The run: `run.log_metrics({"auc": 0.91})`, `run.log_params(…)`.

    >>> import modelkeep as mk
    >>> with mk.train("churn", depth=6) as run:
    ...     run.log_metrics({"auc": 0.91})
    """
    return Run(str(model), str(version or ""), str(data or ""), params)


def _who() -> str:
    for name in _ACTORS:
        if found := os.environ.get(name):
            return found
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""
