"""The contract of every protocol over HTTP."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput
from modelkeep.wire.form import Decoded, HttpForm, Sent, forms

ALL = sorted(forms().items())


@pytest.mark.parametrize(("path", "form"), ALL)
@given(body=st.binary(max_size=120))
def test_any_bytes_decode_or_are_refused(path: str, form: HttpForm, body: bytes) -> None:
    with suppress(BadInput):
        decoded = form.decode(path, body, Sent(now_ns=1))
        assert decoded.rows == sum(part.batch.num_rows for part in decoded.parts)


@pytest.mark.parametrize(("path", "form"), ALL)
def test_an_answer_is_json_that_says_what_was_kept(path: str, form: HttpForm) -> None:
    answer = json.loads(form.answer(path, Decoded("t", (), {"event": 3}), repeated=True))
    assert answer["kept"] == 3
    assert answer["repeated"] is True


def test_every_path_is_ours_once() -> None:
    assert len({path for path, _ in ALL}) == len(ALL) >= 7
    for path, form in ALL:
        assert path in form.paths
