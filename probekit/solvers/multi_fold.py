"""Fits several sets of training clips of the same rows together."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.solvers import logistic
from probekit.solvers.problem import Problem, Solution
from probekit.solvers.row_blocks import RowSource, StandardizedRows

FoldPath = tuple[Array, Array, list[list[Solution]]]


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
    max_iter: int = logistic.MAX_ITER,
    client: Any = None,
) -> list[FoldPath]:
    """Fit every fold of the same rows.

    Parameters
    ----------
    source : RowSource
        Rows of all folds.
    targets : numpy.ndarray
        Targets of these rows.
    masks : numpy.ndarray of bool, shape (folds, rows)
        Training rows of each fold.
    problems : sequence of Problem
        What is fitted to each fold.
    grid : sequence of float > 0
        Values of C, ascending.
    standardize : bool
        Whether features are standardized in each fold, or only centered.
    device : str
        Torch device.
    tolerance : float > 0
        Certified relative gap at which to stop.
    max_iter : int >= 1
        Newton directions for one C.
    client : distributed.Client, optional
        Dask cluster whose workers read the rows and sum over them.

    Returns
    -------
    list of (numpy.ndarray, numpy.ndarray, list of list of Solution)
        For each fold mean and scale, and for each C the solutions: one per tag, or a single one.
    """
    rows = StandardizedRows(source, masks, standardize=standardize, device=device)
    if len(masks) > 1 and (rows.count < rows.dim or not rows.shared_scale_ok):
        # few rows span less than all features, each fold's its own: no common basis
        results = []
        for mask, problem in zip(masks, problems, strict=True):
            fold_rows = np.ascontiguousarray(np.asarray(source[:])[mask])
            results += solve_folds(
                fold_rows,
                targets[mask],
                np.ones((1, len(fold_rows)), bool),
                [problem],
                grid,
                standardize=standardize,
                device=device,
                tolerance=tolerance,
                max_iter=max_iter,
                client=client,
            )
        return results
    options = {"tolerance": tolerance, "max_iter": max_iter, "client": client}
    paths: list[list[list[Solution]]] = [[[] for _ in grid] for _ in problems]
    for form in ("multinomial", "binary", "ovr"):
        folds = [fold for fold, problem in enumerate(problems) if problem.form == form]
        if folds:
            _solve_form(form, folds, rows, targets, problems, grid, paths, options)
    results = []
    for fold, path in enumerate(paths):
        mean, scale = rows.mean[fold], rows.scale[fold]
        if not standardize:
            mean, scale = np.zeros_like(mean), np.ones_like(scale)
        results.append((mean, scale, path))
    return results


def _solve_form(
    form: str,
    folds: list[int],
    rows: StandardizedRows,
    targets: Array,
    problems: Sequence[Problem],
    grid: Sequence[float],
    paths: list[list[list[Solution]]],
    options: dict[str, Any],
) -> None:
    """Fit all folds of one form, and append the solutions to their paths."""
    tags: list[int] | None
    if form == "multinomial":
        labels, class_numbers = np.unique(targets, return_inverse=True)
        group_folds, tags, group_targets, classes = folds, None, class_numbers, len(labels)
    else:
        classes = 1
        if form == "binary":
            group_folds, tags = folds, list(range(len(folds)))
            group_targets = np.stack([targets == problems[f].classes[1] for f in folds], axis=1)
        else:
            group_folds = [f for f in folds for _ in problems[f].classes]
            tags = [int(tag) for f in folds for tag in problems[f].classes]
            group_targets = targets.astype(bool)
    if not group_folds:
        return
    solved = logistic.solve_logistic(
        rows, group_targets, grid, group_folds, tags=tags, classes=classes, **options
    )
    for fold, path in zip(group_folds, solved, strict=True):
        fitted = np.ones(classes, bool)
        if form == "multinomial":
            fitted = np.isin(labels, problems[fold].classes)
        for k, solution in enumerate(path):
            coef, intercept = solution.coef[fitted], solution.intercept[fitted]
            coef[:, rows.constant[fold]] = 0.0  # up to rounding they are
            if not rows.standardize:  # the solver centers; weights are the same without
                intercept = intercept - coef @ rows.mean[fold]
            paths[fold][k].append(
                Solution(coef, intercept, solution.c, solution.gap, solution.n_iter)
            )
