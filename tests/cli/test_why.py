"""`modelkeep why` on a server whose rule fires after a deploy: the commit is first, in the message and on screen."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from modelkeep.cli.commands import modelkeep
from modelkeep.core.clock import HOUR, MINUTE
from modelkeep.core.encoding import Samples
from modelkeep.server.settings import AlertSettings
from tests.server.conftest import Running, running
from tests.server.test_models import A, B, send, served, trained

RULES = """groups:
- name: g
  rules:
  - alert: Slow
    expr: latency > 1
    annotations: {clock: wall, summary: "{{ $labels.model }} is slow"}
"""
CHURN = {"remote": "https://github.com/team/churn.git"}


@pytest.fixture(scope="module")
def fired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """churn 2 took over an hour ago, then its latency rose; another model was deployed in between."""
    folder, now = tmp_path_factory.mktemp("why"), time.time_ns()
    (folder / "rules.yaml").write_text(RULES)
    alerts = AlertSettings(rules=[str(folder / "rules.yaml")], defaults=False, every="1h")
    with running(folder / "data", alerts=alerts) as server:
        extra = json.dumps(CHURN)
        served(server, "r1", "churn", "1", now - 9 * HOUR, code=A, author="ann <a@x>", extra=extra)
        trained(server, "t1", "churn", "2", now - 3 * HOUR)
        served(server, "r2", "churn", "2", now - HOUR, code=B, author="cy <c@x>", extra=extra)
        served(server, "o1", "other", "1", now - 30 * MINUTE, code=A)
        labels = {"__name__": "latency", "model": "churn"}
        send(server, samples=[Samples([labels], [0, 0], [now - MINUTE, now], [5.0, 5.0])])
        assert server.house.caught_up()
        server.house.evaluate()
        server.house.alerts.deliver(wait_s=5)
        yield server


@pytest.fixture
def run(fired: Running, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("MODELKEEP_URL", fired.serving.url)
    return CliRunner()


def why(run: CliRunner, *words: str) -> Result:
    done = run.invoke(modelkeep, ["why", *words])
    assert done.exit_code == 0, (done.output, done.exception)
    return done


def test_the_message_of_the_alert_names_the_commit(fired: Running) -> None:
    (posting,) = fired.house.alerts.outbox()
    (line,) = [line for line in posting.message.text.splitlines() if line.startswith("changed: ")]
    assert "before: churn 2 took over from 1: code aaaaaaaa → bbbbbbbb by cy <c@x>" in line
    assert f"https://github.com/team/churn/compare/{A}...{B}" in line
    (alert,) = fired.get("/api/v1/alerts", state="firing")["alerts"]  # type: ignore[misc]
    assert alert["annotations"]["changed"] == line.removeprefix("changed: ")


def test_the_list_of_alerts_names_it_too(run: CliRunner, fired: Running) -> None:
    (alert,) = fired.house.alerts.list("firing")
    lines = run.invoke(modelkeep, ["alert", "list"]).output.splitlines()
    assert "churn 2 took over from 1: code aaaaaaaa → bbbbbbbb by cy <c@x>" in lines[-2]
    assert lines[-1] == f"  modelkeep why {alert.instance.id}"


@pytest.mark.parametrize("words", [(), ("Slow",), ("churn",)])
def test_the_commit_is_first_among_what_changed(run: CliRunner, words: tuple[str, ...]) -> None:
    lines = why(run, *words).output.splitlines()
    first = next(line for line in lines if line.lstrip().startswith("1 "))
    assert "churn 2 took over from 1: code aaaaaaaa → bbbbbbbb  by cy <c@x>" in first
    place = lines.index(first)
    assert lines[place + 1].strip() == f"https://github.com/team/churn/compare/{A}...{B}"
    assert lines[place + 2].strip() == "modelkeep code diff r1 r2"
    text = "\n".join(lines)
    assert text.index("What changed before it:") < text.index("What may have led to that:") < text.index("Elsewhere:")
    if words != ("churn",):
        assert lines[:2] == ["Slow  model=churn", "churn is slow"]
        assert lines[2].startswith("firing, its condition holds since 20")


def test_programs_read_the_same(run: CliRunner, fired: Running) -> None:
    (alert,) = fired.house.alerts.list("firing")
    told = json.loads(why(run, alert.instance.id[:8], "--json").output)
    assert (told["alert"]["rule"], told["model"], told["changes"][0]["id"]) == ("Slow", "churn", "r2")
    assert told["count"] == 4
    few = why(run, "Slow", "--limit", "1").output
    assert few.rstrip().endswith("3 more: --limit 4")


def test_another_moment_has_other_causes(run: CliRunner) -> None:
    text = why(run, "churn", "--at", "now-2h").output
    assert "churn 1 served for the first time" in text
    assert "took over" not in text
    nothing = why(run, "Slow", "--since", "now-2m", "--at", "now-1m").output
    assert "Nothing is known to have changed since" in nothing
    assert "modelkeep drift show churn" in nothing


def test_what_nobody_knows_is_said(run: CliRunner) -> None:
    done = run.invoke(modelkeep, ["why", "Nothing"])
    assert done.exception is not None
    assert "'Nothing' is neither an alert nor a model" in str(done.exception)


def test_without_an_alert_and_without_a_word_the_command_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path / "data") as server:
        monkeypatch.setenv("MODELKEEP_URL", server.serving.url)
        done = CliRunner().invoke(modelkeep, ["why"])
        assert "no alert fires now" in str(done.exception)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model", "timeline", "churn"], ["churn 2", "churn 1", "bbbbbbbb", "cy <c@x>"]),
        (["model", "timeline", "--version", "9"], ["Nothing served."]),
        (["model", "share", "churn", "--by", "all"], ["50.0%"]),
        (["model", "lineage", "churn"], ["training of churn 2", "← model churn@2", "alert", "Slow"]),
        (["model", "lineage", "--alert", "Slow"], ["10 predictions", "Slow"]),
        (["model", "lineage", "--code", A[:9]], ["churn 1", "other 1"]),
        (["model", "trainings"], ["churn 2", "finished", "auc 0.9100", "bob"]),
    ],
)
def test_what_served_is_shown(run: CliRunner, words: list[str], said: list[str]) -> None:
    done = run.invoke(modelkeep, words)
    assert done.exit_code == 0, (done.output, done.exception)
    for text in said:
        assert text in done.output, done.output
    told = run.invoke(modelkeep, [*words, "--json"])
    assert isinstance(json.loads(told.output), dict)
