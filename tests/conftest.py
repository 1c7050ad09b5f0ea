"""What every test may use: real services by name, and hypothesis profiles."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.peers import found

settings.register_profile("ci", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", max_examples=5_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips a test whose real service is missing, by name; in CI that is a failure."""
    for mark in item.iter_markers("needs"):
        for name in mark.args:
            if found(name) is None:
                reason = f"{name} not found: python3 scripts/dev.py services"
                if os.environ.get("MODELKEEP_REQUIRE_SERVICES") == "1":
                    pytest.fail(reason, pytrace=False)
                pytest.skip(reason)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the machine reaches a test, and nothing is written outside its own folder."""
    for name in [name for name in os.environ if name.startswith("MODELKEEP_") and name != "MODELKEEP_REQUIRE_SERVICES"]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
