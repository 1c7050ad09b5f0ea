"""The demo's model: gradient boosting that tells before the day whether a flight will arrive late."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier  # type: ignore[import-untyped]

from modelkeep.cli.demo.flights import FEATURES, NUMBERS

NAME: Final = "flight-delay"
VERSION: Final = "2013.02"


class Delays:
    """Learns from the flights of 1 January to 14 February.

    Args:
        frame: rows of `flights()` with a known `late`.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self._levels = {name: sorted(frame[name].unique()) for name in FEATURES if name not in NUMBERS}
        categorical = [name not in NUMBERS for name in FEATURES]
        self._trees = HistGradientBoostingClassifier(random_state=7, categorical_features=categorical)
        self._trees.fit(self._matrix(frame), frame["late"].to_numpy())

    def score(self, frame: pd.DataFrame) -> npt.NDArray[np.float64]:
        """Gives each flight's probability of arriving late, shape (n,)."""
        scores: npt.NDArray[np.float64] = self._trees.predict_proba(self._matrix(frame))[:, 1]
        return scores

    def _matrix(self, frame: pd.DataFrame) -> npt.NDArray[np.float64]:
        """Gives the features as numbers; a category never seen in training is missing."""
        columns = []
        for name in FEATURES:
            if name in self._levels:
                codes = pd.Categorical(frame[name], categories=self._levels[name]).codes.astype(np.float64)
                columns.append(np.where(codes < 0, np.nan, codes))
            else:
                columns.append(frame[name].to_numpy(np.float64))
        return np.column_stack(columns)
