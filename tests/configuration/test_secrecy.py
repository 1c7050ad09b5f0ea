"""A canary in every place where a secret can stand; it must not sing in any output."""

from __future__ import annotations

import io
import json
import logging
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given
from pydantic import BaseModel, SecretStr, field_validator

from modelkeep.configuration.config import Config
from modelkeep.configuration.make import config
from modelkeep.configuration.secrecy import find, is_hidden, is_secret, mask_text, mask_url
from modelkeep.core.errors import BadInput, Error, Missing

CANARY = "canary7F3a"


class Db(BaseModel):
    password: str = ""
    url: str = ""
    magic: SecretStr = SecretStr("")
    pool: int = 1
    plain: str = ""


class App(BaseModel):
    db: Db = Db()
    anything: str = ""


@dataclass
class Data:
    password: str = ""
    pool: int = 1


SOURCES: dict[str, list[object]] = {
    "yaml": ["db.yaml"],
    "json": ["db.json"],
    "toml": ["db.toml"],
    "ini": ["db.ini"],
    "dotenv": ["db.env?prefix=C_"],
    "mapping": [{"db": {"password": CANARY}}],
    "field": [{"db": {"magic": CANARY}}],
    "url": [{"db": {"url": f"pg://ann:{CANARY}@h/d"}}],
    "copy": [{"db": {"password": CANARY, "plain": "x${.password}y"}}],
    "reference": [{"db": {"plain": "secret:CANARY"}}],
    "reference inside": [{"db": {"url": "pg://ann:${secret:CANARY}@h/d"}}],
    "variable": [{"db": {"plain": "${oc.env:CANARY_PASSWORD}"}}],
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODELKEEP_SECRET_CANARY", CANARY)
    monkeypatch.setenv("CANARY_PASSWORD", CANARY)
    Path("db.yaml").write_text(f"db:\n  password: {CANARY}\n")
    Path("db.json").write_text(json.dumps({"db": {"password": CANARY}}))
    Path("db.toml").write_text(f'[db]\npassword = "{CANARY}"\n')
    Path("db.ini").write_text(f"[db]\npassword = {CANARY}\n")
    Path("db.env").write_text(f"C_DB__PASSWORD={CANARY}\n")
    return tmp_path


def outputs(cfg: Config[App]) -> Iterator[str]:
    """Everything that a configuration says of itself."""
    snapshot = cfg.snapshot()
    yield from (
        repr(cfg),
        str(cfg),
        repr(snapshot),
        json.dumps(cfg.tree()),
        repr(cfg.readings),
        repr(vars(snapshot)["_merged"]),
    )
    for key in snapshot.names():
        yield repr(cfg.explain(key))
    for change in cfg.history():
        yield repr(change)
        yield json.dumps(asdict(change), default=str)
    yield repr(snapshot.diff(None))
    yield "".join(map(str, snapshot.diff(None)))


def told(error: BaseException) -> Iterator[str]:
    """Everything that a report of an error may show, the variables of its frames too."""
    yield from (str(error), repr(error), getattr(error, "hint", ""))
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = [frame for frame in shown.stack if "/modelkeep/" in frame.filename]
    yield "".join(shown.format_exception_only())
    yield "".join(f"{frame.name}: {frame.locals}" for frame in frames)
    yield from (repr(one) for one in (error.__cause__, error.__context__) if one is not None)


def silent(texts: Iterator[str] | list[str]) -> None:
    for text in texts:
        assert CANARY not in text, text


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("typed", [True, False])
def test_the_canary_is_silent_in_every_output(kind: str, typed: bool, capsys: pytest.CaptureFixture[str]) -> None:
    extra = [] if typed else ["db.magic"]
    cfg: Config[App] = config(*([App] if typed else []), *SOURCES[kind], secrets=extra)  # type: ignore[arg-type]
    assert CANARY in json.dumps(cfg.snapshot()._tree)  # it is there for the program
    silent(outputs(cfg))
    if not typed:
        silent([repr(cfg.value), repr(cfg.db)])
    log = io.StringIO()
    logging.StreamHandler(log).handle(logging.makeLogRecord({"msg": "%s %r", "args": (cfg, cfg.snapshot())}))
    cfg.on_change(lambda change: print(change))  # noqa: T201
    cfg.set({"db.password": f"{CANARY}2", "db.pool": 2}, author="ann", reason="new password")
    cfg.rollback()
    silent(outputs(cfg))
    with pytest.raises(BadInput) as caught:
        cfg.set({"db.pool": {"x": "${nothing}"}, "db.password": f"{CANARY}3"})
    silent(told(caught.value))
    captured = capsys.readouterr()
    silent([captured.out, captured.err, log.getvalue()])


@pytest.mark.parametrize("kind", SOURCES)
def test_the_canary_is_silent_when_something_else_is_wrong(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("C_DB__PASSWORD", CANARY)
    for wrong in (
        {"db": {"pool": "many"}},
        {"db": {"pool": "${nope}"}},
        {"dbb": 1},
        {"db": [1]},
        {"db": {"pool": "${b"}},
    ):
        with pytest.raises(Error) as caught:
            config(App, *SOURCES[kind], wrong, env="C_", cli=[f"db.password={CANARY}"])
        silent(told(caught.value))


@pytest.mark.parametrize(
    "given_",
    [
        [{"db": {"password": [CANARY]}}],
        [{"db": {"magic": [CANARY]}}],
        [{"db": {"password": {"x": CANARY}}}],
        [{"db": {"url": [f"pg://a:{CANARY}@h"]}}],
        [{"db": {"password": CANARY, "pool": "${.password}"}}],
        [{"db": {"password": CANARY, "plain": ["${..password}"]}}],
        [{"db": f"pg://a:{CANARY}@h"}],
        [{"db": {"pool": "secret:CANARY"}}],
        [{"anything": {"secret": CANARY}}],
        [{"db": {"passwordd": CANARY}}],
    ],
    ids=repr,
)
@pytest.mark.parametrize("env", [None, "X_"])
def test_the_canary_is_silent_when_the_secret_itself_is_wrong(given_: list[object], env: str | None) -> None:
    with pytest.raises(BadInput) as caught:
        config(App, *given_, env=env)
    silent(told(caught.value))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("f.yaml", f"db:\n  password: {CANARY}\n bad: 1\n"),
        ("f.yaml", f"db:\n  password: !!int {CANARY}\n"),
        ("f.yaml", f"password: '{CANARY}\nx: 1\n"),
        ("f.json", f'{{"password": "{CANARY}" 1}}'),
        ("f.toml", f'password = "{CANARY}\n'),
        ("f.toml", f"password = {CANARY}\n"),
        ("f.ini", f"password = {CANARY}\n"),
        ("f.ini", f"[db]\n= {CANARY}\n"),
        ("f.ini", f"[db]\npassword = {CANARY}%(x)s\n"),
        ("f.env", f"PASSWORD='{CANARY}\n"),
    ],
)
def test_the_canary_is_silent_when_a_file_is_broken(name: str, text: str) -> None:
    Path(name).write_text(text)
    with pytest.raises(BadInput) as caught:
        config(name)
    silent(told(caught.value))
    Path(name).write_text("" if name != "f.json" else "{}")
    cfg = config(name)
    Path(name).write_text(text)
    with pytest.raises(BadInput) as caught:
        cfg.refresh()
    silent(told(caught.value))
    silent(outputs(cfg))  # type: ignore[arg-type]


def test_a_dataclass_and_a_validator_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    class Picky(BaseModel):
        password: str

        @field_validator("password")
        @classmethod
        def never(cls, value: str) -> str:
            raise ValueError(f"I do not like {value}")

    for schema, given_ in [
        (Picky, {"password": CANARY}),
        (Data, {"password": [CANARY]}),
        (Data, {"password": CANARY, "pool": "x"}),
    ]:
        with pytest.raises(BadInput) as caught:
            config(schema, given_)
        silent(told(caught.value))


def test_arguments_and_variables_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for cli in ([f"db.password=[{CANARY}"], [f"password {CANARY}"], [f"db.password={{{CANARY}: [}}"]):
        with pytest.raises(BadInput) as caught:
            config(cli=cli)
        if " " not in cli[0]:
            silent(told(caught.value))
    monkeypatch.setenv("Y_DB__PASSWORD", f"[{CANARY}")
    with pytest.raises(BadInput) as caught:
        config(env="Y_")
    silent(told(caught.value))


def test_references_are_resolved_from_every_place(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    class Ring:
        def get_password(self, service: str, name: str) -> str | None:
            return {"RINGED": "from the ring"}.get(name) if service == "modelkeep" else None

    import keyring

    monkeypatch.setattr(keyring, "get_password", Ring().get_password)
    (folder / "secrets").mkdir()
    (folder / "secrets" / "FILED").write_text("from a file\n")
    monkeypatch.setenv("MODELKEEP_SECRETS", str(folder / "secrets"))
    cfg = config(
        {"a": "secret:CANARY", "b": ["secret:FILED", "x"], "c": {"d": "secret:RINGED"}, "e": "${secret:CANARY}!"}
    )
    assert cfg.snapshot()._tree == {
        "a": CANARY,
        "b": ["from a file", "x"],
        "c": {"d": "from the ring"},
        "e": f"{CANARY}!",
    }
    assert cfg.tree() == {"a": "***", "b": ["***", "x"], "c": {"d": "***"}, "e": "***"}
    assert cfg.to_omegaconf().a == CANARY
    assert CANARY not in repr(cfg.to_omegaconf())
    with pytest.raises(BadInput, match=r"^an object a: secret 'NOWHERE' is not set") as caught:
        config({"a": "secret:NOWHERE"})
    assert caught.value.hint
    with pytest.raises(BadInput, match="names no secret"):
        config({"a": "secret:../etc/passwd"})
    with pytest.raises(Missing):
        find("NOWHERE")


def test_typed_objects_keep_their_types_beside_references() -> None:
    cfg = config(Data(password="secret:CANARY"), {"pool": "7"})
    assert cfg.snapshot()._tree == {"password": CANARY, "pool": 7}


def test_a_changed_secret_is_a_change_that_shows_nothing() -> None:
    cfg = config({"token": CANARY, "a": 1})
    change = cfg.set({"token": f"{CANARY}2"})
    assert change is not None
    assert [(one.key, one.before, one.after) for one in change.differences] == [("token", "***", "***")]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("pg://a:b@h/d", "pg://a:***@h/d"),
        ("pg://a:p@ss/w@h/d", "pg://a:***@h/d"),
        ("see redis://:pw@h:6379/0 now", "see redis://:***@h:6379/0 now"),
        ("https://h/?x=1&api_key=abc&password=d#f", "https://h/?x=1&api_key=***&password=***#f"),
        ("https://h:80/a?b=c", "https://h:80/a?b=c"),
        ("mail ann@example.org", "mail ann@example.org"),
    ],
)
def test_urls_without_their_passwords(text: str, masked: str) -> None:
    assert mask_url(text) == masked


def test_names_that_tell_a_secret() -> None:
    secret = (
        "password DB_PASSWORD dbPassword api-key apiKey APIKey x.access_key private_key token smtp.passwd client_secret"
    )
    for name in [*secret.split(), "AWS_SECRET_ACCESS_KEY", "connectionString", "credentials"]:
        assert is_secret(name), name
    for name in [
        "tokenizer",
        "keyboard",
        "primary_key",
        "passenger",
        "compass",
        "secretary",
        "max_tokens",
        "key",
        "monkey",
    ]:
        assert not is_secret(name), name
    assert is_hidden("passwords[1]")
    assert is_hidden("db.secrets.a.b[2]")
    assert is_hidden("a.b", {"a"})
    assert not is_hidden("a.b", {"a.c"})


@given(st.text(min_size=4), st.text())
def test_no_text_shows_a_value(value: str, around: str) -> None:
    if value not in "***":
        assert value not in mask_text(f"{around}{value}{around}", [value]).replace("***", "\0")


GUESSES = ("hunter2", "letmein", "swordfish")
STRONG = "a key of some length"


def _hashes(monkeypatch: pytest.MonkeyPatch, key: str) -> list[str]:
    monkeypatch.setenv("MODELKEEP_SECRET_KEY", key) if key else monkeypatch.delenv("MODELKEEP_SECRET_KEY", False)
    return [config({"db": {"password": one, "url": f"pg://a:{one}@h/d"}, "pool": 5}).hash for one in GUESSES]


def test_a_hash_tells_nothing_of_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = _hashes(monkeypatch, "")
    assert len(set(plain)) == 1
    assert plain == _hashes(monkeypatch, "too short")  # it could be guessed together with the secret
    keyed = _hashes(monkeypatch, STRONG)
    assert len(set(keyed)) == len(GUESSES)
    assert keyed == _hashes(monkeypatch, STRONG)
    assert not {*keyed, *plain} & {*_hashes(monkeypatch, f"another {STRONG}")}
    monkeypatch.delenv("MODELKEEP_SECRET_KEY")
    open_hash = config({"pool": 5, "name": "x"}).hash
    monkeypatch.setenv("MODELKEEP_SECRET_KEY", STRONG)
    assert config({"pool": 5, "name": "x"}).hash == open_hash  # where nothing is secret it is the same everywhere


@pytest.mark.parametrize("key", ["", STRONG])
def test_another_secret_is_a_change_that_can_be_taken_back(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELKEEP_SECRET_KEY", key)
    cfg = config({"db": {"password": "hunter2", "pool": 5}})
    told: list[str] = []
    cfg.on_change(lambda change: told.extend(map(str, change.differences)))
    first = cfg.hash
    change = cfg.set({"db.password": "letmein"}, author="ann")
    assert change is not None
    assert (change.hash != change.previous) is bool(key)
    assert told == ["db.password: '***' → '***' (set by ann)"]
    assert cfg["db.password"] == "letmein"
    back = cfg.rollback()
    assert back is not None
    assert (back.hash, cfg["db.password"]) == (first, "hunter2")
    cfg.set({"db.password": "swordfish"})
    assert cfg.rollback(first) is not None
    assert cfg["db.password"] == "hunter2"
