"""A configuration checked against its schema by Pydantic; every complaint says where the value was written.

Source: Pydantic 2, https://docs.pydantic.dev
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import typing
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    MutableSequence,
    Sequence,
)
from functools import lru_cache
from pathlib import PurePath
from types import MappingProxyType, UnionType
from typing import Final, Generic, TypeVar, cast
from uuid import UUID

import pydantic
from pydantic import AliasChoices, AliasPath, BaseModel, Secret, SecretBytes, SecretStr, TypeAdapter

from modelkeep.configuration.secrecy import MASK, is_hidden, mask_text, secret_texts
from modelkeep.configuration.tree import Mark, Reading, Tree, join, pick, where
from modelkeep.core.errors import BadInput

if typing.TYPE_CHECKING:
    from omegaconf import DictConfig
    from pydantic_core import ErrorDetails

T = TypeVar("T")
_LONG: Final = 80
_DEEP: Final = 20
_TEXTS: Final = (str, bytes, SecretStr, SecretBytes, PurePath, UUID)
_SECRET: Final = (SecretStr, SecretBytes, Secret)
_MAPPINGS: Final = frozenset({dict, Mapping, MutableMapping})
_LISTS: Final = frozenset({list, tuple, set, frozenset, Sequence, MutableSequence, Collection, Iterable})


class Schema(Generic[T]):
    """What a configuration must look like.

    Args:
        kind: a Pydantic model or a dataclass.

    Raises:
        BadInput: it is neither.
    """

    def __init__(self, kind: type[T]) -> None:
        if not (issubclass(kind, BaseModel) or dataclasses.is_dataclass(kind)):
            raise BadInput(f"{kind!r} is no schema", hint="Give a Pydantic model or a dataclass.")
        self.kind = kind
        self._adapter: TypeAdapter[T] = TypeAdapter(kind)
        self._typed = _typed(kind)

    def defaults(self, *, strict: bool = True) -> Reading:
        """What the schema says itself: its defaults, so that others may refer to them and change parts.

        A dataclass is taken by OmegaConf with its types; one with types that OmegaConf does not know, and a Pydantic
        model, give plain defaults.
        """
        origin = Mark(self.kind.__name__)
        if self._typed is None:
            return Reading(_defaults(self.kind), version="fixed", origin=origin)
        from modelkeep.configuration import omega

        tree, typed = omega.typed_defaults(self._typed, strict=strict)
        return Reading(tree, version="fixed", origin=origin, native=typed)

    def secret_keys(self, tree: object) -> frozenset[str]:
        """The keys of a tree whose type says that they are secret."""
        return frozenset(_secret_places(self.kind, tree, ""))

    def check(
        self,
        tree: Tree,
        mark: Callable[[str], Mark],
        *,
        strict: bool,
        secrets: Collection[str] = (),
        texts: Mapping[str, str] = MappingProxyType({}),
    ) -> T:
        """Gives the typed configuration.

        Args:
            tree: plain values, resolved.
            mark: gives the place of a key.
            strict: whether a key that the schema does not have is refused.
            secrets: keys whose values are never shown.
            texts: what was written for a key, for fields that want text.

        Raises:
            BadInput: every complaint on a line of its own, `file:line key: reason, value`.
        """
        complaints = [_unknown(key, near, mark(key)) for key, near in _strangers(self.kind, tree)] if strict else []
        found: T | None = None
        problems: list[ErrorDetails] = []
        try:
            found = self._adapter.validate_python(_with_texts(self.kind, tree, texts) if texts else tree)
        except pydantic.ValidationError as error:
            problems = error.errors(include_url=False, include_context=False)
        hidden = {*secrets, *self.secret_keys(tree)}
        unsaid = secret_texts(tree, hidden) if problems else set()
        known = {line.partition(": ")[0] for line in complaints}
        lines = [_complaint(one, tree, mark, hidden, unsaid) for one in problems]
        complaints += [line for line in lines if line.partition(": ")[0] not in known]
        if complaints:
            raise BadInput("\n".join(complaints), hint="Nothing was applied; mend these and try again.")
        return cast("T", found)


def _typed(kind: type) -> DictConfig | None:
    """Gives a dataclass as OmegaConf takes it, which is imported for one only."""
    if hasattr(kind, "__pydantic_fields__") or not dataclasses.is_dataclass(kind):
        return None
    from modelkeep.configuration import omega

    return omega.typed(kind)


def _defaults(model: type, depth: int = 0) -> Tree:
    """Gives the defaults of a model and of the models in it; what is no plain value is left to Pydantic."""
    tree: Tree = {}
    if dataclasses.is_dataclass(model) and not hasattr(model, "__pydantic_fields__"):
        return _plain_defaults(model, depth)
    fields = model.model_fields if issubclass(model, BaseModel) else getattr(model, "__pydantic_fields__", {})
    for name, field in fields.items() if depth < _DEEP else ():
        alias = field.validation_alias or field.alias
        key = alias if isinstance(alias, str) else name
        if field.default_factory_takes_validated_data or isinstance(alias, AliasChoices | AliasPath):
            continue
        default = field.get_default(call_default_factory=True)
        inner = _model(field.annotation)
        if isinstance(default, BaseModel):
            tree[key] = _shown(default)
        elif field.is_required() and inner is not None:
            tree[key] = _defaults(inner, depth + 1)
        elif default is not None and _plain(default):
            tree[key] = default
    return {key: node for key, node in tree.items() if node != {} or not isinstance(node, dict)}


def _plain_defaults(kind: type, depth: int) -> Tree:
    tree: Tree = {}
    for name, hint in _names(kind).items() if depth < _DEEP else ():
        field = next(one for one in dataclasses.fields(kind) if one.name == name)
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        inner = _model(hint)
        if inner is not None and (default is dataclasses.MISSING or isinstance(default, inner)):
            tree[name] = _defaults(inner, depth + 1)
        elif default is not None and _plain(default):
            tree[name] = default  # type: ignore[assignment]
    return {key: node for key, node in tree.items() if node != {} or not isinstance(node, dict)}


def _shown(model: BaseModel) -> Tree:
    """Gives the plain values of a default that is a model itself."""
    tree: Tree = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        alias = field.validation_alias or field.alias
        key = alias if isinstance(alias, str) else name
        if isinstance(alias, AliasChoices | AliasPath):
            continue
        if isinstance(value, BaseModel):
            tree[key] = _shown(value)
        elif value is not None and _plain(value):
            tree[key] = value
    return tree


def _plain(value: object) -> bool:
    if isinstance(value, list):
        return all(_plain(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(name, str) and _plain(item) for name, item in value.items())
    return type(value) in {str, int, float, bool}


def _with_texts(kind: object, tree: Tree, texts: Mapping[str, str]) -> Tree:
    """Gives the tree with what was written in the place of what was read, where a field wants nothing but text."""
    wanted = {key for key, inner in _fields(kind) if _wants_text(inner)}
    swaps = {key: text for key, text in texts.items() if key in wanted}
    return cast("Tree", _swapped(tree, swaps)) if swaps else tree


def _swapped(node: object, swaps: Mapping[str, str], key: str = "") -> object:
    if isinstance(node, Mapping):
        return {name: _swapped(value, swaps, join(key, str(name))) for name, value in node.items()}
    return swaps.get(key, node)


def _complaint(
    problem: ErrorDetails, tree: Tree, mark: Callable[[str], Mark], hidden: Collection[str], texts: Collection[str]
) -> str:
    """One line about one value; parts of the location that are no keys (tags of unions) are left out."""
    key, path = "", list[str | int]()
    for part in problem["loc"]:
        try:
            pick(tree, [*path, part])
        except KeyError:
            if not (problem["type"] == "missing" and part == problem["loc"][-1]):
                continue
        path.append(part)
        key = join(key, part)
    begin = where(mark(key), key)
    reason = mask_text(problem["msg"], texts)
    try:
        value = pick(tree, path)
    except KeyError:
        return f"{begin}a value is missing"
    if isinstance(value, Mapping):
        return f"{begin}{reason}"
    shown = MASK if is_hidden(key, hidden) else mask_text(repr(value), texts)
    return f"{begin}{reason}, value {shown if len(shown) <= _LONG else shown[:_LONG] + '…'}"


def _unknown(key: str, near: str, mark: Mark) -> str:
    return f"{where(mark, key)}the schema has no such key" + (f"; did you mean {near!r}?" if near else "")


def _strangers(kind: object, node: object, key: str = "") -> Iterator[tuple[str, str]]:
    """Gives the keys that a model does not have, each with the most similar one that it has."""
    model = _model(kind)
    if model is None or not isinstance(node, Mapping):
        yield from _inner_strangers(kind, node, key)
        return
    names = _names(model)
    extra = getattr(model, "model_config", None) or getattr(model, "__pydantic_config__", None) or {}
    for name, value in node.items():
        if name in names:
            yield from _strangers(names[name], value, join(key, str(name)))
        elif extra.get("extra") != "allow":
            near = _aliases(model).get(str(name)) or difflib.get_close_matches(str(name), names, n=1)
            yield join(key, str(name)), near[0] if near else ""


def _inner_strangers(kind: object, node: object, key: str) -> Iterator[tuple[str, str]]:
    arguments = typing.get_args(kind)
    if isinstance(node, list | tuple) and len(arguments) >= 1:
        for place, item in enumerate(node):
            yield from _strangers(arguments[0], item, join(key, place))
    elif isinstance(node, Mapping) and len(arguments) == 2 and _origin(kind) in {dict, Mapping}:
        for name, value in node.items():
            yield from _strangers(arguments[1], value, join(key, str(name)))


def _origin(kind: object) -> object:
    origin = typing.get_origin(kind)
    return Mapping if origin in {Mapping, typing.Mapping} else origin


def _model(kind: object) -> type | None:
    """The one model in an annotation, also behind `| None` and `Annotated`; None for none or several."""
    if isinstance(kind, type) and (issubclass(kind, BaseModel) or dataclasses.is_dataclass(kind)):
        return kind
    if _origin(kind) in {dict, Mapping, list, tuple, set, frozenset}:
        return None
    found = [model for argument in typing.get_args(kind) if (model := _model(argument)) is not None]
    return found[0] if len(found) == 1 else None


@lru_cache(maxsize=4096)
def _names(model: type) -> dict[str, object]:
    """What a model takes as keys, with their types."""
    if issubclass(model, BaseModel):
        found: dict[str, object] = {}
        by_name = bool(model.model_config.get("populate_by_name") or model.model_config.get("validate_by_name"))
        aliases = _aliases(model)
        for name, field in model.model_fields.items():
            if name not in aliases or by_name:
                found[name] = field.annotation
            found |= dict.fromkeys(aliases.get(name, ()), field.annotation)
        return found
    hints = typing.get_type_hints(model)
    fields = dataclasses.fields(model) if dataclasses.is_dataclass(model) else ()
    return {field.name: hints[field.name] for field in fields if field.init}


def _aliases(model: type) -> dict[str, list[str]]:
    """The other names that a model's fields are given by."""
    found: dict[str, list[str]] = {}
    for name, field in (model.model_fields if issubclass(model, BaseModel) else {}).items():
        alias = field.validation_alias or field.alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
        names = [str(one.path[0]) if isinstance(one, AliasPath) else one for one in choices if one is not None]
        if names:
            found[name] = names
    return found


def _secret_places(kind: object, node: object, key: str) -> Iterator[str]:
    """Gives the keys in a tree at which a schema wants secrets, also inside of lists, mappings and unions."""
    bare = typing.get_origin(kind) or kind
    if isinstance(bare, type) and issubclass(bare, _SECRET):
        yield key
        return
    for inner, value, place in _members(kind, node, key):
        yield from _secret_places(inner, value, place)


def _members(kind: object, node: object, key: str) -> Iterator[tuple[object, object, str]]:
    """Gives what a type holds, with the node and the key of each; the choices of a union stand at its own key."""
    arguments, origin = typing.get_args(kind), _origin(kind)
    if isinstance(kind, type) and not arguments:
        if isinstance(node, Mapping) and (issubclass(kind, BaseModel) or dataclasses.is_dataclass(kind)):
            yield from ((inner, node[name], join(key, name)) for name, inner in _names(kind).items() if name in node)
    elif origin in _MAPPINGS:
        if isinstance(node, Mapping) and len(arguments) == 2:
            yield from ((arguments[1], value, join(key, str(name))) for name, value in node.items())
    elif origin in _LISTS:
        if isinstance(node, list | tuple):
            both = itertools.product(enumerate(node), arguments)
            yield from ((argument, item, join(key, place)) for (place, item), argument in both)
    else:
        yield from ((argument, node, key) for argument in arguments)


def _fields(kind: object, key: str = "", depth: int = 0) -> Iterator[tuple[str, object]]:
    model = _model(kind)
    if model is None or depth > _DEEP:
        return
    for name, inner in _names(model).items():
        yield join(key, name), inner
        yield from _fields(inner, join(key, name), depth + 1)


def _wants_text(kind: object) -> bool:
    """Says whether a field takes nothing but text, or nothing at all."""
    if isinstance(kind, type):
        return issubclass(kind, _TEXTS)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return all(isinstance(one, str) for one in arguments)
    if origin is typing.Annotated:
        return _wants_text(arguments[0])
    if origin in {typing.Union, UnionType}:
        return all(_wants_text(one) for one in arguments if one is not type(None))
    return False
