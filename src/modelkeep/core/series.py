"""What a series is, and how anybody asks for one: stored series and derived ones answer the same protocol."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Protocol

from modelkeep.core.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Times = npt.NDArray[np.int64]
    Values = npt.NDArray[np.float64]

NAME: Final = "__name__"
STALE_BITS: Final = 0x7FF0000000000002
"""The bit pattern of "no sample here" (Prometheus' staleness marker); an ordinary NaN is a sample."""

Labels = tuple[tuple[str, str], ...]
"""Pairs sorted by label name, `__name__` included, empty values left out."""


def labels(pairs: Mapping[str, str]) -> Labels:
    """Gives the pairs in their canonical order, without empty values.

    >>> labels({"b": "2", "a": "1", "c": ""})
    (('a', '1'), ('b', '2'))
    """
    return tuple(sorted((name, value) for name, value in pairs.items() if value))


def canonical(pairs: Labels) -> str:
    """Gives a series' identity as text: a JSON object with sorted keys and no spaces.

    >>> canonical((("__name__", "up"), ("job", "é")))
    '{"__name__":"up","job":"é"}'
    """
    return json.dumps(dict(pairs), ensure_ascii=False, separators=(",", ":"))


def parse(text: str) -> Labels:
    """Gives back what `canonical` was given.

    >>> parse(canonical((("__name__", "up"), ("job", "x"))))
    (('__name__', 'up'), ('job', 'x'))
    """
    return tuple(json.loads(text).items())


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on a label; a label that is absent counts as empty.

    Args:
        name: the label.
        op: `=`, `!=`, `=~` or `!~`; regular expressions match the whole value.
        value: text or pattern.

    >>> Matcher("job", "=~", "a|b").matches("b"), Matcher("job", "!=", "").matches("")
    (True, False)
    """

    name: str
    op: Literal["=", "!=", "=~", "!~"]
    value: str
    _pattern: re.Pattern[str] | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        if "~" in self.op:
            try:
                object.__setattr__(self, "_pattern", re.compile(self.value, re.DOTALL))
            except re.error as error:
                raise BadInput(f"{self.name}{self.op}{self.value!r}: {error}") from None

    def matches(self, value: str) -> bool:
        """Whether a label with this value satisfies the condition."""
        if self._pattern is None:
            return (value == self.value) is (self.op == "=")
        return (self._pattern.fullmatch(value) is not None) is (self.op == "=~")


@dataclass(frozen=True, slots=True)
class Want:
    """Which samples an evaluation needs: at each of its steps t the samples in (t - range_ns, t].

    Args:
        start_ns: the first step.
        end_ns: the last step, inclusive.
        step_ns: distance of the steps, at least 1; steps are start_ns + k * step_ns.
        range_ns: how far back each step looks (the lookback of an instant selector, the range of `x[5m]`).
        offset_ns: already subtracted from start_ns and end_ns; kept so that as_of can be told from step time.
        ranged: True for a range selector: samples lie at the source's own times. False for an instant selector:
            a derived source answers at the step times themselves.
        as_of_ns: what was known at this moment; None means now. `AT_STEP` means: at each step, what was known then.
    """

    start_ns: int
    end_ns: int
    step_ns: int
    range_ns: int
    ranged: bool = False
    offset_ns: int = 0
    as_of_ns: int | None = None


AT_STEP: Final = -1
"""As `as_of_ns`: every step sees only the facts known at that step. Rules evaluate so, live and in replay."""


@dataclass(frozen=True, slots=True)
class Block:
    """Series that share their timestamps.

    Args:
        labels: m label sets, each different.
        times: shape (n,), ns, strictly increasing.
        values: shape (m, n), C order; no sample = the stale bit pattern.
    """

    labels: Sequence[Labels]
    times: Times
    values: Values


class SeriesSource(Protocol):
    """Answers for some metric names; the series engine and the quality room are such sources."""

    def select(self, matchers: Sequence[Matcher], want: Want) -> Sequence[Block]:
        """Gives every matching series with at least the wanted samples; may give more, never others."""
        ...

    def series(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> Sequence[Labels]:
        """Gives the label sets that match and have a sample in the closed interval."""
        ...
