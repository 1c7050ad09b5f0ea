"""The measures against scipy and against formulas by hand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from modelkeep.quality.drift.chi_square import ChiSquare, chi_square
from modelkeep.quality.drift.jensen_shannon import jensen_shannon
from modelkeep.quality.drift.ks import Ks, ks
from modelkeep.quality.drift.psi import psi
from modelkeep.quality.drift.wasserstein import wasserstein
from modelkeep.quality.measure import chi_square_bound, every, family_alpha
from modelkeep.quality.pair import Pair
from modelkeep.quality.profile import edges_of, profile, profiles

RNG = np.random.default_rng(11)
COLUMNS = {
    "normal": (RNG.normal(size=3_000), RNG.normal(0.2, 1.1, 2_000)),
    "offset": (RNG.normal(1e6, 50, 3_000), RNG.normal(1e6 + 5, 50, 2_500)),
    "ties": (RNG.integers(0, 9, 3_000).astype(float), RNG.integers(1, 12, 2_000).astype(float)),
    "zeros": (np.maximum(RNG.normal(size=3_000), 0), np.maximum(RNG.normal(0.3, size=2_000), 0)),
    "tail": (RNG.lognormal(size=3_000), RNG.lognormal(0.2, 1.2, 2_000)),
    "apart": (RNG.normal(size=500), RNG.normal(100, 1, 400)),
    "few": (np.array([1.0, 2.0]), np.array([2.0])),
    "constant": (np.full(500, 3.0), np.full(300, 3.0)),
}
NAMES = (RNG.choice(list("abcdefgh"), 3_000, p=np.arange(1, 9) / 36), RNG.choice(list("abcdefghi"), 2_000))


@pytest.mark.parametrize("name", COLUMNS)
def test_ks_is_scipys(name: str) -> None:
    left, right = COLUMNS[name]
    assert ks(left, right) == pytest.approx(stats.ks_2samp(left, right).statistic, abs=1e-12)


@pytest.mark.parametrize("name", COLUMNS)
def test_the_p_value_of_ks_is_scipys_limit(name: str) -> None:
    left, right = COLUMNS[name]
    pair = Pair(left, right)
    found = float(Ks().chance(np.asarray(Ks().columns(pair)), pair.sample))
    root = np.sqrt(len(left) * len(right) / (len(left) + len(right)))
    assert found == pytest.approx(stats.kstwobign.sf(root * Ks().columns(pair)), abs=1e-6)


def test_the_p_value_of_chi_square_is_near_scipys() -> None:
    rng = np.random.default_rng(2)
    left, right = rng.choice(list("abcd"), 4_000), rng.choice(list("abcd"), 900, p=[0.28, 0.24, 0.24, 0.24])
    table = np.array([[np.sum(column == word) for word in "abcd"] for column in (left, right)])
    pair = Pair(left, right)
    found = float(ChiSquare().chance(np.asarray(ChiSquare().columns(pair)), pair.sample))
    assert found == pytest.approx(stats.chi2_contingency(table).pvalue, rel=0.05, abs=1e-6)


@pytest.mark.parametrize("name", COLUMNS)
def test_wasserstein_is_scipys_in_standard_deviations(name: str) -> None:
    left, right = COLUMNS[name]
    scale = np.std(left) or 1.0
    assert wasserstein(left, right) == pytest.approx(stats.wasserstein_distance(left, right) / scale, abs=1e-10)


def test_chi_square_is_scipys_statistic_per_row() -> None:
    words = sorted({*NAMES[0], *NAMES[1]})
    table = np.array([[np.sum(column == word) for word in words] for column in NAMES])
    found = stats.chi2_contingency(table, correction=False).statistic
    assert chi_square(*NAMES) ** 2 * table.sum() == pytest.approx(found)
    assert chi_square(*NAMES) == pytest.approx(stats.contingency.association(table, method="cramer"))


@pytest.mark.parametrize("name", [name for name in COLUMNS if name != "few"])
def test_jensen_shannon_is_scipys_over_the_same_bins(name: str) -> None:
    left, right = COLUMNS[name]
    inner = np.unique(np.sort(left)[-(-np.arange(1, 20) * len(left) // 20) - 1])
    inner = inner[inner < left.max()]
    counts = [np.bincount(np.searchsorted(inner, column, "left"), minlength=len(inner) + 1) for column in (left, right)]
    assert jensen_shannon(left, right) == pytest.approx(jensenshannon(*counts, base=2), abs=1e-9)


def test_jensen_shannon_of_names_is_scipys() -> None:
    counts = [[np.sum(column == word) for word in "abcdefghi"] for column in NAMES]
    assert jensen_shannon(*NAMES) == pytest.approx(jensenshannon(*counts, base=2), abs=1e-12)


def test_psi_by_hand() -> None:
    """Halves of the reference at 0 and 1; of the current column a quarter and three quarters."""
    left, right = ["a", "b"] * 50, ["a"] * 25 + ["b"] * 75
    expected = (0.5 - 0.25) * np.log(0.5 / 0.25) + (0.5 - 0.75) * np.log(0.5 / 0.75)
    assert psi(left, right) == pytest.approx(expected)
    filled = (100 / 100.5 - 50 / 100) * np.log(100 / 100.5 / 0.5) + (0.5 / 100.5 - 0.5) * np.log(0.5 / 100.5 / 0.5)
    assert psi(["a"] * 100, ["a", "b"] * 50) == pytest.approx(filled)


def test_nulls_nan_and_infinities_are_left_out() -> None:
    left = pa.array([1.0, None, 2.0, float("nan"), float("inf"), float("-inf")])
    assert ks(left, [1.0, 2.0]) == 0
    assert chi_square(pa.array(["a", None]), ["a"]) == 0


@pytest.mark.parametrize("degrees", [1, 3, 9, 200])
@pytest.mark.parametrize("alpha", [0.05, 1e-3, 1e-6])
def test_chi_square_bound_is_near_scipys(degrees: int, alpha: float) -> None:
    """On the safe side: a bound too high by some percent misses a drift that is barely more than noise."""
    assert 0.97 < float(chi_square_bound(degrees, alpha)) / stats.chi2.isf(alpha, degrees) < 1.2


def test_the_family_shares_one_probability() -> None:
    assert family_alpha(0) == family_alpha(1) == 0.01
    assert family_alpha(5_000) == pytest.approx(2e-6)


@pytest.mark.parametrize("name", ["normal", "offset", "ties", "zeros", "tail"])
def test_a_saved_profile_tells_what_the_rows_tell(name: str) -> None:
    """The bound stated in docs: KS 1/256 of the rows, PSI and Jensen-Shannon equal, Wasserstein 0.05."""
    left, right = COLUMNS[name]
    edges = edges_of(pa.array(left))
    pair, kept = Pair(left, right), profile(pa.array(left), edges)
    seen = profiles(edges, kept.counts, profile(pa.array(right), edges).counts)
    gaps = {one: abs(float(m.profiles(seen)) - m.columns(pair)) for one, m in every().items() if m.numeric}
    assert gaps["ks"] <= 1 / 256
    assert gaps["psi"] <= 1e-9
    assert gaps["jensen_shannon"] <= 1e-9
    assert gaps["wasserstein"] <= 0.05
