"""The arguments of one call, evaluated when asked for and of the type asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import promql_parser as ast

from modelkeep.core.errors import BadInput
from modelkeep.metrics.promql.result import Values
from modelkeep.metrics.promql.selection import Selection
from modelkeep.metrics.promql.values import Frame, Ranged, Scalar, Text, Value, Vector


@dataclass(frozen=True, slots=True)
class Arguments:
    """What one function or aggregation was given.

    Args:
        nodes: the arguments' trees.
        frame: the steps.
        value: evaluates a tree.
        selection: asks the sources.
    """

    nodes: Sequence[ast.Expr]
    frame: Frame
    value: Callable[[ast.Expr, Frame], Value]
    selection: Selection

    def __len__(self) -> int:
        return len(self.nodes)

    def vector(self, at: int) -> Vector:
        """Gives an argument as an instant vector."""
        value = self.value(self.nodes[at], self.frame)
        if not isinstance(value, Vector):
            raise BadInput(f"query: {self.nodes[at].prettify()} is not an instant vector")
        return value

    def scalar(self, at: int) -> Values:
        """Gives an argument as one number per step: shape (k,)."""
        value = self.value(self.nodes[at], self.frame)
        if not isinstance(value, Scalar):
            raise BadInput(f"query: {self.nodes[at].prettify()} is not a number")
        return value.values

    def text(self, at: int) -> str:
        """Gives an argument as a string."""
        value = self.value(self.nodes[at], self.frame)
        if not isinstance(value, Text):
            raise BadInput(f"query: {self.nodes[at].prettify()} is not a string")
        return value.text

    def ranged(self, at: int) -> Ranged:
        """Gives an argument as a range vector."""
        value = self.value(self.nodes[at], self.frame)
        if not isinstance(value, Ranged):
            raise BadInput(f"query: {self.nodes[at].prettify()} is not a range vector")
        return value
