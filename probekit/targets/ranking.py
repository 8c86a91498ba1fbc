"""Scores of recommendations: nDCG, AUC, average precision and percentile rank, by user."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse

from probekit._typing import Array
from probekit.errors import DataError

ScoreItems = Callable[[Array], Array]
"""Returns scores of all items, shape (users, items), for some users by number."""

_BLOCK_VALUES = 1 << 23  # scores at once
_SHARE = 0.1  # of the cells, held out


@dataclass(frozen=True)
class RankingScores:
    """Means over users, or over plays.

    Attributes
    ----------
    auc : float
        Share of pairs of a played and another item in the right order, ties as half; chance is 0.5.
    average_precision : float
        Mean over users of ``Σ P(k) rel(k) / min(K, played)`` over the first K.
    percentile_rank : float
        ``Σ count · rank / Σ count`` in percent: 0 at the top, 100 at the end; chance is 50 (Hu,
        Koren and Volinsky, ICDM 2008).
    users : int
        Number of users who played an item.
    """

    auc: float
    average_precision: float
    percentile_rank: float
    users: int


def score_ranking(
    counts: scipy.sparse.csr_matrix, score: ScoreItems, k: int = 500
) -> RankingScores:
    """Score the order in which items are recommended to each user.

    Parameters
    ----------
    counts : scipy.sparse.csr_matrix, shape (users, items)
        What was played, of the items to be recommended; users without any do not count.
    score : callable
        Scores of items, higher is earlier; items of one score share their mean rank.
    k : int >= 1
        Cut-off of the average precision.

    Raises
    ------
    DataError
        If nothing was played.
    """
    from scipy.stats import rankdata  # slow to import, and most trainings rank nothing

    n_items = counts.shape[1]
    played = counts.getnnz(axis=1)
    users = np.flatnonzero((played > 0) & (played < n_items))
    if not len(users):
        raise DataError("no user has played some of these items but not all: nothing to rank")
    areas, precisions = [], []
    rank_sum = count_sum = 0.0
    for rows in _blocks(users, n_items):
        scores = score(rows)
        block = counts[rows]
        row_of = _row_numbers(block)
        is_played = np.zeros(scores.shape, bool)
        is_played[row_of, block.indices] = True
        ranks = rankdata(-scores, axis=1)
        n_played = played[rows].astype(np.float64)
        n_others = n_items - n_played
        sums = np.bincount(row_of, ranks[row_of, block.indices], len(rows))
        areas.append(1 - (sums - n_played * (n_played + 1) / 2) / (n_played * n_others))
        percent = 100 * (ranks[row_of, block.indices] - 1) / (n_items - 1)
        rank_sum += float((block.data * percent).sum())
        count_sum += float(block.data.sum())
        hits = np.take_along_axis(is_played, _first(scores, k), axis=1)
        precision = hits.cumsum(1) / np.arange(1, hits.shape[1] + 1)
        precisions.append((precision * hits).sum(1) / np.minimum(k, n_played))
    return RankingScores(
        float(np.concatenate(areas).mean()),
        float(np.concatenate(precisions).mean()),
        rank_sum / count_sum,
        len(users),
    )


def ndcg(
    held_out: scipy.sparse.csr_matrix,
    score: ScoreItems,
    seen: scipy.sparse.csr_matrix,
    k: int = 100,
) -> Array:
    """Return nDCG at k of each user with held-out cells; items that the user has seen are skipped.

    Parameters
    ----------
    held_out : scipy.sparse.csr_matrix, shape (users, items)
        Cells to be found.
    score : callable
        Scores of items, higher is earlier.
    seen : scipy.sparse.csr_matrix, shape (users, items)
        Cells that were fitted.
    k : int >= 1
        Cut-off.
    """
    users = np.flatnonzero(held_out.getnnz(axis=1))
    k = min(k, held_out.shape[1])
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = discounts.cumsum()
    values = []
    for rows in _blocks(users, held_out.shape[1]):
        scores = np.array(score(rows), np.float64)
        skipped, wanted = seen[rows], held_out[rows]
        scores[_row_numbers(skipped), skipped.indices] = -np.inf
        relevant = np.zeros(scores.shape, bool)
        relevant[_row_numbers(wanted), wanted.indices] = True
        hits = np.take_along_axis(relevant, _first(scores, k), axis=1)
        count = np.minimum(k, held_out.getnnz(axis=1)[rows])
        values.append((hits * discounts).sum(1) / ideal[count - 1])
    return np.concatenate(values) if values else np.zeros(0)


def hold_out_cells(
    counts: scipy.sparse.csr_matrix, seed: int = 0, share: float = _SHARE, most_users: int = 10_000
) -> tuple[scipy.sparse.csr_matrix, scipy.sparse.csr_matrix]:
    """Divide cells at random into those to fit and those to find.

    Parameters
    ----------
    counts : scipy.sparse.csr_matrix, shape (users, items)
        Counts.
    seed : int >= 0
        Of the choice.
    share : float
        Of a user's cells; a user keeps at least one.
    most_users : int
        Cells are held out of so many users at most.

    Returns
    -------
    fitted, held_out : scipy.sparse.csr_matrix, shape (users, items)
        Together they are ``counts``.
    """
    rng = np.random.default_rng(seed)
    lengths = np.diff(counts.indptr)
    users = np.flatnonzero(lengths > 1)
    if len(users) > most_users:
        users = np.sort(rng.choice(users, most_users, replace=False))
    is_held_out = np.zeros(counts.nnz, bool)
    for user in users:
        number = min(max(1, round(share * lengths[user])), lengths[user] - 1)
        chosen = rng.choice(lengths[user], number, replace=False)
        is_held_out[counts.indptr[user] + chosen] = True
    return _cells(counts, ~is_held_out), _cells(counts, is_held_out)


def factor_scores(users: Array, items: Array) -> ScoreItems:
    """Return scores by inner products of factors, shapes (users, dim) and (items, dim)."""
    return lambda rows: users[rows] @ items.T


def constant_scores(values: Array) -> ScoreItems:
    """Return scores that are the same for all users, such as popularity."""
    return lambda rows: np.broadcast_to(np.asarray(values, np.float64), (len(rows), len(values)))


def _cells(counts: scipy.sparse.csr_matrix, mask: Array) -> scipy.sparse.csr_matrix:
    """Return a matrix with some of the stored cells."""
    edges = np.concatenate([[0], np.cumsum(mask)])[counts.indptr]
    parts = (counts.data[mask], counts.indices[mask], edges)
    return scipy.sparse.csr_matrix(parts, counts.shape)


def _row_numbers(cells: scipy.sparse.csr_matrix) -> Array:
    """Return the row of each stored cell."""
    return np.repeat(np.arange(cells.shape[0]), np.diff(cells.indptr))


def _first(scores: Array, k: int) -> Array:
    """Return the columns of the k highest scores of each row, highest first."""
    k = min(k, scores.shape[1])
    columns = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)


def _blocks(users: Array, n_items: int) -> list[Array]:
    """Return the users in blocks whose scores fit in memory."""
    size = max(1, _BLOCK_VALUES // max(1, n_items))
    return [users[start : start + size] for start in range(0, len(users), size)]
