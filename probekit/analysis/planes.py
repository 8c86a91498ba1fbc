"""Rows of many dimensions put into a plane: t-SNE and PCA."""

from typing import Any

import numpy as np
import numpy.typing as npt

from probekit import runtime
from probekit.errors import DataError
from probekit.registry import unknown

Array = npt.NDArray[Any]
METHODS = ("tsne", "pca")
FEWEST = 4  # rows of which t-SNE says anything
_AHEAD = 50  # dimensions that PCA leaves to t-SNE


def project(
    rows: Array, method: str, perplexity: float | None, seed: int, what: str
) -> tuple[Array, tuple[str, str], dict[str, Any]]:
    """Put rows into a plane.

    Parameters
    ----------
    rows : numpy.ndarray, shape (n, dim)
        What to project.
    method : {"tsne", "pca", ""}
        How; t-SNE sees the first 50 principal components, and starts from the first two. Empty:
        t-SNE, but PCA of fewer than four rows, unless a perplexity is given.
    perplexity : float, optional
        Of t-SNE, at least 1 and less than n; by default 30, or a third of n if that is less.
    seed : int >= 0
        Of what is random.
    what : str
        What the rows are, for errors.

    Returns
    -------
    points : numpy.ndarray, shape (n, 2)
        Where.
    axes : (str, str)
        What the axes are.
    choices : dict
        Method, perplexity, seed; where PCA took the place of t-SNE, ``instead`` says why.

    Raises
    ------
    ProbekitError
        If there is no such method, there are fewer than four rows for t-SNE, or the perplexity is
        out of its range.
    """
    from sklearn.decomposition import PCA

    if method not in (*METHODS, ""):
        raise unknown("projection", method, METHODS)
    few = f"t-SNE needs at least {FEWEST}, here are {len(rows)}"
    instead = {}
    if not method:
        method = "tsne"
        if len(rows) < FEWEST and perplexity is None:
            method, instead = "pca", {"instead": few}
    count = min(rows.shape)
    with runtime.single_threaded():
        pca = PCA(min(_AHEAD if method == "tsne" else 2, count), random_state=seed)
        ahead = pca.fit_transform(rows)
        if method == "pca":
            points = np.zeros((len(rows), 2))
            points[:, : ahead.shape[1]] = ahead[:, :2]
            share = [*pca.explained_variance_ratio_, 0.0][:2]
            axes = tuple(f"component {k + 1} ({100 * one:.0f} %)" for k, one in enumerate(share))
            return points, (axes[0], axes[1]), {"method": method, "seed": seed, **instead}
        if len(rows) < FEWEST:
            raise DataError(f"{what}: {few}; use --method pca")
        perplexity = min(30.0, (len(rows) - 1) / 3) if perplexity is None else perplexity
        if not 1 <= perplexity < len(rows):
            raise DataError(
                f"perplexity {perplexity:g}: must be at least 1 and less than {len(rows)}, the "
                "number of points"
            )
        from sklearn.manifold import TSNE

        made = TSNE(perplexity=perplexity, init=_start(ahead), random_state=seed)
        points = made.fit_transform(ahead)
    chosen = {"method": method, "perplexity": perplexity, "seed": seed}
    return np.asarray(points, np.float64), ("t-SNE 1", "t-SNE 2"), chosen


def _start(ahead: Array) -> Array:
    """Return where points start: the first two components, as small as scikit-learn makes them."""
    start = np.zeros((len(ahead), 2), np.float32)
    start[:, : ahead.shape[1]] = ahead[:, :2]
    return start / max(float(start[:, 0].std()), 1e-12) * 1e-4


def standardized(matrix: Array) -> Array:
    """Return features of mean 0 and variance 1.

    Parameters
    ----------
    matrix : numpy.ndarray, shape (n, dim)
        Features.

    Returns
    -------
    numpy.ndarray, shape (n, dim)
        Constant features are 0.
    """
    wide = matrix.astype(np.float64)
    spread = wide.std(axis=0)
    constant = spread <= 1e-9 * np.abs(wide).max(axis=0, initial=0.0)
    return np.where(constant, 0.0, (wide - wide.mean(axis=0)) / np.where(constant, 1.0, spread))
