"""Cutting a message into words, by several threads at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from modelkeep.store.text import lines


def test_each_thread_has_an_analyzer_of_its_own() -> None:
    """One that works for a thread refuses every other, so that a search would fail while records come."""
    together = Barrier(4)

    def used(number: int) -> tuple[int, list[str]]:
        together.wait(20)
        found = id(lines._cutter.cut.__self__), lines.words(f"Card_number {number}.5 ms: FAILED")
        together.wait(20)
        return found

    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(used, range(4)))
    assert len({analyzer for analyzer, _ in told}) == 4
    assert [words for _, words in told] == [["card", "number", str(one), "5", "ms", "failed"] for one in range(4)]
