"""Annotation texts with the commonly used part of Go's templates, checked when a rule file is loaded.

`{{ $value }}`, `{{ $labels.name }}`, pipes into `humanize`, `humanize1024`, `humanizeDuration`, `humanizePercentage`,
`humanizeTimestamp`, `title`, `toUpper`, `toLower`, and `printf`. The result is text, never HTML.

Source: https://prometheus.io/docs/prometheus/latest/configuration/template_reference/
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from modelkeep.alerts.rules import humanize as read
from modelkeep.core.errors import BadInput

Datum = float | str
Step = Callable[[Mapping[str, str], float], Datum]

LIMIT: Final = 5_000
_ACTION: Final = re.compile(r"\{\{(-\s)?(.*?)(\s-)?\}\}", re.DOTALL)
_TOKEN: Final = re.compile(
    r'\s*(?:(?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`)|(?P<pipe>\|)|(?P<value>\$value|\.Value)(?![\w.])'
    r"|(?:\$labels|\.Labels)\.(?P<label>[A-Za-z_]\w*)(?![\w.])|(?P<name>[A-Za-z]\w*)(?![\w.]))"
)
_VERB: Final = re.compile(r"%(?P<flags>[-+ 0#]*)(?P<width>\d{0,3})(?P<precision>\.\d{0,3})?(?P<verb>.|\Z)", re.DOTALL)
_NUMBERS: Final[dict[str, Callable[[float], str]]] = {
    "humanize": read.humanize,
    "humanize1024": read.humanize1024,
    "humanizeDuration": read.humanize_duration,
    "humanizePercentage": read.humanize_percentage,
    "humanizeTimestamp": read.humanize_timestamp,
}
_TEXTS: Final[dict[str, Callable[[str], str]]] = {
    "title": lambda text: re.sub(r"(?<!\S)\S", lambda letter: letter[0].upper(), text),
    "toUpper": str.upper,
    "toLower": str.lower,
}
KNOWN: Final = (*_NUMBERS, *_TEXTS, "printf")


@dataclass(frozen=True, slots=True)
class _Operand:
    """A value in a pipe, and whether it is a number."""

    step: Step
    number: bool


@dataclass(frozen=True, slots=True)
class Template:
    """A text with places to fill.

    Args:
        text: as written in the rule file.

    Raises:
        BadInput: it uses something else than the part described above; the message names it.

    >>> Template("{{ $labels.model }}: {{ $value | humanizePercentage }} late").fill({"model": "flights"}, 0.125)
    'flights: 12.5% late'
    >>> Template('{{ printf "%.2f" $value }} of {{ $labels.x | toUpper }}').fill({"x": "a"}, 2)
    '2.00 of A'
    >>> Template("{{ range query }}")
    Traceback (most recent call last):
    ...
    modelkeep.core.errors.BadInput: '{{ range query }}': 'range' is not known here
    """

    text: str
    _parts: tuple[Step, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.text) > LIMIT:
            raise BadInput(f"{self.text[:40]!r}… has more than {LIMIT} characters")
        object.__setattr__(self, "_parts", _compile(self.text))

    def fill(self, labels: Mapping[str, str], value: float) -> str:
        """Gives the text; a label that is absent is empty."""
        return "".join(_shown(part(labels, value)) for part in self._parts)


def _compile(text: str) -> tuple[Step, ...]:
    parts: list[Step] = []
    end, trim = 0, False
    for action in _ACTION.finditer(text):
        before = text[end : action.start()]
        before = before.lstrip() if trim else before
        parts.append(_constant(before.rstrip() if action[1] else before))
        body = action[2].strip()
        if not re.fullmatch(r"/\*.*\*/", body, re.DOTALL):
            parts.append(_pipeline(body, action[0]))
        end, trim = action.end(), bool(action[3])
    rest = text[end:]
    if "{{" in rest:
        raise BadInput(f"{rest[:40]!r}: {{{{ without }}}}")
    parts.append(_constant(rest.lstrip() if trim else rest))
    return tuple(parts)


def _pipeline(body: str, where: str) -> Step:
    piped: _Operand | None = None
    for command in _commands(body, where):
        piped = _command(command, piped, where)
    if piped is None:
        raise BadInput(f"{where!r} is empty")
    return piped.step


def _commands(body: str, where: str) -> list[list[re.Match[str]]]:
    commands: list[list[re.Match[str]]] = [[]]
    position = 0
    while position < len(body):
        token = _TOKEN.match(body, position)
        if token is None:
            raise BadInput(f"{where!r}: {body[position:].split(maxsplit=1)[0]!r} is not known here", hint=_HINT)
        if token["pipe"]:
            commands.append([])
        else:
            commands[-1].append(token)
        position = token.end()
    if body and not all(commands):
        raise BadInput(f"{where!r}: nothing beside |")
    return commands if body else []


def _command(tokens: list[re.Match[str]], piped: _Operand | None, where: str) -> _Operand:
    first, *rest = tokens
    name = first["name"]
    if name is None:
        if rest or piped:
            raise BadInput(f"{where!r}: a value cannot be called", hint=_HINT)
        return _operand(first, where)
    if name not in KNOWN:
        raise BadInput(f"{where!r}: {name!r} is not known here", hint=_HINT)
    operands = [_operand(token, where) for token in rest] + ([piped] if piped else [])
    if name == "printf":
        return _printf(rest[0]["string"] if rest else None, operands[1:], where)
    if len(operands) != 1:
        raise BadInput(f"{where!r}: {name} takes one value, not {len(operands)}")
    return _call(name, operands[0].step)


def _call(name: str, step: Step) -> _Operand:
    if name in _NUMBERS:
        shown = _NUMBERS[name]
        return _Operand(lambda labels, value: shown(_float(step(labels, value))), number=False)
    changed = _TEXTS[name]
    return _Operand(lambda labels, value: changed(_shown(step(labels, value))), number=False)


def _operand(token: re.Match[str], where: str) -> _Operand:
    if token["value"]:
        return _Operand(lambda labels, value: value, number=True)
    if label := token["label"]:
        return _Operand(lambda labels, value: labels.get(label, ""), number=False)
    if token["string"]:
        return _Operand(_constant(_unquote(token["string"], where)), number=False)
    raise BadInput(f"{where!r}: {token['name']!r} cannot stand here", hint=_HINT)


def _printf(quoted: str | None, operands: list[_Operand], where: str) -> _Operand:
    if quoted is None:
        raise BadInput(f"{where!r}: printf needs a format in quotes")
    form = _unquote(quoted, where)
    verbs = [verb for verb in _VERB.finditer(form) if verb["verb"] != "%"]
    if len(verbs) != len(operands):
        raise BadInput(f"{where!r}: {len(verbs)} places in the format, {len(operands)} values")
    for verb, operand in zip(verbs, operands, strict=True):
        if not verb["verb"] or verb["verb"] not in ("vfFeEgG" if operand.number else "vsq"):
            kind = "a number" if operand.number else "a text"
            raise BadInput(f"{where!r}: {verb[0]} does not fit {kind}", hint="Use %.2f for numbers, %s for texts.")

    def step(labels: Mapping[str, str], value: float) -> Datum:
        given = iter(operands)
        return _VERB.sub(
            lambda verb: "%" if verb["verb"] == "%" else _formatted(verb, next(given).step(labels, value)), form
        )

    return _Operand(step, number=False)


def _formatted(verb: re.Match[str], datum: Datum) -> str:
    flags, width = verb["flags"], verb["width"]
    if isinstance(datum, str):
        text = json.dumps(datum, ensure_ascii=False) if verb["verb"] == "q" else datum
        text = text[: int(verb["precision"][1:] or 0)] if verb["precision"] and verb["verb"] != "q" else text
        return f"%{'-' if '-' in flags else ''}{width}s" % text
    if not math.isfinite(datum) or (verb["verb"] in "vgG" and not verb["precision"]):
        shown = read.number(datum)
        return f"%{'-' if '-' in flags else ''}{width}s" % (shown.upper() if verb["verb"] == "G" else shown)
    return f"%{flags}{width}{verb['precision'] or ''}{verb['verb'].replace('v', 'g')}" % datum


def _unquote(quoted: str, where: str) -> str:
    if quoted[0] == "`":
        return quoted[1:-1]
    try:
        text: str = json.loads(quoted)
    except ValueError:
        raise BadInput(f"{where!r}: {quoted} is not a text") from None
    return text


def _constant(text: str) -> Step:
    return lambda labels, value: text


def _shown(datum: Datum) -> str:
    return datum if isinstance(datum, str) else read.number(datum)


def _float(datum: Datum) -> float:
    try:
        return float(datum)
    except ValueError:
        return float("nan")


_HINT: Final = f"Known: $value, $labels.NAME, | and {', '.join(KNOWN)}."
