"""Which series there are, and which of them match: an inverted index from label values to series."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from modelkeep.core.errors import BadInput
from modelkeep.core.series import Labels, Matcher, parse

Ids = npt.NDArray[np.int64]
_NONE: Final = np.empty(0, np.int64)


class _Posting:
    """The series that have one label value."""

    __slots__ = ("_found", "ids")

    def __init__(self) -> None:
        self.ids: list[int] = []
        self._found: Ids | None = None

    def add(self, series: int) -> None:
        self.ids.append(series)
        self._found = None

    def array(self) -> Ids:
        if self._found is None:
            self._found = np.array(self.ids, np.int64)
        return self._found


class Postings:
    """Numbers series in the order in which they come and finds them by matchers.

    Args:
        limit: the most series; further ones get no number.

    >>> postings = Postings(10)
    >>> postings.add('{"__name__":"up","job":"a"}'), postings.add('{"__name__":"up","job":"b"}')
    (0, 1)
    >>> postings.select([Matcher("__name__", "=", "up"), Matcher("job", "!=", "a")]).tolist()
    [1]
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._numbers: dict[str, int] = {}
        self._texts: list[str] = []
        self._labels: list[Labels] = []
        self._index: dict[str, dict[str, _Posting]] = {}
        self._all = _Posting()

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def size(self) -> int:
        """One more than the largest number given."""
        return len(self._texts)

    def number(self, text: str) -> int:
        """Gives a series' number, -1 when it is unknown."""
        return self._numbers.get(text, -1)

    def numbers(self, texts: Sequence[str]) -> tuple[Ids, int, int]:
        """Gives the numbers of series, new ones among them; -1 for those that cannot be taken.

        Returns:
            The numbers; how many texts were no series; how many were over the limit.
        """
        get = self._numbers.get
        found = np.array([get(text, -1) for text in texts], np.int64)
        malformed = over = 0
        for at in np.flatnonzero(found < 0).tolist():
            if get(texts[at]) is None and len(self._numbers) >= self._limit:
                over += 1
                continue
            found[at] = self.add(texts[at])
            malformed += found[at] < 0
        return found, int(malformed), over

    def add(self, text: str) -> int:
        """Gives the number of a series, a new one when it is new; -1 when the text is no series."""
        known = self._numbers.get(text)
        if known is not None:
            return known
        try:
            labels = parse(text)
            "".join(name + value for name, value in labels)
        except (json.JSONDecodeError, AttributeError, TypeError):
            return -1
        number = len(self._texts)
        self._numbers[text] = number
        self._texts.append(text)
        self._labels.append(labels)
        self._all.add(number)
        for name, value in labels:
            self._index.setdefault(name, {}).setdefault(value, _Posting()).add(number)
        return number

    def text(self, number: int) -> str:
        """Gives a series' canonical text."""
        return self._texts[number]

    def labels(self, number: int) -> Labels:
        """Gives a series' labels."""
        return self._labels[number]

    def forget(self, numbers: Iterable[int]) -> None:
        """Takes series out; their numbers are not given again, and who has one may still ask for its labels."""
        gone = set(numbers)
        if not gone:
            return
        for number in gone:
            self._numbers.pop(self._texts[number], None)
            self._texts[number] = ""
        self._index, self._all = {}, _Posting()
        for number in self._numbers.values():
            self._all.add(number)
            for name, value in self._labels[number]:
                self._index.setdefault(name, {}).setdefault(value, _Posting()).add(number)

    def select(self, matchers: Sequence[Matcher]) -> Ids:
        """Gives the numbers of all matching series, increasing."""
        found: Ids | None = None
        refusing: list[Ids] = []
        for matcher in matchers:
            values = self._index.get(matcher.name, {})
            if matching([""], matcher)[0]:
                kept = matching(list(values), matcher)
                refusing += [one.array() for one, ok in zip(values.values(), kept, strict=True) if not ok]
                continue
            some = self._union(values, matcher)
            found = some if found is None else np.intersect1d(found, some, assume_unique=True)
            if not len(found):
                return _NONE
        chosen = self._all.array() if found is None else found
        if refusing:
            chosen = chosen[~np.isin(chosen, np.concatenate(refusing))]
        return chosen

    def _union(self, values: dict[str, _Posting], matcher: Matcher) -> Ids:
        if matcher.op == "=":
            one = values.get(matcher.value)
            return one.array() if one else _NONE
        kept = matching(list(values), matcher)
        arrays = [one.array() for one, ok in zip(values.values(), kept, strict=True) if ok]
        if len(arrays) == 1:
            return arrays[0]
        return np.sort(np.concatenate(arrays)) if arrays else _NONE


def matching(values: Sequence[str], matcher: Matcher) -> list[bool]:
    """Tells which values satisfy a matcher; time grows with their length only, whatever the pattern.

    Raises:
        BadInput: the pattern is none of RE2's.

    Source: Cox, Regular expression matching in the wild, 2010 (RE2, here through Arrow).

    >>> matching(["a", "b", "ab", "a" * 50], Matcher("x", "=~", "(a+)+b?"))
    [True, False, True, True]
    """
    if "~" not in matcher.op:
        return [(value == matcher.value) is (matcher.op == "=") for value in values]
    pattern = rf"\A(?s:{matcher.value})\z"
    try:
        found = pc.match_substring_regex(pa.array(values, pa.string()), pattern).to_pylist()
    except pa.ArrowInvalid as error:
        raise BadInput(f"{matcher.name}{matcher.op}{matcher.value!r}: {error}") from None
    return [bool(one) is (matcher.op == "=~") for one in found]
