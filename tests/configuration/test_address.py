from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.configuration.address import Address, shown
from modelkeep.core.errors import BadInput, Error

SIGNS = st.characters(codec="utf-8", exclude_categories=["Z", "C"])


def test_parts() -> None:
    address = Address.parse("etcd://ann:p%40ss%2Fword@[::1]:2379/a%20b/?tls=1&token=x", ("tls", "token"))
    assert (address.scheme, address.host, address.port, address.path) == ("etcd", "::1", 2379, "a b")
    assert (address.user, address.password.reveal()) == ("ann", "p@ss/word")
    assert address.flag("tls")
    assert not address.flag("slash")
    assert address.options == {"tls": "1"}
    assert address.secret("token").reveal() == "x"
    assert not address.secret("other")
    assert repr(address) == "Address(etcd://ann:***@[::1]:2379/a%20b/)"


@given(
    (st.text(SIGNS, min_size=4, max_size=12) | st.text("@/?#:[],1b%", min_size=4, max_size=12)).filter(
        lambda text: "***" not in text and "app" not in text
    )
)
def test_no_password_is_shown_however_it_is_written(password: str) -> None:
    secret = f"Q{password}Q"  # nothing else in the address looks like it
    for scheme in ("redis", "postgresql+psycopg", "https"):
        text = f"{scheme}://ann:{secret}@127.0.0.1:1/app?token={secret}#{secret}"
        told = [shown(text)]
        try:
            address = Address.parse(text, ("token",))
            told += [repr(address), address.shown]
        except Error as error:
            told.append(repr(error))
        for line in told:
            for piece in (secret, secret[: len(secret) // 2 + 1], secret[len(secret) // 2 - 1 :]):
                assert piece not in line


@pytest.mark.parametrize("text", ["redis://h:x/1", "redis://[h/1", "redis://h:99999999/1"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(BadInput, match="no such address"):
        Address.parse(text)


def test_options_that_are_unknown_are_named_and_not_their_values() -> None:
    with pytest.raises(BadInput, match="no option 'colour'") as caught:
        Address.parse("redis://h/1?colour=hunter2", ("poll",))
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"
    for value in ("x", "-1", "0", "inf", "nan"):
        with pytest.raises(BadInput, match="no time in seconds"):
            Address.parse(f"redis://h/1?poll={value}", ("poll",)).seconds("poll", 1)
    assert Address.parse("redis://h/1?poll=", ("poll",)).seconds("poll", 1) == 1
