"""Fits several sets of training clips of the same rows together."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.solvers import logistic
from probekit.solvers.problem import Problem, Solution
from probekit.solvers.row_blocks import RowSource, StandardizedRows

_MEMORY = 1e9  # bytes for the rows of folds that are solved side by side, each for itself

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
    paths = FoldPaths(
        source,
        targets,
        masks,
        problems,
        grid,
        standardize=standardize,
        device=device,
        tolerance=tolerance,
        max_iter=max_iter,
        client=client,
    )
    paths.extend(len(grid))
    return paths.paths


class FoldPaths:
    """Paths of all folds along C, which can be extended value by value.

    Parameters are those of :func:`solve_folds`.
    """

    def __init__(
        self,
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
    ) -> None:
        self.problems, self.grid, self.standardize = problems, grid, standardize
        options = {"tolerance": tolerance, "max_iter": max_iter, "client": client}
        rows = StandardizedRows(source, masks, standardize=standardize, device=device)
        self._solved: list[FoldPath] = []
        self._forms: list[_Form] = []
        self._alone: Callable[[int], FoldPaths] | None = None
        self._folds: list[FoldPaths] = []
        if len(masks) > 1 and (rows.count < rows.dim or not rows.shared_scale_ok):
            # few rows span less than all features, each fold's its own: no common basis
            def alone(fold: int) -> FoldPaths:
                fold_rows = np.ascontiguousarray(np.asarray(source[:])[masks[fold]])
                return FoldPaths(
                    fold_rows,
                    targets[masks[fold]],
                    np.ones((1, len(fold_rows)), bool),
                    [problems[fold]],
                    grid,
                    standardize=standardize,
                    device=device,
                    **options,
                )

            self._alone = alone
            self._together = 8.0 * masks.sum() * rows.dim <= _MEMORY
            return
        for form in ("multinomial", "binary", "ovr"):
            folds = [fold for fold, problem in enumerate(problems) if problem.form == form]
            if folds:
                self._forms.append(_Form(form, folds, rows, targets, problems, grid, options))
        self.rows = rows

    @property
    def stepwise(self) -> bool:
        """Whether memory holds all folds at once; else paths are solved to their ends."""
        if self._alone:
            return self._together
        return all(form.paths is None or form.paths.stepwise for form in self._forms)

    def extend(self, count: int) -> None:
        """Solve for the first ``count`` values of C; for all of them if not ``stepwise``."""
        if not self._alone:
            for form in self._forms:
                if form.paths:
                    form.paths.extend(count)
        elif self._together:
            self._folds = self._folds or [self._alone(k) for k in range(len(self.problems))]
            for fold in self._folds:
                fold.extend(count)
        else:
            for k in range(len(self.problems)):
                fold = self._alone(k)
                fold.extend(len(self.grid))
                self._solved += fold.paths

    @property
    def paths(self) -> list[FoldPath]:
        """For each fold mean and scale, and for each C so far the solutions."""
        if self._alone:
            return self._solved or [path for fold in self._folds for path in fold.paths]
        solved: list[list[list[Solution]]] = [[[] for _ in self.grid] for _ in self.problems]
        for form in self._forms:
            form.collect(solved)
        results = []
        for fold, path in enumerate(solved):
            mean, scale = self.rows.mean[fold], self.rows.scale[fold]
            if not self.standardize:
                mean, scale = np.zeros_like(mean), np.ones_like(scale)
            form = next(form for form in self._forms if fold in form.folds)
            results.append((mean, scale, path[: form.count]))
        return results


class _Form:
    """All folds whose problems have the same form."""

    def __init__(
        self,
        form: str,
        folds: list[int],
        rows: StandardizedRows,
        targets: Array,
        problems: Sequence[Problem],
        grid: Sequence[float],
        options: dict[str, Any],
    ) -> None:
        self.form, self.folds, self.rows, self.problems = form, folds, rows, problems
        self._steps = len(grid)
        tags: list[int] | None
        if form == "multinomial":
            self.labels, class_numbers = np.unique(targets, return_inverse=True)
            self.group_folds, tags, group_targets = folds, None, class_numbers
            self.classes = len(self.labels)
        else:
            self.classes = 1
            if form == "binary":
                self.group_folds, tags = folds, list(range(len(folds)))
                group_targets = np.stack([targets == problems[f].classes[1] for f in folds], axis=1)
            else:
                self.group_folds = [f for f in folds for _ in problems[f].classes]
                tags = [int(tag) for f in folds for tag in problems[f].classes]
                group_targets = targets.astype(bool)
        self.paths = (
            logistic.LogisticPaths(
                rows,
                group_targets,
                grid,
                self.group_folds,
                tags=tags,
                classes=self.classes,
                **options,
            )
            if self.group_folds
            else None  # no tag varies in any fold
        )

    @property
    def count(self) -> int:
        """The number of values of C that are solved."""
        return len(self.paths.solutions[0]) if self.paths else self._steps

    def collect(self, solved: list[list[list[Solution]]]) -> None:
        """Append the solutions to those of their folds."""
        if self.paths is None:
            return
        for fold, path in zip(self.group_folds, self.paths.solutions, strict=True):
            fitted = np.ones(self.classes, bool)
            if self.form == "multinomial":
                fitted = np.isin(self.labels, self.problems[fold].classes)
            for k, solution in enumerate(path):
                coef, intercept = solution.coef[fitted], solution.intercept[fitted]
                coef[:, self.rows.constant[fold]] = 0.0  # up to rounding they are
                if not self.rows.standardize:  # the solver centers; weights are the same without
                    intercept = intercept - coef @ self.rows.mean[fold]
                solved[fold][k].append(
                    Solution(coef, intercept, solution.c, solution.gap, solution.n_iter)
                )
