"""Two-step rollout of a configuration: to a share of the processes first, then to all or back.

Who belongs to the share follows from the process' identity and the configuration's hash alone, so that every process
knows it without asking anybody. Errors and latency of both groups are given by a function that is passed in.

    rollout = Rollout(change.hash, previous=change.previous, share=0.1, effect=measured)
    while rollout.step() == "canary":
        time.sleep(10)
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from modelkeep.core.errors import BadInput, Conflict, Error

if TYPE_CHECKING:
    from modelkeep.configuration.config import Config

State = Literal["canary", "all", "back"]
_POINTS: Final = 1 << 53


@dataclass(frozen=True, slots=True)
class Group:
    """How one group of processes did since the rollout began.

    Args:
        count: requests, predictions or whatever is counted.
        errors: how many of them failed.
        latency_s: the latency that is compared, such as the 99th percentile; NaN when nothing was measured.
    """

    count: int
    errors: int = 0
    latency_s: float = math.nan

    @property
    def error_rate(self) -> float:
        """Share of failures, 0 to 1; 0 when nothing was counted."""
        return self.errors / self.count if self.count else 0.0


@dataclass(frozen=True, slots=True)
class Effect:
    """The two groups side by side."""

    canary: Group
    rest: Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What sends a configuration to all, and what sends it back.

    Args:
        least_s: how long it is watched at least.
        most_s: after this it goes back when there is still too little to judge by.
        least_count: how much must be counted in the canary group.
        errors: how much higher its error rate may be, as a share of all (0.01 is one of a hundred).
        latency: how much longer its latency may be, as a factor.
        sigmas: by how many standard deviations an error rate must differ to be more than chance.
    """

    least_s: float = 300.0
    most_s: float = 3600.0
    least_count: int = 100
    errors: float = 0.01
    latency: float = 1.5
    sigmas: float = 3.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One step of a rollout, as it is recorded."""

    at_ns: int
    state: State
    reason: str
    hash: str
    previous: str
    share: float
    author: str = ""
    effect: Effect | None = None


class Rollout:
    """One configuration on its way; thread-safe.

    Args:
        hash: of the configuration that is rolled out.
        previous: of the one that it replaces.
        share: of the processes that get it first, above 0 and at most 1.
        effect: gives how both groups did since the rollout began (nanoseconds since 1970 are passed to it).
        limits: what decides.
        record: is told of every turn.
        clock: seconds that never go back.
        author: who began it.
        reason: why.

    Raises:
        BadInput: the share is out of range, or both configurations are the same.
    """

    def __init__(
        self,
        hash: str,  # noqa: A002 - it is what it is called everywhere
        *,
        previous: str,
        share: float,
        effect: Callable[[int], Effect],
        limits: Limits = Limits(),
        record: Callable[[Turn], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        author: str = "",
        reason: str = "",
    ) -> None:
        if not 0 < share <= 1:
            raise BadInput(f"a share of {share} is no share", hint="Give a number above 0 and at most 1.")
        if hash == previous:
            raise BadInput("both configurations are the same")
        self.hash: Final = hash
        self.previous: Final = previous
        self.share: Final = share
        self._effect, self._limits, self._record, self._clock = effect, limits, record, clock
        self._began_ns, self._began = time.time_ns(), clock()
        self._state: State = "canary"
        self._lock = threading.RLock()
        self._turns: list[Turn] = []
        self._turn("canary", reason or "begun", author)

    @property
    def state(self) -> State:
        """Where it stands."""
        return self._state

    def turns(self) -> list[Turn]:
        """Gives every step so far, in order."""
        return list(self._turns)

    def includes(self, identity: str) -> bool:
        """Says whether a process has the new configuration now.

        Args:
            identity: what tells it from the others and stays the same: a host's name and a worker's number.
        """
        return self._state == "all" or (self._state == "canary" and member(identity, self.share, salt=self.hash))

    def step(self) -> State:
        """Looks at the effect and decides; gives the state after it. To be called again and again.

        A function of effects that fails decides nothing; time goes on.
        """
        with self._lock:
            if self._state != "canary":
                return self._state
            passed = self._clock() - self._began
            try:
                effect = self._effect(self._began_ns)
            except Error as error:
                if passed >= self._limits.most_s:
                    self._turn("back", f"nothing is known of its effect after {passed:.0f} s: {error.message}")
                return self._state
            found = judge(effect, self._limits)
            if found:
                self._turn("back", found, effect=effect)
            elif passed >= self._limits.least_s and effect.canary.count >= self._limits.least_count:
                self._turn("all", f"no worse in {passed:.0f} s and {effect.canary.count:,} counted", effect=effect)
            elif passed >= self._limits.most_s:
                few = f"only {effect.canary.count:,} counted after {passed:.0f} s"
                self._turn("back", few, effect=effect)
            return self._state

    def finish(self, *, author: str, reason: str = "") -> None:
        """Sends it to all now.

        Raises:
            Conflict: it is decided already.
        """
        self._by_hand("all", author, reason)

    def back(self, *, author: str, reason: str = "") -> None:
        """Sends it back now, also when it is everywhere.

        Raises:
            Conflict: it is back already.
        """
        self._by_hand("back", author, reason)

    def gate(self, identity: str) -> Callable[[str], bool]:
        """Gives a function that says whether a process may apply a configuration, for `Config.gate`.

        Configurations that this rollout is not about pass.
        """
        return lambda hash: hash != self.hash or self.includes(identity)  # noqa: A006

    def settle(self, config: Config[Any], identity: str) -> None:
        """Brings a process to what it should have: applies what was held back, or puts the previous one back."""
        if self.includes(identity):
            config.release()
        elif config.hash == self.hash:
            config.rollback(self.previous, reason=self._turns[-1].reason)

    def _by_hand(self, state: State, author: str, reason: str) -> None:
        with self._lock:
            if self._state in {state, "back"}:
                raise Conflict(f"the rollout of {self.hash[:12]} is decided: {self._state}")
            self._turn(state, reason or "by hand", author)

    def _turn(self, state: State, reason: str, author: str = "", *, effect: Effect | None = None) -> None:
        self._state = state
        turn = Turn(time.time_ns(), state, reason, self.hash, self.previous, self.share, author, effect)
        self._turns.append(turn)
        if self._record is not None:
            self._record(turn)


def member(identity: str, share: float, *, salt: str = "") -> bool:
    """Says whether an identity belongs to a share; a larger share holds every member of a smaller one.

    >>> sum(member(f"host-{number}", 0.1) for number in range(10_000)) in range(900, 1100)
    True
    """
    digest = hashlib.sha256(f"{salt}\0{identity}".encode(errors="surrogatepass")).digest()
    return (int.from_bytes(digest[:8]) >> 11) / _POINTS < share


def judge(effect: Effect, limits: Limits) -> str:
    """Gives why the canary group is worse; empty when it is not, or too little is known.

    >>> judge(Effect(Group(1000, 50), Group(9000, 90)), Limits())
    'errors 5.00 % instead of 1.00 %'
    """
    canary, rest = effect.canary, effect.rest
    if canary.count < limits.least_count:
        return ""
    total = canary.count + rest.count
    pooled = (canary.errors + rest.errors) / total
    chance = math.sqrt(pooled * (1 - pooled) * (1 / canary.count + 1 / max(1, rest.count))) if 0 < pooled < 1 else 0.0
    if canary.error_rate - rest.error_rate > max(limits.errors, limits.sigmas * chance):
        return f"errors {canary.error_rate:.2%} instead of {rest.error_rate:.2%}".replace("%", " %")
    if rest.latency_s > 0 and canary.latency_s > limits.latency * rest.latency_s:
        return f"latency {canary.latency_s:.3g} s instead of {rest.latency_s:.3g} s"
    return ""
