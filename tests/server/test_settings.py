"""Settings: file, variables, options; everything wrong is named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput, Missing
from modelkeep.server.settings import Settings, explained, load, parse, reference


def test_options_win_over_variables_over_the_file() -> None:
    Path("modelkeep.yaml").write_text("port: 1\nhost: a\nclock: events\nlimits: {series: 5}\n")
    found = load(environment={"MODELKEEP_PORT": "2", "MODELKEEP_HOST": "b", "MODELKEEP_ALERTS_ALLOW": "x, y"}, port=3)
    assert (found.port, found.host, found.clock, found.limits.series) == (3, "b", "events", 5)
    assert found.alerts.allow == ["x", "y"]
    assert load(environment={}, data=Path("d")).folder == Path("d")


def test_without_anything_the_defaults_hold() -> None:
    assert load(environment={}) == Settings()
    assert parse("") == Settings()
    assert (Settings().port, Settings().host, Settings().data) == (7300, "127.0.0.1", ".modelkeep")


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ("port: 1\nlimitz: {}", "s.yaml:2: limitz is no setting", "Did you mean limits?"),
        ("limits:\n  serie: 3", "s.yaml:2: limits.serie is no setting", "Did you mean series?"),
        ("limits:\n  series: many", "s.yaml:2: limits.series: Expected `int`", ""),
        ("port: 99999", "s.yaml:1: port: Expected `int` <= 65535", ""),
        ("clock: moon", "s.yaml:1: clock: Invalid enum value 'moon'", ""),
        ("retention:\n  logs: soon", "s.yaml:2: retention.logs", ""),
        ("retention: 7d", "s.yaml:1: retention: Expected `object`", ""),
        ("port: 1\nport: 2", "s.yaml:2: port stands at line 1 already", ""),
        ("- port", "s.yaml:1: the top is not a mapping", ""),
        ("a: [", "s.yaml:2:1: did not find expected node content", ""),
        ("hots: []\nlimits: {serie: 1}", "s.yaml:1: hots is no setting\ns.yaml:2: limits.serie is no", "mean host"),
        ("port: !!python/name:os.system", "s.yaml:1: the tag !!python/name:os.system is refused", ""),
        ("alerts: {channels: [webhook]}", "s.yaml:1: alerts.channels", ""),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, says: str, hint: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(text, "s.yaml")
    assert says in caught.value.message
    assert hint in caught.value.hint


def test_anchors_inside_each_other_are_bounded() -> None:
    text = "hosts:\n- &a [" + ",".join("x" * 10) + "]\n"
    for level in range(6):
        text += f"- &{'bcdefg'[level]} [" + ",".join(f"*{'abcdef'[level]}" for _ in range(10)) + "]\n"
    with pytest.raises(BadInput, match=r"modelkeep\.yaml:\d+: aliases make [\d,]+ values of few"):
        parse(text)


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="there is no such file"):
        load(tmp_path / "none.yaml", environment={})
    (tmp_path / "bytes.yaml").write_bytes(b"port: 1\nhost: \xff\n")
    with pytest.raises(BadInput, match=r"bytes\.yaml:2: not UTF-8"):
        load(tmp_path / "bytes.yaml", environment={})


def test_names_of_secrets_stay_names() -> None:
    found = parse("alerts:\n  channels:\n  - {name: ops, kind: slack, url: 'secret:SLACK'}\n")
    assert found.channels[0]["url"] == "secret:SLACK"


def test_a_variable_is_named_when_it_is_wrong() -> None:
    with pytest.raises(BadInput, match="MODELKEEP_PORT: port"):
        load(environment={"MODELKEEP_PORT": "x"})


def test_every_setting_knows_who_said_what(tmp_path: Path) -> None:
    Path("modelkeep.yaml").write_text("limits:\n  series: 5\nhosts: [a]\n")
    found = {one.key: one for one in explained({"MODELKEEP_LIMITS_SERIES": "7"})}
    assert found["limits.series"].value == 7
    assert found["limits.series"].history == (
        ("default", 1_000_000), ("modelkeep.yaml:2", 5), ("MODELKEEP_LIMITS_SERIES", "7"),
    )  # fmt: skip
    assert (found["hosts"].mark, found["port"].mark) == ("modelkeep.yaml:3", "default")


def test_a_group_that_is_a_value_is_named_where_it_was_written() -> None:
    Path("modelkeep.yaml").write_text("port: 1\nlimits: 5\n")
    with pytest.raises(BadInput, match=r"modelkeep\.yaml:2: limits: expected keys and values"):
        load(environment={"MODELKEEP_LIMITS_SERIES": "7"})


@given(text=st.text(alphabet="ab:-[]{}&*!#'\"\n %|>1,", max_size=60))
def test_any_text_gives_settings_or_is_refused(text: str) -> None:
    try:
        parse(text)
    except BadInput as error:
        message = error.message
    else:
        message = "fine"
    assert message


def test_the_page_names_every_setting_and_variable() -> None:
    page = reference()
    for key in ("`limits.body_bytes`", "`MODELKEEP_RETENTION_LOGS`", "`alerts.channels`", "`disk_floor_bytes`"):
        assert key in page
