"""Scores of recommendations against scikit-learn and loops over users."""

import numpy as np
import pytest
import scipy.sparse
from sklearn.metrics import ndcg_score, roc_auc_score

from probekit.errors import DataError
from probekit.targets import ranking


def draw(seed=0, users=30, items=60):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 9, (users, items)) * (rng.random((users, items)) < 0.2)
    counts[0] = 0  # a user without plays does not count
    scores = np.round(rng.normal(size=(users, items)), 1)  # with ties
    return scipy.sparse.csr_matrix(counts.astype(np.float32)), scores


def average_precision(played, scores, k):
    hits = played[np.argsort(-scores, kind="stable")][:k]
    precision = hits.cumsum() / np.arange(1, len(hits) + 1)
    return (precision * hits).sum() / min(k, played.sum())


@pytest.mark.parametrize("k", [5, 500])
def test_scores_of_rankings(k):
    counts, scores = draw()
    found = ranking.score_ranking(counts, lambda rows: scores[rows], k)
    plays = counts.toarray()
    rows = range(1, len(plays))
    areas = [roc_auc_score(plays[u] > 0, scores[u]) for u in rows]
    assert found.auc == pytest.approx(np.mean(areas), abs=1e-12)  # float64 sums
    assert found.users == len(plays) - 1
    unique = scores + 1e-6 * np.arange(scores.shape[1])  # ties have no order of their own
    found = ranking.score_ranking(counts, lambda rows: unique[rows], k)
    expected = [average_precision(plays[u] > 0, unique[u], k) for u in rows]
    assert found.average_precision == pytest.approx(np.mean(expected), abs=1e-12)
    ranks = (-unique).argsort(1).argsort(1) / (unique.shape[1] - 1) * 100
    assert found.percentile_rank == pytest.approx((plays * ranks).sum() / plays.sum(), abs=1e-9)


def test_constant_scores_are_chance():
    counts, _ = draw()
    found = ranking.score_ranking(counts, ranking.constant_scores(np.zeros(counts.shape[1])))
    assert (found.auc, found.percentile_rank) == (0.5, pytest.approx(50, abs=1e-9))


def test_nothing_to_rank():
    with pytest.raises(DataError, match="nothing to rank"):
        ranking.score_ranking(scipy.sparse.csr_matrix((3, 4)), lambda rows: np.zeros((3, 4)))


@pytest.mark.parametrize("k", [7, 100])
def test_ndcg_is_that_of_scikit_learn(k):
    counts, scores = draw()
    seen, held_out = ranking.hold_out_cells(counts, seed=3)
    scores = scores + 1e-6 * np.arange(scores.shape[1])
    found = ranking.ndcg(held_out, lambda rows: scores[rows], seen, k)
    relevant, masked = (held_out.toarray() > 0).astype(float), scores.copy()
    masked[seen.toarray() > 0] = -1e3
    rows = np.flatnonzero(relevant.any(1))
    expected = [ndcg_score(relevant[[u]], masked[[u]], k=k) for u in rows]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_held_out_cells_are_a_tenth_and_leave_one():
    counts, _ = draw(users=200)
    seen, held_out = ranking.hold_out_cells(counts, seed=1)
    assert (seen + held_out != counts).nnz == 0
    assert held_out.nnz / counts.nnz == pytest.approx(0.1, abs=0.02)
    assert (seen.getnnz(1)[counts.getnnz(1) > 0] > 0).all()
    again = ranking.hold_out_cells(counts, seed=1)[1]
    assert (again != held_out).nnz == 0
