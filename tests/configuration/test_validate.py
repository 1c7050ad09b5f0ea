"""Schemas of many shapes: what they take, what they call secret, and how they complain."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    Secret,
    SecretBytes,
    SecretStr,
    model_validator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass

from modelkeep.configuration.make import config
from modelkeep.configuration.validate import Schema
from modelkeep.core.errors import BadInput


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Disk(BaseModel):
    kind: Literal["disk"] = "disk"
    path: Path = Path("/tmp")


class Bucket(BaseModel):
    kind: Literal["bucket"]
    name: str


class Inner(BaseModel):
    size: int = 1
    key: SecretStr | None = None


class Shapes(BaseModel):
    store: Annotated[Disk | Bucket, Field(discriminator="kind")] = Disk()
    inner: Inner | None = None
    many: list[Inner] = []
    named: dict[str, Inner] = {}
    colour: Colour = Colour.RED
    wait: timedelta = timedelta(seconds=5)
    begun: datetime | None = None
    aliased: int = Field(default=1, alias="also-known")
    level: int = Field(default=3, ge=1, le=9)
    raw: SecretBytes = SecretBytes(b"")
    port: int = Field(default_factory=lambda: 80)


@dataclass
class Inside:
    wait: timedelta = timedelta(seconds=1)
    size: int = 2


@dataclass
class Odd:
    token: SecretStr = SecretStr("")  # noqa: RUF009 - it does not change
    inside: Inside = field(default_factory=Inside)
    colours: set[str] = field(default_factory=set)


def wrong(given: object, schema: type = Shapes, **options: bool) -> list[str]:
    with pytest.raises(BadInput) as caught:
        config(schema, given, **options)  # type: ignore[arg-type]
    return caught.value.message.split("\n")


def test_values_of_many_kinds() -> None:
    cfg = config(
        Shapes,
        {
            "store": {"kind": "bucket", "name": "b"},
            "inner": {"size": "${level}"},
            "many": [{}, {"size": 4}],
            "named": {"x": {"size": 5}},
            "colour": "blue",
            "wait": "PT1M",
            "begun": "2020-01-02T03:04:05",
            "also-known": 7,
            "level": 4,
        },
    )
    value = cfg.value
    assert value.store == Bucket(kind="bucket", name="b")
    assert (value.inner, value.many[1].size, value.named["x"].size) == (Inner(size=4), 4, 5)
    assert (value.colour, value.wait, value.begun, value.aliased) == (
        *(Colour.BLUE, timedelta(minutes=1), datetime(2020, 1, 2, 3, 4, 5), 7),  # noqa: DTZ001 - as it was written
    )
    assert cfg["named.x.size"] == 5
    assert cfg["many[1].size"] == 4
    assert cfg.explain("port").mark == "Shapes"


def test_complaints_inside_of_everything() -> None:
    assert wrong({"many": [{}, {"size": "x"}]})[0].startswith("an object many[1].size: Input should be a valid integer")
    assert wrong({"named": {"a": {"sze": 1}}}) == [
        "an object named.a.sze: the schema has no such key; did you mean 'size'?"
    ]
    assert wrong({"many": [{"sze": 1}]}) == ["an object many[0].sze: the schema has no such key; did you mean 'size'?"]
    assert wrong({"inner": {"sze": 1}}) == ["an object inner.sze: the schema has no such key; did you mean 'size'?"]
    assert wrong({"store": {"kind": "bucket"}}) == ["an object store.name: a value is missing"]
    assert wrong({"store": {"kind": "tape"}})[0].startswith("an object store: Input tag 'tape'")
    assert wrong({"level": 12}) == ["an object level: Input should be less than or equal to 9, value 12"]
    assert wrong({"colour": "green"}) == ["an object colour: Input should be 'red' or 'blue', value 'green'"]
    assert wrong({"aliased": 7}) == ["an object aliased: the schema has no such key; did you mean 'also-known'?"]
    long = wrong({"level": "x" * 500})[0]
    assert len(long) < 250
    assert long.endswith("…")


def test_a_validator_of_the_whole() -> None:
    class Range(BaseModel):
        low: int = 0
        high: int = 1

        @model_validator(mode="after")
        def ordered(self) -> Range:
            if self.low > self.high:
                raise ValueError("low is above high")
            return self

    class Holder(BaseModel):
        range: Range = Range()

    assert wrong({"range": {"low": 5}}, Holder) == ["an object range: Value error, low is above high"]
    (line,) = wrong({"low": 5}, Range)
    assert line.endswith(": Value error, low is above high")


def test_secret_fields_are_known_wherever_they_are() -> None:
    tree = {"inner": {"key": "a"}, "raw": "b", "named": {"x": {"key": "c"}}, "level": 1}
    assert Schema(Shapes).secret_keys(tree) == {"inner.key", "raw", "named.x.key"}
    cfg = config(
        Shapes,
        {
            "inner": {"key": "hunter2hunter2"},
            "many": [{"key": "hunter3hunter3"}],
            "named": {"a": {"key": "hunter4hunter4"}},
        },
    )
    assert "hunter" not in repr(cfg)
    assert "hunter" not in repr(cfg.history())
    assert cfg.value.many[0].key is not None
    assert cfg.value.many[0].key.get_secret_value() == "hunter3hunter3"


def test_extra_keys_as_the_model_says() -> None:
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")
        a: int = 1

    cfg = config(Open, {"b": {"c": 2}})
    assert cfg["b.c"] == 2


def test_dataclasses_that_omegaconf_does_not_know() -> None:
    cfg = config(Odd, {"inside": {"wait": 5, "size": "3"}, "colours": ["a", "a"], "token": "hunter2"})
    assert cfg.value.inside == Inside(timedelta(seconds=5), 3)
    assert cfg.value.colours == {"a"}
    assert cfg.value.token.get_secret_value() == "hunter2"
    assert wrong({"inside": {"sise": 1}}, Odd) == [
        "an object inside.sise: the schema has no such key; did you mean 'size'?"
    ]


def test_pydantic_dataclasses() -> None:
    @pydantic_dataclass
    class Typed:
        size: int = 3
        name: str = "x"

    cfg = config(Typed, {"name": "${size}y"})
    assert (cfg.size, cfg.name) == (3, "3y")
    assert wrong({"siz": 1}, Typed) == ["an object siz: the schema has no such key; did you mean 'size'?"]


def test_defaults_can_be_referred_to_and_their_parts_changed() -> None:
    class Outer(BaseModel):
        inner: Inner = Inner(size=8)
        path: str = "/data/${inner.size}"

    assert config(Outer).path == "/data/8"
    cfg = config(Outer, {"inner": {"size": 9}})
    assert (cfg.path, cfg.inner.size) == ("/data/9", 9)
    assert cfg.explain("path").history == (("Outer", "/data/${inner.size}"),)


def test_other_names_of_a_field() -> None:
    class Many(BaseModel):
        size: int = Field(default=1, validation_alias=AliasChoices("sz", AliasPath("sizes", 0)))
        key: int = Field(default=1, validation_alias="the_key")

    assert config(Many, {"sz": 3}).size == 3
    assert config(Many, {"sizes": [4]}).size == 4
    assert wrong({"key": 1}, Many) == ["an object key: the schema has no such key; did you mean 'the_key'?"]


def test_secrets_in_unions_and_lists_of_secrets() -> None:
    class One(BaseModel):
        a: SecretStr

    class Two(BaseModel):
        b: int
        c: Secret[int]

    class Both(BaseModel):
        either: One | Two
        all: list[SecretStr] = []
        deep: dict[str, list[One | None]] = {}

    cfg = config(Both, {"either": {"a": "hunter2"}, "all": ["hunter3", "hunter4"], "deep": {"x": [{"a": "hunter5"}]}})
    assert "hunter" not in repr(cfg) + repr(cfg.history())
    assert "8765" not in repr(config(Both, {"either": {"b": 1, "c": 8765}}))
