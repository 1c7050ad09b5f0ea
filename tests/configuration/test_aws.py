from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr

from modelkeep.configuration.lastgood import LastGood
from modelkeep.configuration.make import config
from modelkeep.configuration.sources.secretsmanager import Secretsmanager
from modelkeep.configuration.sources.ssm import Ssm
from modelkeep.core.errors import BadInput, Denied, Missing
from tests.configuration.following import each_is_seen
from tests.configuration.servers import KEYS, aws, house, post

pytestmark = pytest.mark.needs("moto_server")
_numbers = count()


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return house().server("moto").port


@pytest.fixture
def name() -> str:
    return f"app{next(_numbers)}"


@pytest.fixture
def guarded(port: int) -> Iterator[None]:
    """The server asks who it is and what they may."""
    assert post(port, "/moto-api/reset-auth", b"0")[0] == 200
    yield
    assert post(port, "/moto-api/reset-auth", b"inf")[0] == 200


def test_parameters_of_many_pages_with_secrets(port: int, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    client = aws("ssm", port)
    for number in range(12):
        client.put_parameter(Name=f"/{name}/k{number}", Value=str(number), Type="String")
    client.put_parameter(Name=f"/{name}/db/login", Value="hunter2x", Type="SecureString")
    client.put_parameter(Name=f"/{name}/hosts", Value="a,b", Type="StringList")
    where = f"ssm:///{name}?endpoint=http://127.0.0.1:{port}"
    with config(where) as cfg:
        assert cfg["k11"] == 11
        assert cfg["db.login"] == "hunter2x"
        assert cfg["hosts"] == "a,b"
        assert cfg.explain("k3").mark == f"ssm /{name}/k3"
        assert "hunter2x" not in repr(cfg) + repr(cfg.explain("db.login")) + repr(cfg.history())
        kept = LastGood(tmp_path_factory.mktemp("kept"), "a key of some length")
        kept.save("it", cfg.readings[0])
        again = kept.load("it")
        assert again is not None
        assert again.secrets == {"db.login"}


def test_each_change_of_a_parameter_is_seen(port: int, name: str) -> None:
    client = aws("ssm", port)
    where = f"ssm:///{name}?poll=0.02&endpoint=http://127.0.0.1:{port}"
    each_is_seen(
        where,
        lambda number: client.put_parameter(Name=f"/{name}/n", Value=str(number), Type="String", Overwrite=True),
        times=10,
    )


def test_a_secret_that_is_an_object_and_one_that_is_a_text(port: int, name: str) -> None:
    client = aws("secretsmanager", port)
    client.create_secret(Name=f"{name}/Object", SecretString=json.dumps({"user": "ann", "pass": "hunter2x", "port": 5}))
    client.create_secret(Name=f"{name}-text", SecretString="hunter3x")
    end = f"endpoint=http://127.0.0.1:{port}"

    class Login(BaseModel):
        user: str
        port: int

    class Database(BaseModel):
        login: Login
        key: SecretStr

    with config(
        Database,
        f"secretsmanager://{name}/Object?key=login&{end}",
        f"secretsmanager://{name}-text?key=key&{end}",
        strict=False,
    ) as cfg:
        assert cfg.value.login == Login(user="ann", port=5)
        assert cfg.value.key.get_secret_value() == "hunter3x"
        told = repr(cfg) + str(cfg.tree()) + repr(cfg.history()) + repr(cfg.explain("login.user"))
        assert not any(word in told for word in ("hunter2x", "hunter3x", "ann'"))
    whole = Secretsmanager(f"secretsmanager://{name}/Object?{end}")
    assert whole.read().secrets == {"user", "pass", "port"}
    whole.close()


def test_secrets_that_cannot_be_read(port: int, name: str) -> None:
    client = aws("secretsmanager", port)
    client.create_secret(Name=f"{name}-bytes", SecretBinary=b"\0")
    client.create_secret(Name=f"{name}-text", SecretString="hunter2x")
    end = f"endpoint=http://127.0.0.1:{port}"
    for identity, kind, reason in (
        (f"{name}-bytes", BadInput, "holds bytes"),
        (f"{name}-text", BadInput, "no JSON object"),
        (f"{name}-none", Missing, "no such thing"),
    ):
        source = Secretsmanager(f"secretsmanager://{identity}?{end}")
        with pytest.raises(kind, match=reason) as caught:
            source.read()
        assert "hunter2x" not in str(caught.value)
        source.close()


@pytest.mark.usefixtures("guarded")
def test_keys_that_aws_does_not_know(port: int, name: str) -> None:
    for made in (
        Ssm(f"ssm:///{name}?endpoint=http://127.0.0.1:{port}"),
        Secretsmanager(f"secretsmanager://{name}?endpoint=http://127.0.0.1:{port}"),
    ):
        with pytest.raises(Denied, match="refuses") as caught:
            made.read()
        assert KEYS["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)
        made.close()


def test_no_keys_at_all(port: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in KEYS:
        monkeypatch.delenv(key)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    where = f"ssm:///{name}?endpoint=http://127.0.0.1:{port}"
    source = Ssm(where)
    with pytest.raises(BadInput, match="region"):
        source.read()
    source = Ssm(f"{where}&region=eu-central-1")
    with pytest.raises(Denied, match="there are no credentials"):
        source.read()
    source = Ssm(f"{where}&region=eu-central-1&profile=nobody")
    with pytest.raises(BadInput, match="nobody"):
        source.read()


def test_a_path_that_aws_refuses(port: int) -> None:
    source = Ssm(f"ssm:///a{'/b' * 20}?endpoint=http://127.0.0.1:{port}")
    with pytest.raises((BadInput, Missing)):
        source.read()
    source.close()


@pytest.fixture
def ended(port: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """AWS' own variable says where Secrets Manager answers."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", f"http://127.0.0.1:{port}")
    return port


def test_references_to_secrets_of_aws_are_resolved_and_never_shown(ended: int, name: str, tmp_path: Path) -> None:
    client = aws("secretsmanager", ended)
    client.create_secret(Name=f"{name}/Db", SecretString=json.dumps({"user": "ann", "password": "hunter4x"}))
    client.create_secret(Name=f"{name}-key", SecretString="hunter5x")
    file = tmp_path / "app.yaml"
    file.write_text(
        f"db:\n  login: secret:aws:{name}/Db#password\n  whole: secret:aws:{name}-key\n"
        f"  url: pg://ann:${{secret:'aws:{name}/Db#password'}}@h/d\n  plain: ${{secret:aws:{name}-key}}-x\n  pool: 5\n"
    )
    with config(file) as cfg:
        assert (cfg["db.login"], cfg["db.whole"]) == ("hunter4x", "hunter5x")
        assert cfg["db.url"] == "pg://ann:hunter4x@h/d"
        assert cfg["db.plain"] == "hunter5x-x"
        told = repr(cfg) + str(cfg.tree()) + repr(cfg.history()) + repr(cfg.snapshot()) + repr(cfg.explain("db.url"))
        assert "hunter" not in told
        assert cfg.explain("db.login").mark == f"{file}:2"
        client.put_secret_value(SecretId=f"{name}-key", SecretString="hunter6x")
        change = cfg.refresh()
        assert change is not None
        assert [str(one) for one in change.differences] == [
            f"db.whole: '***' → '***' ({file}:3)",
            f"db.plain: '***' → '***' ({file}:5)",
        ]
        assert cfg["db.whole"] == "hunter6x"


def test_references_to_secrets_of_aws_that_cannot_be_resolved(ended: int, name: str) -> None:
    client = aws("secretsmanager", ended)
    client.create_secret(Name=f"{name}-text", SecretString="hunter7x")
    client.create_secret(Name=f"{name}-bytes", SecretBinary=b"hunter8x")
    client.create_secret(Name=f"{name}-number", SecretString='{"port": 5}')
    for identity, reason in (
        (f"{name}-none", "there is no such thing"),
        (f"{name}-text#password", "has no member 'password'"),
        (f"{name}-number#port", "is no text"),
        (f"{name}-bytes", "is no text"),
    ):
        with pytest.raises(BadInput, match=reason) as caught:
            config({"db": {"login": f"secret:aws:{identity}", "pool": 5}})
        assert f"secret:aws:{identity}" in str(caught.value)
        assert str(caught.value).startswith("an object db.login: ")
        assert "hunter" not in str(caught.value)


@pytest.mark.usefixtures("guarded")
def test_references_to_secrets_of_aws_without_the_right(ended: int, name: str) -> None:
    with pytest.raises(BadInput, match=rf"an object login: secret:aws:{name} refuses: \w+") as caught:
        config({"login": f"secret:aws:{name}"})
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)


def test_a_rotated_secret_reaches_the_process(port: int, name: str) -> None:
    client = aws("secretsmanager", port)
    client.create_secret(Name=name, SecretString='{"n": 0}')
    each_is_seen(
        f"secretsmanager://{name}?poll=0.02&endpoint=http://127.0.0.1:{port}",
        lambda number: client.put_secret_value(SecretId=name, SecretString=json.dumps({"n": number})),
        times=10,
    )
