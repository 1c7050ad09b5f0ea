"""From what waited in memory to envelopes of columns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Final, cast

from modelkeep.core.encoding import (
    Configurations,
    Envelope,
    Events,
    Facts,
    Logs,
    Predictions,
    Reference,
    Samples,
    Scalar,
    Trainings,
)
from modelkeep.core.ids import token
from modelkeep.sdk.buffer import (
    CONFIGURATION,
    EVENT,
    FACT,
    LOG,
    PREDICTION,
    REFERENCE,
    SAMPLE,
    TABLE,
    TRAINING,
    Item,
    Rows,
    is_large,
)
from modelkeep.sdk.privacy import Privacy
from modelkeep.sdk.releases import Releases
from modelkeep.sdk.tables import listed
from modelkeep.sdk.values import column, json, named, number, numbers

SLICE_ROWS: Final = 10_000
"""Rows of a table that go into one envelope."""
_SHAPES: Final = 16
"""So many sets of feature names of one model stay apart in one envelope; beyond, absent features are null."""
_FATAL: Final = 24
_UNNAMED: Final = "unnamed"
_LONGEST_ID: Final = 512
_WITHHELD: Final = "[redacted]"


class Envelopes:
    """Builds envelopes; used by the sending thread only.

    Args:
        releases: names the release of each prediction.
        privacy: what must not leave the process.
        service: the program's name, on logs.
        host: the machine's name, on logs.
        lost: called with (reason, rows, error) for rows that could not be built.

    Attributes:
        newest_ns: time of the newest prediction built.
    """

    def __init__(
        self,
        releases: Releases,
        privacy: Privacy,
        *,
        service: str,
        host: str,
        lost: Callable[[str, int, Exception], None],
    ) -> None:
        self._releases = releases
        self._privacy = privacy
        self._service = named(service)
        self._host = named(host)
        self._lost = lost
        self.newest_ns = 0

    def build(self, items: Sequence[Item]) -> Iterator[Envelope]:
        """Gives the items as envelopes, in order; the last item alone may be a large table or a reference.

        A change of configuration begins a new envelope: predictions before it carry the release that held until then.
        """
        *rest, last = items
        if not is_large(last):
            rest = list(items)
        for run in _runs(rest):
            if run[0][0] == CONFIGURATION:
                self._releases.configured(cast("str", run[0][5]), cast("str", run[0][3]))
            if envelope := self._mixed(run):
                yield envelope
        if is_large(last):
            yield from self._guarded(self._reference(last) if last[0] == REFERENCE else self._table(last), last)

    def _guarded(self, envelopes: Iterator[Envelope], item: Item) -> Iterator[Envelope]:
        sent = 0
        try:
            for envelope in envelopes:
                yield envelope
                sent += rows(envelope)
        except Exception as error:  # noqa: BLE001
            self._lost("internal", cast("Rows", item[3]).count - sent, error)

    def _mixed(self, items: list[Item]) -> Envelope | None:
        kinds: dict[int, list[Item]] = defaultdict(list)
        for item in items:
            kinds[cast("int", item[0])].append(item)
        envelope = Envelope(token=token())
        builders: dict[int, Callable[[list[Item], Envelope], None]] = {
            FACT: _facts,
            EVENT: self._events,
            LOG: self._logs,
            SAMPLE: _samples,
            CONFIGURATION: self._configurations,
            TRAINING: self._trainings,
            PREDICTION: self._predictions,
            TABLE: self._tables,
        }
        for kind, build in builders.items():
            if kind in kinds:
                try:
                    build(kinds[kind], envelope)
                except Exception as error:  # noqa: BLE001
                    self._lost("internal", len(kinds[kind]), error)
        envelope.releases = self._releases.announce()
        return envelope if rows(envelope) else None

    def _predictions(self, items: list[Item], envelope: Envelope) -> None:
        groups: dict[tuple[str, str | None], dict[tuple[str, ...], list[Item]]] = {}
        for item in items:
            shapes = groups.setdefault(cast("tuple[str, str | None]", item[1:3]), {})
            names = tuple(cast("dict[str, object]", item[5]))
            if (group := shapes.get(names)) is None:
                group = shapes[names] = []
            group.append(item)
        for (model, given), shapes in groups.items():
            version = named(self._releases.version(given))
            for names, group in _united(shapes):
                envelope.predictions.append(self._group(_name(model), version, names, group))

    def _group(self, model: str, version: str, names: tuple[str, ...], group: list[Item]) -> Predictions:
        _, _, _, ids, at, features, prediction, score, latency, error = zip(*group, strict=True)
        times = cast("list[int]", list(at))
        sent = Predictions(
            model=model,
            version=version,
            release=self._releases.of(model, version, min(times)),
            ids=_ids(ids),
            at=times,
            features=self._features(names, cast("Sequence[dict[str, object]]", features), cast("list[str]", ids)),
            prediction=column(prediction),
        )
        _score(sent, score)
        if any(value is not None for value in latency):
            sent.latency_ns = cast("list[int | None]", list(latency))
        if any(value is not None for value in error):
            sent.error = cast("list[str | None]", list(error))
        self.newest_ns = max(self.newest_ns, *times)
        return sent

    def _features(
        self, names: tuple[str, ...], features: Sequence[dict[str, object]], ids: list[str]
    ) -> dict[str, list[Scalar]]:
        visible = [name for name in names if name not in self._privacy.withheld]
        if not visible:
            return {}
        columns: Iterable[Sequence[object]]
        if all(len(row) == len(names) for row in features):
            picked = map(itemgetter(*visible), features)
            columns = zip(*picked, strict=True) if len(visible) > 1 else [list(picked)]
        else:
            columns = [[row.get(name) for row in features] for name in visible]
        found = {_name(name): column(values) for name, values in zip(visible, columns, strict=True)}
        self._privacy.thin(found, ids)
        return found

    def _table(self, item: Item) -> Iterator[Envelope]:
        for sent in self._slices(item):
            yield Envelope(token=token(), predictions=[sent], releases=self._releases.announce())

    def _tables(self, items: list[Item], envelope: Envelope) -> None:
        """Adds small tables; those of one model with the same columns become one."""
        alike: dict[object, Predictions] = {}
        for item in items:
            try:
                (sent,) = self._slices(item)
            except Exception as error:  # noqa: BLE001
                self._lost("internal", cast("Rows", item[3]).count, error)
                continue
            shape = (tuple(sent.features), bool(sent.score), tuple(sent.scores), bool(sent.latency_ns))
            key = (sent.model, sent.version, sent.release, shape)
            if key in alike:
                _extend(alike[key], sent)
            else:
                alike[key] = sent
                envelope.predictions.append(sent)

    def _slices(self, item: Item) -> Iterator[Predictions]:
        model, given, table = _name(item[1]), cast("str | None", item[2]), cast("Rows", item[3])
        version = named(self._releases.version(given))
        for start in range(0, table.count, SLICE_ROWS):
            part = slice(start, min(start + SLICE_ROWS, table.count))
            times = table.at[part] if isinstance(table.at, list) else [table.at] * (part.stop - start)
            sent = Predictions(
                model=model,
                version=version,
                release=self._releases.of(model, version, min(times)),
                ids=_ids(table.ids[part]),
                at=times,
                features=self._slice(table, part),
                prediction=_part(table.prediction, part),
            )
            if table.score is not None:
                sent.score = numbers(_part(table.score, part))
            sent.scores = {_name(name): numbers(_part(values, part)) for name, values in table.scores.items()}
            if table.latency_ns is not None:
                sent.latency_ns = [table.latency_ns] * (part.stop - start)
            self._privacy.thin(sent.features, sent.ids)
            self.newest_ns = max(self.newest_ns, *times)
            yield sent

    def _slice(self, table: Rows, part: slice) -> dict[str, list[Scalar]]:
        withheld = self._privacy.withheld
        return {_name(name): _part(values, part) for name, values in table.columns.items() if name not in withheld}

    def _reference(self, item: Item) -> Iterator[Envelope]:
        table = cast("Rows", item[3])
        sent = Reference(
            model=_name(item[1]),
            version=named(self._releases.version(cast("str | None", item[2]))),
            features=self._slice(table, slice(0, table.count)),
        )
        if table.prediction is not None:
            sent.label = column(listed(table.prediction))
        if table.score is not None:
            sent.score = numbers(listed(table.score))
        yield Envelope(token=token(), references=[sent])

    def _events(self, items: list[Item], envelope: Envelope) -> None:
        _, at, name, user, prediction_id, value, properties = zip(*items, strict=True)
        visible = [json(self._withhold(cast("dict[str, object]", fields))) for fields in properties]
        envelope.events = [
            Events(
                at=list(at),
                name=[_name(one) for one in name],
                user=_ids(user),
                prediction_id=list(prediction_id),
                value=[number(one) for one in value],
                properties=visible,
            )
        ]

    def _logs(self, items: list[Item], envelope: Envelope) -> None:
        _, at, level, level_name, logger, message, trace_id, prediction_id, attributes = zip(*items, strict=True)
        fields = cast("Sequence[dict[str, object]]", attributes)
        envelope.logs = [
            Logs(
                service=self._service,
                host=self._host,
                at=list(at),
                severity=[severity(number) for number in cast("Sequence[int]", level)],
                level=[named(one) for one in level_name],
                logger=[named(one) for one in logger],
                message=list(message),
                trace_id=list(trace_id),
                prediction_id=list(prediction_id),
                attributes=[json(self._withhold(one)) if one else "{}" for one in fields],
            )
        ]

    def _configurations(self, items: list[Item], envelope: Envelope) -> None:
        columns = [list(values) for values in zip(*(item[1:] for item in items), strict=True)]
        identity = (self._service, self._host, self._releases.process, [token() for _ in items])
        envelope.configurations = [Configurations(*identity, *columns)]

    def _trainings(self, items: list[Item], envelope: Envelope) -> None:
        code, data_version, config_version = self._releases.stamp()
        columns = zip(*(item[1:] for item in items), strict=True)
        ids, at, end, model, version, status, data, metrics, parameters, by, error = map(list, columns)
        count = len(items)
        sent = Trainings(
            host=self._host,
            process=self._releases.process,
            ids=cast("list[str]", ids),
            at=cast("list[int]", at),
            end=cast("list[int]", end),
            model=[_name(one) for one in model],
            version=[named(one) for one in version],
            status=cast("list[str]", status),
            code=[code.commit] * count,
            dirty=[code.dirty] * count,
            data_version=[named(one or data_version) for one in data],
            config_version=[config_version] * count,
            metrics=cast("list[str]", metrics),
            parameters=cast("list[str]", parameters),
            by=[named(one) for one in by],
            source=["train"] * count,
            run=[""] * count,
            error=[named(one) for one in error],
            url=[""] * count,
        )
        envelope.trainings = [sent]

    def _withhold(self, fields: dict[str, object]) -> dict[str, object]:
        if self._privacy.withheld.isdisjoint(fields):
            return fields
        return {name: _WITHHELD if name in self._privacy.withheld else value for name, value in fields.items()}


def _extend(sent: Predictions, more: Predictions) -> None:
    """Appends rows of the same columns."""
    sent.ids += more.ids
    sent.at += more.at
    sent.prediction += more.prediction
    sent.score += more.score
    sent.latency_ns += more.latency_ns
    for name, values in more.features.items():
        sent.features[name] += values
    for name, scores in more.scores.items():
        sent.scores[name] += scores


def rows(envelope: Envelope) -> int:
    """Gives how many records an envelope carries, releases aside.

    >>> rows(Envelope(token="t", facts=[Facts(["a"], [None], ["label"], [1], [""], [0])]))
    1
    """
    counts = [len(part.ids) for part in envelope.predictions] + [len(part.ids) for part in envelope.facts]
    counts += [len(part.at) for part in envelope.events] + [len(part.at) for part in envelope.logs]
    counts += [len(part.at) for part in envelope.samples] + [len(part.at) for part in envelope.configurations]
    counts += [len(part.at) for part in envelope.trainings]
    counts += [max(map(len, (*part.features.values(), part.label)), default=0) for part in envelope.references]
    return sum(counts)


def severity(level: int) -> int:
    """Gives OpenTelemetry's severity number, 1 to 24, of a level of Python's logging.

    >>> [severity(level) for level in (10, 20, 30, 40, 50)]
    [5, 9, 13, 17, 21]
    """
    return max(1, min(_FATAL, level * 4 // 10 + 1))


def _facts(items: list[Item], envelope: Envelope) -> None:
    _, ids, model, kind, value, source, at = zip(*items, strict=True)
    envelope.facts = [
        Facts(
            ids=_ids(ids),
            model=[one and named(one) for one in model],
            kind=list(kind),
            value=column(value),
            source=[named(one) for one in source],
            at=list(at),
        )
    ]


def _samples(items: list[Item], envelope: Envelope) -> None:
    found: dict[tuple[tuple[str, str], ...], int] = {}
    sent = Samples(labels=[], series=[], at=[], value=[])
    for _, labels, at, value in items:
        given = cast("dict[str, str]", labels)
        key = tuple(given.items())
        if key not in found:
            found[key] = len(found)
            sent.labels.append(given)
        sent.series.append(found[key])
        sent.at.append(cast("int", at))
        sent.value.append(cast("float", value))
    envelope.samples = [sent]


def _runs(items: list[Item]) -> Iterator[list[Item]]:
    """Parts items so that each change of configuration stands first in its part."""
    starts = [place for place, item in enumerate(items) if item[0] == CONFIGURATION]
    for start, end in zip([0, *starts], [*starts, len(items)], strict=True):
        if items[start:end]:
            yield items[start:end]


def _score(sent: Predictions, score: Sequence[object]) -> None:
    if all(value is None for value in score):
        return
    classes = dict.fromkeys(name for value in score if isinstance(value, dict) for name in value)
    for name in classes:
        each = [value.get(name) if isinstance(value, dict) else None for value in score]
        sent.scores[_name(name)] = numbers(each)
    single = [None if isinstance(value, dict) else value for value in score]
    if any(value is not None for value in single):
        sent.score = numbers(single)


def _united(shapes: dict[tuple[str, ...], list[Item]]) -> Iterable[tuple[tuple[str, ...], list[Item]]]:
    if len(shapes) <= _SHAPES:
        return shapes.items()
    names = tuple(dict.fromkeys(name for shape in shapes for name in shape))
    return [(names, [item for group in shapes.values() for item in group])]


def _name(name: object) -> str:
    return named(name, _UNNAMED)


def _ids(ids: Sequence[object]) -> list[str]:
    texts = cast("list[str]", list(ids))
    if max(map(len, texts)) > _LONGEST_ID:
        return [text[:_LONGEST_ID] for text in texts]
    return texts


def _part(values: object, part: slice) -> list[Scalar]:
    cut = listed(cast("list[object]", values)[part])
    kind = getattr(getattr(values, "dtype", None), "kind", "")
    if kind in {"f", "b"} or (kind == "i" and type(cut[0]) is int):
        return cast("list[Scalar]", cut)
    return column(cut)
