from __future__ import annotations

import json
import math
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.alerts.rules import humanize
from modelkeep.alerts.rules.template import Template
from modelkeep.core.errors import BadInput

TEXTS = [
    "{{ $value }}",
    "{{$value|humanize}}",
    "{{ $value | humanize1024 }}B",
    "{{ $value | humanizeDuration }}",
    "{{ $value | humanizePercentage }}",
    "{{ humanize $value }}",
    '{{ printf "%.2f" $value }}',
    '{{ $value | printf "%6.1f|" }}',
    '{{ printf "%e %g %v %%" $value $value $value }}',
    '{{ printf "%s:%q" $labels.job .Labels.job }}',
    "a {{- $labels.job -}} b",
    "{{ $labels.nothing }}.",
    "{{ $labels.job | toUpper }} {{ $labels.job | title }} {{ .Value }}",
    "{{/* aside */}}plain { } text",
    '{{ `raw` }} {{ "quoted \\" text" }}',
]
VALUES = [
    0.0,
    1.0,
    -2.5,
    0.3,
    1234567.0,
    1e21,
    1.5e-7,
    1e-5,
    1023.0,
    1024.0,
    86_399.0,
    90_061.5,
    0.0001234,
    123456789.0,
    59.99,
    3e25,
]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{{ $value", "without"),
        ("{{ range .X }}", "'.X' is not known here"),
        ("{{ }}", "is empty"),
        ("{{ | humanize }}", r"nothing beside \|"),
        ("{{ $labels }}", r"'\$labels' is not known here"),
        ("{{ $value.x }}", "is not known here"),
        ("{{ humanize }}", "takes one value, not 0"),
        ("{{ humanize $value $value }}", "takes one value, not 2"),
        ("{{ $value humanize }}", "cannot be called"),
        ("{{ (humanize $value) }}", "is not known here"),
        ('{{ printf "%d" $value }}', "%d does not fit a number"),
        ('{{ printf "%f" $labels.job }}', "%f does not fit a text"),
        ('{{ printf "%.2f" }}', "1 places in the format, 0 values"),
        ('{{ printf "x" $value }}', "0 places in the format, 1 values"),
        ("{{ printf $value }}", "needs a format"),
        ('{{ printf "%" $value }}', "does not fit"),
        ("{{ $externalURL }}", "is not known here"),
        ("{{ if $value }}x{{ end }}", "'if' is not known here"),
    ],
)
def test_what_is_not_known_is_refused_when_loaded(text, reason):
    with pytest.raises(BadInput, match=reason):
        Template(text)


def test_values_of_labels_are_text_and_never_templates():
    evil = "{{ $value }}<script>"
    assert Template("{{ $labels.x }}").fill({"x": evil}, 1) == evil


@given(st.text(max_size=60), st.floats())
def test_any_text_fills_or_is_refused(text, value):
    with suppress(BadInput):
        Template(text).fill({"job": "x"}, value)
    with suppress(BadInput):
        Template("{{" + text + "}}").fill({"job": text}, value)


@given(st.floats())
def test_every_number_can_be_read(value):
    for shown in (
        humanize.humanize,
        humanize.humanize1024,
        humanize.humanize_duration,
        humanize.humanize_percentage,
        humanize.humanize_timestamp,
    ):
        assert shown(value)
    text = humanize.number(value)
    if not math.isnan(value):
        assert float(text) == value


@pytest.mark.needs("prometheus")
def test_texts_are_what_prometheus_makes_of_them(tmp_path: Path):
    """One alert a text and value; promtool fills them with its own templates."""
    promtool = shutil.which("promtool")
    assert promtool, "promtool comes with prometheus"
    rules, expected, series = [], [], []
    for at, text in enumerate(TEXTS):
        expr = "x < 1e18" if "Duration" in text else "x"  # beyond, Prometheus' own whole seconds overflow
        rules.append({"alert": f"A{at}", "expr": expr, "annotations": {"text": text}})
    for at, value in enumerate(VALUES):
        series.append({"series": f'x{{job="ab cd", n="{at}"}}', "values": humanize.number(value)})
    for at, text in enumerate(TEXTS):
        alerts = [
            {
                "exp_labels": {"job": "ab cd", "n": str(n)},
                "exp_annotations": {"text": Template(text).fill({"job": "ab cd", "n": str(n)}, value)},
            }
            for n, value in enumerate(VALUES)
            if value < 1e18 or "Duration" not in text
        ]
        expected.append({"eval_time": "0m", "alertname": f"A{at}", "exp_alerts": alerts})
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": [{"name": "g", "rules": rules}]}))
    tests = {
        "rule_files": ["rules.yaml"],
        "tests": [{"interval": "1m", "input_series": series, "alert_rule_test": expected}],
    }
    (tmp_path / "test.yaml").write_text(json.dumps(tests))
    done = subprocess.run(
        [promtool, "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
