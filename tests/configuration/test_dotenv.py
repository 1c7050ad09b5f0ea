"""`.env` files beside python-dotenv."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
from dotenv import dotenv_values
from hypothesis import given, settings
from pydantic import BaseModel

from modelkeep.configuration.make import config
from modelkeep.configuration.scalars import scalar
from modelkeep.configuration.sources.dotenv import Dotenv
from modelkeep.configuration.tree import Mark
from modelkeep.core.errors import BadInput

TEXT = """\
# comment
export APP_HOST=h
APP_PORT = 8080
APP_NAME='single $APP_HOST ${APP_HOST}'
APP_URL="http://${APP_HOST}:${APP_PORT}/${ABSENT:-x}"
APP_TEXT="two
lines \\"quoted\\""
APP_CODE=007 # comment
APP_DB__POOL=5
APP_EMPTY=
APP_BARE
OTHER=1
"""


PIECES = ["${A}", "${B:-x y}", "${", "}", "$A", "\\", " ", "z", ":-", "${A:-${B}}"]


class Texts(BaseModel):
    a: str = ""
    b: str = ""
    c: str = ""


def test_values_are_those_of_python_dotenv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ABSENT", raising=False)
    reading = Dotenv(".env?prefix=APP_").parse(TEXT)
    expected = dotenv_values(stream=io.StringIO(TEXT))
    for name, value in expected.items():
        if name.startswith("APP_"):
            key = name.removeprefix("APP_").lower().replace("__", ".")
            assert reading.texts.get(key) == value, name
    assert reading.tree["db"] == {"pool": 5}
    assert reading.tree["bare"] is None
    assert "other" not in reading.tree
    lines = [reading.mark(key).line for key in ("host", "port", "text", "code", "db.pool")]
    assert lines == [2, 3, 6, 8, 9]


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[A-Z]{1,3}", fullmatch=True), st.text(st.sampled_from("ab '\"#$=\\{}"), max_size=6), max_size=4
    )
)
def test_any_file_is_what_python_dotenv_reads(pairs: dict[str, str]) -> None:
    text = "".join(f"{name}={value}\n" for name, value in pairs.items())
    expected = dotenv_values(stream=io.StringIO(text))
    try:
        reading = Dotenv(".env").parse(text)
    except BadInput:
        return
    found = {name: value for name, value in reading.texts.items() if value[:1] not in {"'", '"'}}
    assert found == {
        name.lower(): value for name, value in expected.items() if value is not None and value[:1] not in {"'", '"'}
    }


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from("abc"),
        st.tuples(
            st.sampled_from(["", "'", '"']),
            st.lists(st.sampled_from(PIECES), max_size=5),
        ),
        max_size=3,
    )
)
def test_what_a_program_sees_is_what_python_dotenv_reads(pairs: dict[str, tuple[str, list[str]]]) -> None:
    text = "".join(f"{name.upper()}={quote}{''.join(pieces)}{quote}\n" for name, (quote, pieces) in pairs.items())
    expected = dotenv_values(stream=io.StringIO(text))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ".env"
        path.write_text(text)
        try:
            Dotenv(path).read()
        except BadInput:
            return
        found = config(Texts, path).value
        seen = config(path).snapshot().get("")
    for name, value in expected.items():
        if value is not None:
            assert getattr(found, name.lower()) == value
            plain = seen[name.lower()]  # type: ignore[index,call-overload]
            assert plain == scalar(value, Mark(""))


def test_single_quotes_hold_back_nothing_as_in_python_dotenv(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("""HOST=h\nURL='pg://${HOST}/$HOST'\nOPEN='${HOST'\nLIST='[${HOST}, "${"]'\n""")
    cfg = config(tmp_path / ".env")
    assert cfg.tree() == {"host": "h", "url": "pg://h/$HOST", "open": "${HOST", "list": ["h", "${"]}


def test_the_prefix_is_that_of_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("APP_PORT=1\nOTHER=2\n")
    assert config(tmp_path / ".env", env="APP_").snapshot()._tree == {"port": 1}
    (tmp_path / "bad.env").write_text("A=1\nB='open\n")
    with pytest.raises(BadInput, match=r"bad\.env:2: not NAME=value"):
        config(tmp_path / "bad.env")
