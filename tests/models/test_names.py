"""Names of tags are GTO's, and what people ask for is told apart."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput
from modelkeep.models.names import (
    Asked,
    TagName,
    asked,
    bumped,
    check_model,
    check_stage,
    check_version,
    is_version,
    parse,
    precedence,
)

EDGE = string.ascii_letters + string.digits
PLAIN = st.builds(
    lambda first, middle, last: first + middle + last,
    st.sampled_from(EDGE),
    st.text(EDGE + "-_", max_size=6),
    st.sampled_from(EDGE),
)
NUMBERS = st.integers(0, 200)
MARKS = st.lists(st.one_of(NUMBERS.map(str), st.sampled_from(["rc", "alpha", "x-1", "0a"])), min_size=1, max_size=3)
VERSIONS = st.builds(
    lambda a, b, c, marks, build: f"v{a}.{b}.{c}" + (f"-{'.'.join(marks)}" if marks else "") + build,
    NUMBERS, NUMBERS, NUMBERS, st.none() | MARKS, st.sampled_from(["", "+7", "+sha.5114f85"]),
)  # fmt: skip
MODELS = st.one_of(PLAIN, st.builds("{}/{}".format, PLAIN, PLAIN), st.builds("{}:{}".format, PLAIN, PLAIN))
TAGS = st.one_of(
    st.builds(lambda m, v, n: TagName("register", m, v, "", n), MODELS, VERSIONS, NUMBERS),
    st.builds(lambda m, v, n: TagName("deregister", m, v, "", n), MODELS, VERSIONS, NUMBERS),
    st.builds(lambda m, s, n: TagName("assign", m, "", s, n), MODELS, PLAIN, NUMBERS),
    st.builds(lambda m, s, n: TagName("unassign", m, "", s, n), MODELS, PLAIN, NUMBERS),
    st.builds(lambda m, n: TagName("deprecate", m, "", "", n), MODELS, NUMBERS),
)


@given(TAGS)
def test_a_name_that_is_written_is_read_back(name: TagName) -> None:
    assert parse(str(name)) == name


@given(st.text(max_size=30) | st.text("ab/@#!:=v1.0-_", max_size=20))
def test_any_text_is_a_name_or_none(text: str) -> None:
    found = parse(text)
    assert found is None or str(found) == text or "#0" in text
    try:
        want = asked(text)
    except BadInput:
        return
    assert want.model
    assert bool(want.kind) == ("@" in text or "#" in text)


@pytest.mark.parametrize(
    "text",
    [
        "churn", "churn@", "churn@v1", "churn@v1.2", "churn@v01.2.3", "churn@v1.2.3.4", "churn@1.2.3", "churn#",
        "#prod", "churn#prod#", "churn#prod#x", "churn#-prod", "churn@created", "chürn@v1.0.0", "churn @v1.0.0",
        "churn@v1.0.0\n", "churn@v1.0.0!!", "a=b=c@v1.0.0!?", "-churn@v1.0.0", "churn@deprecated!",
    ],
)  # fmt: skip
def test_other_tags_are_left_alone(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("churn", Asked("churn")),
        ("churn@v1.10.0", Asked("churn", "version", "v1.10.0")),
        ("churn@1.10.0-rc.1", Asked("churn", "version", "v1.10.0-rc.1")),
        ("churn@5", Asked("churn", "number", "5")),
        ("churn#5", Asked("churn", "stage", "5")),
        ("churn@production", Asked("churn", "stage", "production")),
        ("churn#eu/production", Asked("churn", "stage", "eu/production")),
        ("churn@latest", Asked("churn", "latest", "latest")),
        ("churn@greatest", Asked("churn", "latest", "greatest")),
        ("churn@v1", Asked("churn", "line", "v1")),
        ("churn@1.2", Asked("churn", "line", "1.2")),
        ("churn@deadbee", Asked("churn", "stage", "deadbee")),
        ("churn@deadbee5", Asked("churn", "commit", "deadbee5")),
        ("teams/risk:credit-risk@v1.0.0", Asked("teams/risk:credit-risk", "version", "v1.0.0")),
        ("teams/risk/dvc.yaml:credit@dev", Asked("teams/risk:credit", "stage", "dev")),
        ("dvc.yaml:credit@dev", Asked("credit", "stage", "dev")),
    ],
)
def test_what_people_ask_for(text: str, want: Asked) -> None:
    assert asked(text) == want


@pytest.mark.parametrize(
    "text", ["", "@v1.0.0", "prévision@v1", "a b@5", "churn@pro duction", "churn@v1.0.0!", "churn@"]
)
def test_what_nobody_can_ask_for(text: str) -> None:
    with pytest.raises(BadInput):
        asked(text)


@pytest.mark.parametrize(
    "name",
    [
        "prévision", "模型", "a//b", "a/../b", "a.b", "a:b:c", "/a", "a/", "-a", "a-", "a.lock:b", "./a:b", "a b", "",
        "a@b", "a#b", "a\n",
    ],
)  # fmt: skip
def test_names_that_git_or_gto_refuse(name: str) -> None:
    with pytest.raises(BadInput, match="no name for a model"):
        check_model(name)
    if ":" not in name:
        with pytest.raises(BadInput, match="no name for a stage"):
            check_stage(name)


def test_versions_have_semver_order() -> None:
    order = [
        "v0.9.9", "v1.0.0-1", "v1.0.0-2", "v1.0.0-11", "v1.0.0-alpha", "v1.0.0-alpha.1", "v1.0.0-alpha.beta",
        "v1.0.0-beta", "v1.0.0-beta.2", "v1.0.0-beta.11", "v1.0.0-rc.1", "v1.0.0", "v1.0.1", "v1.9.0",
        "v1.10.0", "v10.0.0",
    ]  # fmt: skip
    assert sorted(order[1:] + order[:1], key=precedence) == order


@given(VERSIONS, st.sampled_from(["major", "minor", "patch"]))
def test_the_next_version_is_higher_and_a_release(version: str, part: str) -> None:
    after = bumped(version, part)  # type: ignore[arg-type]
    assert is_version(after)
    assert precedence(after)[:3] > precedence(version)[:3]
    assert "-" not in after
    assert check_version(after[1:]) == after


@pytest.mark.parametrize("text", ["1.2", "v1.2", "v1.2.3.4", "v01.0.0", "latest", "", "v1.2.3-", "v1.2.3-01", "v١.٢.٣"])
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(BadInput, match="no version"):
        check_version(text)
