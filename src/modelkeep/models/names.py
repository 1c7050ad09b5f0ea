"""Names of the registry: models, versions, stages, the git tags that carry them, and how people ask for one.

The tags are those of GTO: `churn@v1.2.0` registers, `churn#prod#3` assigns a stage, `churn@v1.2.0!` and
`churn#prod!#4` take back, `churn@deprecated` hides the model; a number counts over all events of a model.

Source: https://github.com/treeverse/gto
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from modelkeep.core.errors import BadInput

Action = Literal["register", "deregister", "assign", "unassign", "deprecate"]
Part = Literal["major", "minor", "patch"]
FIRST: Final = "v0.0.1"
"""The version that a model begins with when none is named, as with GTO."""
DEPRECATED: Final = "deprecated"
_NAME: Final = r"[a-zA-Z0-9](?:[a-zA-Z0-9/_-]*[a-zA-Z0-9])?"
_FOLDER: Final = r"[a-zA-Z0-9_./-]+"
_NUMBER: Final = r"(?:0|[1-9][0-9]*)"
_MARK: Final = r"(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
_SEMVER: Final = rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-{_MARK}(?:\.{_MARK})*)?(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?"
_MODEL: Final = re.compile(rf"(?:{_FOLDER}=)?{_NAME}\Z")
_AT: Final = re.compile(rf"(?:(v{_SEMVER})(!?)|deprecated)(?:#([0-9]+))?\Z")
_HASH: Final = re.compile(rf"({_NAME})(!?)(?:#([0-9]+))?\Z")
_PLAIN: Final = re.compile(rf"{_NAME}\Z")
_FULL: Final = re.compile(rf"(?:(?P<folder>{_FOLDER}):)?(?P<name>{_NAME})\Z")
_VERSION: Final = re.compile(rf"v{_SEMVER}\Z")
_UNFIT: Final = re.compile(r"(?:\A|/)\.|\.\.|//|\.lock(?:/|=|\Z)|\.(?:/|=|\Z)|\A/|/\Z|\A-")
"""What git refuses in the name of a tag, among the characters that are left, and what it takes for an option."""


Kind = Literal["", "version", "number", "stage", "latest", "line", "commit"]
_FORMS: Final[dict[Kind, re.Pattern[str]]] = {
    "latest": re.compile(r"(?:latest|greatest)\Z"),
    "number": re.compile(r"[0-9]{1,9}\Z"),
    "version": re.compile(rf"v?{_SEMVER}\Z"),
    "line": re.compile(rf"v{_NUMBER}\Z|v?{_NUMBER}\.{_NUMBER}\Z"),
    "commit": re.compile(r"(?=[0-9a-f]*[0-9])[0-9a-f]{7,64}\Z"),
}


class TagName(NamedTuple):
    """What the name of a tag says.

    Args:
        action: what was done.
        model: to which model.
        version: as `v1.2.0`; of `register` and `deregister` only.
        stage: of `assign` and `unassign` only.
        number: the count behind the last `#`; 0 without one.
    """

    action: Action
    model: str
    version: str = ""
    stage: str = ""
    number: int = 0

    def __str__(self) -> str:
        cancel = "!" if self.action in {"deregister", "unassign"} else ""
        about = f"#{self.stage}" if self.stage else f"@{self.version or DEPRECATED}"
        return f"{self.model.replace(':', '=')}{about}{cancel}{f'#{self.number}' if self.number else ''}"


class Asked(NamedTuple):
    """What somebody asks for.

    Args:
        model: its name.
        kind: `version` (`v1.2.0`), `number` (the how manieth that was registered), `stage`, `latest`, `line` (`v1`),
            `commit`, or "" when the model alone was named.
        value: the version, number, stage, line or commit.
    """

    model: str
    kind: Kind = ""
    value: str = ""


def parse(tag: str) -> TagName | None:
    """Gives what a tag's name says; None when it is no name of the registry.

    >>> parse("churn@v1.2.0"), parse("sub=churn#prod!#12")
    (TagName(action='register', model='churn', version='v1.2.0', stage='', number=0),
     TagName(action='unassign', model='sub:churn', version='', stage='prod', number=12))
    >>> parse("churn@1.2") is None, str(TagName("deprecate", "sub:churn"))
    (True, 'sub=churn@deprecated')
    """
    model, sign, rest = tag.partition("@")
    if sign:
        found = _AT.match(rest)
        if found is None or not _is_model(model):
            return None
        version, cancel, number = found.groups()
        action: Action = "deprecate" if not version else "deregister" if cancel else "register"
        return TagName(action, model.replace("=", ":"), version or "", "", int(number or 0))
    model, sign, rest = tag.partition("#")
    found = _HASH.match(rest)
    if not sign or found is None or not _is_model(model):
        return None
    stage, cancel, number = found.groups()
    return TagName("unassign" if cancel else "assign", model.replace("=", ":"), "", stage, int(number or 0))


@lru_cache(4096)
def _is_model(text: str) -> bool:
    return _MODEL.match(text) is not None


def asked(text: str) -> Asked:
    """Gives what a text asks for: `churn@v1.2.0`, `churn@5`, `churn@production`, `churn@latest`, `churn#5`, `churn`.

    Behind `#` stands a stage, whatever it is called. Behind `@`, digits are a number, `latest` is the highest version,
    `v1` or `1.2` the highest that begins so, seven or more hex digits with a digit among them a commit, and anything
    else a stage. A folder may be written as DVC does: `sub/dvc.yaml:churn` is `sub:churn`.

    Raises:
        BadInput: it is no such text.

    >>> asked("churn@production"), asked("churn@5").kind, asked("churn@1.10.0").value
    (Asked(model='churn', kind='stage', value='production'), 'number', 'v1.10.0')
    """
    at = min((place for place in (text.find("@"), text.find("#")) if place >= 0), default=len(text))
    model, sign, value = text[:at], text[at : at + 1], text[at + 1 :]
    model = check_model(re.sub(r"(?:\A|(?<=/))dvc\.yaml:", ":", model).replace("/:", ":").lstrip(":"))
    if not sign:
        return Asked(model)
    if sign == "@":
        for kind, form in _FORMS.items():
            if form.match(value):
                return Asked(model, kind, f"v{value}" if kind == "version" and value[0] != "v" else value)
    return Asked(model, "stage", check_stage(value))


def check_model(name: str) -> str:
    """Gives a model's name.

    Raises:
        BadInput: git or GTO would refuse it.

    >>> check_model("teams/risk:credit-risk")
    'teams/risk:credit-risk'
    >>> check_model("prévision")
    Traceback (most recent call last):
    modelkeep.core.errors.BadInput: 'prévision' is no name for a model
    """
    if _FULL.match(name) is None or _UNFIT.search(name.replace(":", "=")) or _UNFIT.search(name.rpartition(":")[2]):
        raise BadInput(
            f"{name!r} is no name for a model",
            hint="Use a-z, A-Z, 0-9, -, _ and / between, a letter or digit first and last; "
            "a folder may stand before a colon: sub/folder:name. Other names are refused by GTO.",
        )
    return name


def check_stage(name: str) -> str:
    """Gives a stage's name.

    Raises:
        BadInput: git or GTO would refuse it.
    """
    if _PLAIN.match(name) is None or _UNFIT.search(name):
        raise BadInput(
            f"{name!r} is no name for a stage",
            hint="Use a-z, A-Z, 0-9, -, _ and / between, a letter or digit first and last, such as production.",
        )
    return name


def check_version(version: str) -> str:
    """Gives a version with its `v`.

    Raises:
        BadInput: it is no semantic version.

    >>> check_version("1.2.0-rc.1")
    'v1.2.0-rc.1'
    """
    found = version if version.startswith("v") else "v" + version
    if not is_version(found):
        raise BadInput(
            f"{version!r} is no version", hint="Use three numbers, such as v1.2.0; v1.2.0-rc.1 is a pre-release."
        )
    return found


def is_version(text: str) -> bool:
    """Says whether a text is a semantic version with a `v` before it."""
    return _VERSION.match(text) is not None


def precedence(version: str) -> tuple[tuple[int, int, int], bool, tuple[tuple[int, int, str], ...], str]:
    """Gives what versions are sorted by: `v1.10.0` after `v1.9.0`, pre-releases before their release.

    Build data (`+…`) has no rank; it only makes the order complete. A text that is no version comes before all.

    Source: https://semver.org/spec/v2.0.0.html#spec-item-11

    >>> sorted(["v1.10.0", "v1.9.0", "v1.10.0-rc.2", "v1.10.0-rc.10", "v1.10.0-1"], key=precedence)
    ['v1.9.0', 'v1.10.0-1', 'v1.10.0-rc.2', 'v1.10.0-rc.10', 'v1.10.0']
    """
    plain, _, build = version[1:].partition("+")
    core, _, marks = plain.partition("-")
    try:
        major, minor, patch = map(int, core.split("."))
    except ValueError:
        return (-1, -1, -1), False, (), version
    ranked = tuple((0, int(mark), "") if mark.isdigit() else (1, 0, mark) for mark in marks.split(".") if mark)
    return (major, minor, patch), not ranked, ranked, build


def bumped(version: str, part: Part = "patch") -> str:
    """Gives the version that follows; a pre-release is followed by its release when that is enough.

    >>> bumped("v1.9.3"), bumped("v1.9.3", "minor"), bumped("v1.10.0-rc.1", "minor"), bumped("v1.9.3", "major")
    ('v1.9.4', 'v1.10.0', 'v1.10.0', 'v2.0.0')
    """
    (major, minor, patch), released, _, _ = precedence(version)
    if part == "major":
        return f"v{major}.0.0" if not released and not minor and not patch else f"v{major + 1}.0.0"
    if part == "minor":
        return f"v{major}.{minor}.0" if not released and not patch else f"v{major}.{minor + 1}.0"
    return f"v{major}.{minor}.{patch}" if not released else f"v{major}.{minor}.{patch + 1}"
