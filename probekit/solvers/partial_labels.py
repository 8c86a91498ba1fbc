"""Tags that are unknown for some clips: each is fitted to the clips for which it is known."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from probekit._typing import Array
from probekit.solvers.problem import Problem, Solution

if TYPE_CHECKING:
    from torch import Tensor


def group_columns(targets: Array) -> list[tuple[Array, Array]]:
    """Return the columns of targets that are known for the same clips.

    Parameters
    ----------
    targets : numpy.ndarray, shape (clips, tags)
        0 and 1, NaN where unknown.

    Returns
    -------
    list of (numpy.ndarray of int, numpy.ndarray of int)
        Rows, and the columns that are known for exactly these; columns that are known for no row
        are left out.
    """
    known = np.isfinite(targets)
    patterns, numbers = np.unique(known, axis=1, return_inverse=True)
    numbers = numbers.ravel()
    return [
        (np.flatnonzero(patterns[:, k]), np.flatnonzero(numbers == k))
        for k in range(patterns.shape[1])
        if patterns[:, k].any()
    ]


def solve_tags(
    features: Array,
    targets: Array,
    problem: Problem,
    grid: Sequence[float],
    solver: str = "probekit",
    device: str = "cpu",
) -> list[list[Solution]]:
    """Return the path along C of each tag of a problem, fitted to the clips that are known.

    Parameters
    ----------
    features : numpy.ndarray, shape (clips, dim)
        As the solver needs them: nothing is standardized.
    targets : numpy.ndarray, shape (clips, tags)
        0 and 1, NaN where unknown.
    problem : Problem
        Of form ``ovr``; its ``classes`` are fitted.
    grid : sequence of float > 0
        Values of C, ascending.
    solver : {"probekit", "scikit-learn"}
        Solver.
    device : str
        Torch device of probekit's solver.

    Returns
    -------
    list of list of Solution
        For each of ``problem.classes``, one per C.
    """
    paths: dict[int, list[Solution]] = {}
    groups = [
        (rows, problem.classes[columns])
        for rows, columns in group_columns(targets[:, problem.classes])
    ]
    if solver == "probekit" and groups:
        from probekit.solvers import multi_fold  # torch takes a second to load

        # what a fold is elsewhere: rows of the same features, with a problem of their own
        masks = np.zeros((len(groups), len(targets)), bool)
        for mask, (rows, _) in zip(masks, groups, strict=True):
            mask[rows] = True
        problems = [replace(problem, classes=tags) for _, tags in groups]
        solved = multi_fold.solve_folds(
            features, targets > 0, masks, problems, grid, standardize=False, device=device
        )
        for (_, tags), (_, _, path) in zip(groups, solved, strict=True):
            paths |= {int(tag): [of_c[k] for of_c in path] for k, tag in enumerate(tags)}
    elif groups:
        from probekit.solvers import sklearn_backend  # scikit-learn takes half a second, too

        for rows, tags in groups:
            for tag in tags:
                labels = targets[rows, tag] > 0
                paths[int(tag)] = sklearn_backend.solve_sklearn(features[rows], labels, grid)
    return [paths[int(tag)] for tag in problem.classes]


def tag_loss(logits: "Tensor", targets: "Tensor") -> "Tensor":
    """Return the mean binary cross-entropy over the tags that are known, those that are not NaN."""
    from torch.nn import functional

    known = ~targets.isnan()
    if bool(known.all()):
        return functional.binary_cross_entropy_with_logits(logits, targets)
    losses = functional.binary_cross_entropy_with_logits(
        logits, targets.nan_to_num(), reduction="none"
    )
    return (losses * known).sum() / known.sum().clamp(min=1)
