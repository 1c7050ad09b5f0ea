from __future__ import annotations

from contextlib import suppress
from itertools import count
from typing import Any

import pytest

from modelkeep.configuration.sources.bucket import Bucket
from modelkeep.core.errors import BadInput, Missing
from tests.configuration.following import each_is_seen
from tests.configuration.servers import KEYS, aws, house

_numbers = count()
moto = pytest.mark.needs("moto_server")


@pytest.fixture
def client() -> Any:
    made = aws("s3", house().server("moto").port)
    with suppress(made.exceptions.BucketAlreadyOwnedByYou):
        made.create_bucket(Bucket="conf", CreateBucketConfiguration={"LocationConstraint": KEYS["AWS_REGION"]})
    return made


@pytest.fixture
def key() -> str:
    return f"bucket{next(_numbers)}/app.yaml"


def address(key: str, poll: str = "0.02") -> str:
    port = house().server("moto").port
    return f"s3://conf/{key}?endpointurl=http://127.0.0.1:{port}&access_key_id=a&secret_access_key=b&poll={poll}"


@moto
def test_each_change_is_seen(client: Any, key: str) -> None:
    each_is_seen(
        address(key), lambda number: client.put_object(Bucket="conf", Key=key, Body=f"n: {number}".encode()), times=10
    )


@moto
def test_places_and_formats(client: Any, key: str) -> None:
    client.put_object(Bucket="conf", Key=key, Body=b"a:\n  b: 1\n")
    source = Bucket(address(key))
    assert str(source.read().mark("a.b")) == f"s3://conf/{key}:2"
    client.put_object(Bucket="conf", Key=f"{key}.txt", Body=b"a = 1")
    other = Bucket(f"{address(f'{key}.txt')}&format=toml")
    assert other.read().tree == {"a": 1}
    for one in (source, other):
        one.close()


@moto
def test_a_bucket_that_is_not_there(client: Any) -> None:
    source = Bucket(address("x.yaml").replace("s3://conf", "s3://nobody"))
    with pytest.raises(Missing):
        source.read()
    source.close()


@pytest.mark.parametrize("where", ["s3://", "s3://bucket", "s3://bucket/", "gs://x/", "az://"])
def test_addresses_without_an_object(where: str) -> None:
    with pytest.raises(BadInput, match="names no object"):
        Bucket(where)


def test_azure_by_either_name() -> None:
    for scheme in ("az", "abfs"):
        source = Bucket(f"{scheme}://conf/app.yaml?account_name=a&account_key=Y2FuYXJ5")
        assert source.name == f"{scheme}://conf/app.yaml"
        source.close()
