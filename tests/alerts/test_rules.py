from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.alerts.rules import default_rules, load_rules, parse_rules
from modelkeep.alerts.rules.expression import clock_of, parse
from modelkeep.core.clock import HOUR, MINUTE, SECOND
from modelkeep.core.errors import BadInput, Missing

FILE = """
groups:
- name: a
  interval: 30s
  limit: 10
  labels: {team: ml}
  rules:
  - alert: Down
    expr: up == 0
    for: 1h30m
    keep_firing_for: 5m
    labels:
      severity: page
    annotations:
      summary: "{{ $labels.job }} is down"
- name: b
  rules:
  - alert: Slow
    expr: model_latency > 1
"""


def refusal(text: str) -> str:
    with pytest.raises(BadInput) as caught:
        parse_rules(text, file="r.yaml")
    return caught.value.message


def rule(body: str) -> str:
    return "groups:\n- name: g\n  rules:\n  - " + body.replace("\n", "\n    ")


def test_a_file_is_read():
    a, b = parse_rules(FILE, interval_ns=MINUTE)
    assert (a.name, a.interval_ns, a.limit, a.clock) == ("a", 30 * SECOND, 10, "wall")
    assert (b.interval_ns, b.clock, b.rules[0].for_ns) == (MINUTE, "events", 0)
    down = a.rules[0]
    assert (down.for_ns, down.keep_ns, down.where) == (HOUR + 30 * MINUTE, 5 * MINUTE, "rules:8")
    assert down.alert_labels({"job": "x", "__name__": "up"}, 0) == {
        "job": "x",
        "team": "ml",
        "severity": "page",
        "alertname": "Down",
    }
    assert down.texts({"job": "x"}, 0) == {"summary": "x is down"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("groups: 5", "r.yaml:1: groups: expected a list"),
        ("group: []", "r.yaml:1: group: unknown key"),
        ("{}", "r.yaml:1: groups: missing"),
        ("- 1", "r.yaml:1: file: expected keys and values"),
        ("groups: []\n---\ngroups: []", "r.yaml:3: file: a second document"),
        ("groups: [", "r.yaml:1: expected the node content, but found '<stream end>'"),
        ("groups:\n- name: g", "r.yaml:2: rules: missing"),
        ("groups:\n- name: g\n  name: h\n  rules: []", "r.yaml:3: name: given twice, first in line 2"),
        ("groups:\n- name: g\n  rules: []\n- name: g\n  rules: []", "r.yaml: group 'g' is given twice"),
        (rule("alert: A"), "r.yaml:4: expr: missing"),
        (rule("expr: up"), "r.yaml:4: alert: missing"),
        (rule("record: a\nexpr: up"), "r.yaml:4: record: recording rules are not built yet"),
        (rule("alert: A\nexpr: up\nfore: 5m"), "r.yaml:6: fore: unknown key"),
        (rule("alert: A\nexpr: up\nfor: 5 minutes"), "r.yaml:6: for: '5 minutes' is not a duration"),
        (rule("alert: A\nexpr: up[5m]"), "r.yaml:5: expr: 'up[5m]' gives no number at a moment"),
        (rule("alert: A\nexpr: sum("), "r.yaml:5: expr: 'sum(': unclosed left parenthesis"),
        (rule("alert: A\nexpr: up\nlabels: {alertname: x}"), "r.yaml:6: labels.alertname: cannot be a name here"),
        (rule("alert: A\nexpr: up\nlabels: {a-b: x}"), "r.yaml:6: labels.a-b: cannot be a name here"),
        (
            rule("alert: A\nexpr: up\nannotations: {s: '{{ query \"up\" }}'}"),
            "r.yaml:6: annotations.s: '{{ query \"up\" }}': 'query' is not known here",
        ),
        (rule("alert: A\nexpr: up\nannotations: {clock: moon}"), "r.yaml:6: clock: expected wall or events"),
        (rule("alert: A\nexpr: [up]"), "r.yaml:5: expr: expected a text"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text, message):
    assert refusal(text) == message


@pytest.mark.parametrize(
    "expr", ["(" * 9_000, "-" * 9_000 + "x", "x" + "+x" * 4_000, "x" * 20_000, "sum " * 2_000 + "x"]
)
def test_an_expression_that_would_choke_the_parser_is_refused_at_once(expr):
    assert len(refusal(rule(f"alert: A\nexpr: '{expr}'"))) < 500
    assert len(refusal(rule("alert: A\nexpr: up\nannotations: {a: '" + "{{" * 3_000 + "'}"))) < 500


def test_tags_make_no_objects():
    [group] = parse_rules(rule("alert: !!python/object/apply:os.system A\nexpr: up"))
    assert group.rules[0].name == "A"


def test_a_bomb_of_aliases_is_refused_at_once():
    rows = ["- &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"- &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    refusal("groups:\n" + "\n".join(rows))
    rows = ["  - &b0 {a: x, b: x}", *[f"  - &b{n} {{a: *b{n - 1}, b: *b{n - 1}}}" for n in range(1, 40)]]
    refusal("groups:\n- name: g\n  rules:\n" + "\n".join(rows))
    refusal("groups: " + "[" * 100_000)
    assert refusal("x" * 2_000_000) == "r.yaml: more than 1000000 bytes"


def test_a_group_of_two_clocks_becomes_two():
    mixed = parse_rules(
        "groups: [{name: g, rules: [{alert: A, expr: model_quality < 1}, {alert: B, expr: absent(model_quality)},"
        " {alert: C, expr: model_x == 0, annotations: {clock: wall}}]}]"
    )
    assert [(group.key, [one.name for one in group.rules]) for group in mixed] == [
        ("g/events", ["A"]),
        ("g/wall", ["B", "C"]),
    ]
    assert mixed[1].rules[1].annotations == ()


def test_the_clock_of_an_expression():
    assert clock_of("predict_linear(host_disk_free_bytes[6h], 3600) < 0") == "wall"
    assert clock_of('{__name__=~"modelkeep_.*_total"} > 0') == "wall"
    assert clock_of("host_cpu_ratio > 0 and model_quality > 0") == "events"
    assert clock_of("vector(1)") == "events"
    assert clock_of("sum(absent_over_time(model_x[5m]))") == "wall"
    assert clock_of("max_over_time(host_x[5m:1m]) > topk(1, host_y)") == "wall"


def test_files_are_found_by_pattern_and_groups_of_the_same_name_kept_apart(tmp_path: Path):
    (tmp_path / "a.yaml").write_text(FILE)
    (tmp_path / "b.yaml").write_text(FILE)
    groups = load_rules([str(tmp_path / "*.yaml")])
    assert [group.name for group in groups] == ["a", "b", "b/a", "b/b"]
    keys = [one.prefix for group in groups for one in group.rules]
    assert len(set(keys)) == 4
    assert load_rules([str(tmp_path / "none*.yaml")]) == []
    with pytest.raises(Missing, match="no such rule file"):
        load_rules([str(tmp_path / "none.yaml")])


def test_two_rules_of_one_name_and_labels_have_alerts_of_their_own():
    [group] = parse_rules("groups: [{name: g, rules: [{alert: A, expr: x > 1}, {alert: A, expr: x > 2}]}]")
    first, second = group.rules
    assert first.identity(()) != second.identity(())


def test_empty_files_and_yaml_scalars():
    assert parse_rules("") == []
    assert parse_rules("groups:") == []
    [group] = parse_rules("groups: [{name: 7, rules: [{alert: A, expr: 1, for: 0, labels: {n: 1, e: }}]}]")
    assert group.name == "7"
    assert group.rules[0].alert_labels({}, 1) == {"n": "1", "alertname": "A"}


@given(st.text(max_size=200) | st.binary(max_size=100))
def test_any_text_is_rules_or_bad_input(text):
    with suppress(BadInput):
        parse_rules(text)


@given(
    st.recursive(
        st.sampled_from(["up", "1", "groups", "name", "rules", "alert", "expr", "5m"]),
        lambda below: (
            st.lists(below, max_size=3)
            | st.dictionaries(
                st.sampled_from(["groups", "name", "rules", "alert", "expr", "for", "labels"]), below, max_size=4
            )
        ),
    )
)
def test_any_tree_is_rules_or_bad_input(tree):
    import json

    with suppress(BadInput):
        parse_rules(json.dumps(tree))


def test_every_default_rule_says_what_it_is_about():
    names = [one.name for group in default_rules() for one in group.rules]
    assert len(set(names)) == len(names) >= 12
    for group in default_rules():
        for one in group.rules:
            parse(one.expr)
            assert {name for name, _ in one.annotations} == {"summary", "description"}
            assert dict(one.labels).keys() == {"severity"}
            assert group.clock == one.clock


@pytest.mark.needs("prometheus")
def test_prometheus_takes_the_default_rules(tmp_path: Path):
    source = Path(__file__).parents[2] / "src/modelkeep/alerts/rules/default.yaml"
    promtool = shutil.which("promtool")
    assert promtool, "promtool comes with prometheus"
    done = subprocess.run([promtool, "check", "rules", source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
