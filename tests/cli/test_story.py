"""What the demo concludes is what its figures bear out."""

from __future__ import annotations

from dataclasses import replace

from modelkeep.cli.demo.story import Month, alert_table, conclusion, month_table

CALM = Month("2013-03", 100, 97, 0.97, 0.68, 0.5, 0.21, 0.23, ("temp",))
BROKEN = replace(CALM, name="2013-04", auc=0.61, predicted=0.18, actual=0.29, drifted=("dewp", "temp"))
UNKNOWN = replace(CALM, name="2013-05", labels=0, auc=None, log_loss=None, predicted=None, actual=None)


def test_a_calm_month_is_not_called_damage() -> None:
    assert conclusion([CALM]).startswith("So far the model holds: in 2013-03, at worst, 21.0% late were predicted")


def test_damage_is_named_with_its_month_and_rates() -> None:
    told = conclusion([CALM, BROKEN, UNKNOWN])
    assert "AUC 0.61 to 0.68" in told
    assert "in 2013-04 18.0% late were predicted and 29.0% were" in told
    assert "Most features drifted in 2013-04 (2: dewp, temp)" in told


def test_without_labels_nothing_is_concluded() -> None:
    assert conclusion([UNKNOWN]) == "No month has enough labels yet to judge the model."
    assert month_table([UNKNOWN]).splitlines()[1].split()[:5] == ["2013-05", "100", "97.0%", "-", "-"]


def test_only_what_fired_is_listed() -> None:
    changes = [
        {"at": "t1", "rule": "A", "from": "inactive", "to": "pending", "value": 1.0, "labels": {}},
        {
            "at": "t2",
            "rule": "A",
            "from": "pending",
            "to": "firing",
            "value": 1.5,
            "labels": {"model": "m", "feature": "x"},
        },
    ]
    assert alert_table(changes).splitlines()[1:] == ["t2          A      1.5000  feature=x"]  # type: ignore[arg-type]
    assert alert_table([]) == "No alert fired."
