"""Divisions of the same clips, fitted together by probekit's own solver."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.solvers import logistic
from probekit.solvers.problem import Problem, Solution
from probekit.solvers.row_blocks import RowSource, StandardizedRows

Found = tuple[Array, Array, list[list[Solution]]]


def solve_folds(
    source: RowSource,
    targets: Array,
    masks: Array,
    problems: Sequence[Problem],
    grid: Sequence[float],
    *,
    standardize: bool,
    device: str,
    tolerance: float = logistic.TOLERANCE,
    max_iter: int = logistic.DIRECTIONS,
    client: Any = None,
) -> list[Found]:
    """Fit every division of the same rows.

    Parameters
    ----------
    source : Source
        Rows of all divisions.
    targets : numpy.ndarray
        Of these rows.
    masks : numpy.ndarray of bool, shape (divisions, rows)
        The rows of each division.
    plans : sequence of Plan
        What each is to be fitted to.
    grid : sequence of float > 0
        Values of C, ascending.
    standardize : bool
        Whether each division is brought to zero mean and unit variance, or only centred.
    device : str
        Where.
    tolerance : float > 0
        As for :func:`probekit.solvers.logistic.solve`.
    most : int >= 1
        Likewise.
    client : distributed.Client, optional
        Likewise.

    Returns
    -------
    list of (numpy.ndarray, numpy.ndarray, list of list of Solution)
        For each division mean and scale, and for each C the solutions: one a tag, or one.
    """
    rows = StandardizedRows(source, masks, standardize=standardize, device=device)
    if len(masks) > 1 and (rows.count < rows.dim or not rows.shared_scale_ok):
        # few rows span less than all features, each division's its own: no common basis
        found = []
        for mask, plan in zip(masks, problems, strict=True):
            alone = np.ascontiguousarray(np.asarray(source[:])[mask])
            found += solve_folds(
                alone,
                targets[mask],
                np.ones((1, len(alone)), bool),
                [plan],
                grid,
                standardize=standardize,
                device=device,
                tolerance=tolerance,
                max_iter=max_iter,
                client=client,
            )
        return found
    how = {"tolerance": tolerance, "most": max_iter, "client": client}
    paths: list[list[list[Solution]]] = [[[] for _ in grid] for _ in problems]
    for form in ("softmax", "pair", "tags"):
        folds = [k for k, plan in enumerate(problems) if plan.form == form]
        if folds:
            _solve_group(form, folds, rows, targets, problems, grid, paths, how)
    found = []
    for fold, path in enumerate(paths):
        mean, scale = rows.mean[fold], rows.scale[fold]
        if not standardize:
            mean, scale = np.zeros_like(mean), np.ones_like(scale)
        found.append((mean, scale, path))
    return found


def _solve_group(
    form: str,
    folds: list[int],
    rows: StandardizedRows,
    targets: Array,
    plans: Sequence[Problem],
    grid: Sequence[float],
    paths: list[list[list[Solution]]],
    how: dict[str, Any],
) -> None:
    """Fit all divisions of one form, and append what was found to the paths."""
    if form == "softmax":
        names, places = np.unique(targets, return_inverse=True)
        owners, tags, hot, classes = folds, None, places, len(names)
    else:
        classes = 1
        if form == "pair":
            owners = folds
            second = np.stack([targets == plans[f].classes[1] for f in folds], axis=1)
            tags, hot = list(range(len(folds))), second
        else:
            owners = [f for f in folds for _ in plans[f].classes]
            tags, hot = [int(t) for f in folds for t in plans[f].classes], targets.astype(bool)
    if not owners:
        return
    done = logistic.solve(rows, hot, grid, owners, tags=tags, classes=classes, **how)
    for owner, path in zip(owners, done, strict=True):
        own = np.ones(classes, bool)
        if form == "softmax":
            own = np.isin(names, plans[owner].classes)
        for place, one in enumerate(path):
            coef, intercept = one.coef[own], one.intercept[own]
            coef[:, rows.constant[owner]] = 0.0  # but for rounding
            if not rows.standardize:  # the solver centres; weights are the same without
                intercept = intercept - coef @ rows.mean[owner]
            paths[owner][place].append(Solution(coef, intercept, one.c, one.gap, one.n_iter))
