"""Scores of predicted targets, beside those that bound them from below and from above."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.sparse

from probekit._typing import Array
from probekit.targets import ranking
from probekit.targets.ranking import RankingScores
from probekit.targets.target_file import Targets

MOST_USERS = 10_000
"""Scores by user are means over so many users at most, drawn at random."""

COLUMNS = ("mse", "cosine", "r2", "cross_entropy", "agreement", "auc", "map@500", "percentile_rank")


@dataclass(frozen=True)
class EstimateScores:
    """Scores of one set of predictions; None where a measure does not apply.

    Attributes
    ----------
    name : str
        What predicts: ``network``, or a bound.
    bound : {"", "lower", "upper"}
        Which bound it is.
    mse : float or None
        Mean over clips and dimensions of the squared difference.
    cosine : float or None
        Mean over clips of the cosine of target and prediction; 0 for a prediction of length 0.
    r2 : float or None
        ``1 - mse / mse of the mean of the training targets``.
    cross_entropy : float or None
        Mean over clips, in nats, of distributions.
    agreement : float or None
        Share of clips whose most probable column is predicted.
    ranking : RankingScores or None
        Of songs that the users' factors were fitted without.
    """

    name: str
    bound: str = ""
    mse: float | None = None
    cosine: float | None = None
    r2: float | None = None
    cross_entropy: float | None = None
    agreement: float | None = None
    ranking: RankingScores | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values by the names of :data:`COLUMNS`, without those that are None."""
        values = asdict(self)
        scores = values.pop("ranking")
        if scores is not None:
            values |= {
                "auc": scores["auc"],
                "map@500": scores["average_precision"],
                "percentile_rank": scores["percentile_rank"],
                "users": scores["users"],
            }
        return {name: value for name, value in values.items() if value not in (None, "")}


def score_estimates(
    targets: Targets, clip_ids: Sequence[str], predictions: Array, seed: int = 0
) -> list[EstimateScores]:
    """Score predictions of held-out clips, and what bounds them.

    The lower bounds are the mean of the training targets, the number of listeners (of the very
    songs, which audio does not tell) and random order; the upper ones are the directions of the
    factors, and these factors with their lengths.

    Parameters
    ----------
    targets : Targets
        With the training clips, too.
    clip_ids : sequence of str
        Clips that were predicted.
    predictions : numpy.ndarray, shape (clips, dim)
        Predicted vectors or probabilities.
    seed : int >= 0
        Of the random order, and of the choice of users.

    Returns
    -------
    list of EstimateScores
        The network first.
    """
    rows = targets.find(clip_ids)
    assert (rows >= 0).all()
    truth = targets.values[rows].astype(np.float64)
    predictions = np.asarray(predictions, np.float64)
    is_train = np.ones(len(targets), bool)
    is_train[rows] = False
    if targets.split is not None:
        is_train = targets.split == "train"
    mean = targets.values[is_train].mean(axis=0, dtype=np.float64)
    mean_error = float(np.square(truth - mean).mean())

    listeners = _Listeners.of_clips(targets, rows, seed)

    def score(name: str, bound: str, vectors: Array) -> EstimateScores:
        error = float(np.square(truth - vectors).mean())
        is_distribution = targets.kind == "distributions"
        return EstimateScores(
            name,
            bound,
            mse=error,
            cosine=None if is_distribution else _mean_cosine(truth, vectors),
            r2=1 - error / mean_error if mean_error else None,
            cross_entropy=_cross_entropy(truth, vectors) if is_distribution else None,
            agreement=_agreement(truth, vectors) if is_distribution else None,
            ranking=listeners.rank_by(vectors) if listeners else None,
        )

    def rank(name: str, bound: str, ranks: Callable[[_Listeners], RankingScores]) -> EstimateScores:
        return EstimateScores(name, bound, ranking=ranks(listeners) if listeners else None)

    order = np.random.default_rng(seed).random(len(rows))
    scores = [
        score("network", "", predictions),
        score("mean", "lower", np.broadcast_to(mean, truth.shape)),
    ]
    if targets.listeners is None:
        return scores
    popularity, lengths = targets.popularity, targets.lengths
    if popularity is not None:
        scores.append(rank("popularity", "lower", lambda users: users.rank_same(popularity[rows])))
    scores.append(rank("random", "lower", lambda users: users.rank_same(order)))
    scores.append(score("directions", "upper", truth))
    if lengths is not None:
        factors = truth * lengths[rows, None]
        scores.append(rank("factors", "upper", lambda users: users.rank_by(factors)))
    return scores


@dataclass(frozen=True)
class _Listeners:
    """Users that recommendations of held-out clips are scored for.

    Attributes
    ----------
    plays : scipy.sparse.csr_matrix, shape (users, clips)
        Their counts.
    factors : numpy.ndarray, shape (users, factors)
        Their factors.
    """

    plays: scipy.sparse.csr_matrix
    factors: Array

    @classmethod
    def of_clips(cls, targets: Targets, rows: Array, seed: int) -> "_Listeners | None":
        """Return the listeners of some but not all of the clips; None if there are none."""
        if targets.listeners is None:
            return None
        plays = targets.listeners.counts[rows].T.tocsr()
        played = plays.getnnz(axis=1)
        users = np.flatnonzero((played > 0) & (played < len(rows)))
        if not len(users):
            return None
        if len(users) > MOST_USERS:
            users = np.sort(np.random.default_rng(seed).choice(users, MOST_USERS, replace=False))
        return cls(plays[users], targets.listeners.users[users].astype(np.float64))

    def rank_by(self, vectors: Array) -> RankingScores:
        """Score the order by inner products with the factors of clips."""
        return ranking.score_ranking(self.plays, ranking.factor_scores(self.factors, vectors))

    def rank_same(self, values: Array) -> RankingScores:
        """Score an order that is the same for all users."""
        return ranking.score_ranking(self.plays, ranking.constant_scores(values))


def _mean_cosine(truth: Array, vectors: Array) -> float:
    lengths = np.linalg.norm(truth, axis=1) * np.linalg.norm(vectors, axis=1)
    products = (truth * vectors).sum(1)
    cosines = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    return float(cosines.mean())


def _cross_entropy(truth: Array, probabilities: Array) -> float:
    tiny = np.finfo(np.float64).tiny
    return float(-(truth * np.log(np.maximum(probabilities, tiny))).sum(1).mean())


def _agreement(truth: Array, probabilities: Array) -> float:
    return float((truth.argmax(1) == probabilities.argmax(1)).mean())
