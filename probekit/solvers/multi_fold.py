"""Fits several sets of training clips of the same rows together."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from probekit._typing import Array
from probekit.parallel.resources import tune_malloc
from probekit.solvers import logistic
from probekit.solvers.eigenbasis import EigenBasis
from probekit.solvers.objective import Objective
from probekit.solvers.problem import Problem, Solution
from probekit.solvers.row_blocks import RowSource, StandardizedRows
from probekit.solvers.row_span import RowSpan
from probekit.solvers.solution_store import Point, SolutionStore

_MEMORY = 1e9  # bytes for the rows of folds that are solved side by side, each for itself
_AHEAD = 2  # values of C that are stored beyond those needed: cheap beside starting anew

FoldPath = tuple[Array, Array, list[list[Solution]]]


def solve_folds(
    source: RowSource,
    targets: Array,
    masks: Array,
    problems: Sequence[Problem],
    grid: Sequence[float],
    **options: Any,
) -> list[FoldPath]:
    """Fit every fold of the same rows, for all values of C.

    Parameters
    ----------
    source : RowSource
        Rows of all folds.
    targets, masks : numpy.ndarray
        As for :class:`FoldPaths`.
    problems : sequence of Problem
        What is fitted to each fold.
    grid : sequence of float > 0
        Values of C, ascending.
    **options : object
        Keyword arguments of :class:`FoldPaths`.

    Returns
    -------
    list of (numpy.ndarray, numpy.ndarray, list of list of Solution)
        For each fold mean and scale, and for each C the solutions: one per tag, or a single one.
    """
    paths = FoldPaths(source, targets, masks, problems, grid, **options)
    paths.extend(len(grid))
    return paths.paths


class FoldPaths:
    """Paths of all folds of the same rows along C, which can be extended value by value.

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
    start : tuple of numpy.ndarray, optional
        Weights on raw features, shape (classes, dim), and intercepts, shape (classes,), from which
        every fold starts at its first C.
    stored : sequence of (SolutionStore, str), optional
        Where the solutions of each fold are stored, and its key, for other processes; used where
        folds are solved side by side, each for itself.
    basis : EigenBasis, optional
        :attr:`basis` of other folds whose training rows are together the same.

    Attributes
    ----------
    paths : list of (numpy.ndarray, numpy.ndarray, list of list of Solution)
        For each fold mean and scale, and for each C so far the solutions.
    stepwise : bool
        Whether memory holds all folds at once; else paths are solved to their ends.
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
        start: tuple[Array, Array] | None = None,
        stored: Sequence[tuple[SolutionStore, str]] | None = None,
        basis: EigenBasis | None = None,
    ) -> None:
        tune_malloc()
        self.grid = grid
        self.paths: list[FoldPath] = []
        self._solved = 0  # values of C
        self._forms: list[_Form] = []
        self._folds: list[_SeparateFold] = []
        options: dict[str, Any] = {"tolerance": tolerance, "max_iter": max_iter, "client": client}
        # few rows span less than all features, each fold's its own: no common basis
        few, rows = source.shape[0] < source.shape[1], None
        if len(masks) == 1 or not few:
            rows = StandardizedRows(source, masks, standardize=standardize, device=device)
        if rows is None or (len(masks) > 1 and not rows.shared_scale_ok):
            options |= {"standardize": standardize, "device": device, "start": start}
            self.stepwise = 8.0 * masks.sum() * source.shape[1] <= _MEMORY
            for fold, (mask, problem) in enumerate(zip(masks, problems, strict=True)):
                build = partial(_build_fold, source, targets, mask, problem, grid, options)
                store = stored[fold] if stored else None
                self._folds.append(_SeparateFold(build, grid, store))
            return
        span = RowSpan(rows) if few else None
        options["basis"] = basis
        for form in ("multinomial", "binary", "ovr"):
            members = [fold for fold, problem in enumerate(problems) if problem.form == form]
            if members:
                self._forms.append(
                    _Form(form, members, rows, span, targets, problems, grid, options, start)
                )
        self.stepwise = all(form.stepwise for form in self._forms)
        for mean, scale in zip(rows.mean, rows.scale, strict=True):
            statistics = (
                (mean, scale) if standardize else (np.zeros_like(mean), np.ones_like(scale))
            )
            self.paths.append((*statistics, []))

    @property
    def basis(self) -> EigenBasis | None:
        """The basis of the folds of one form; None of a span, which is no basis of the features."""
        bases = [form.paths.basis for form in self._forms if form.paths and form.span is None]
        return next((basis for basis in bases if basis is not None), None)

    def extend(self, count: int) -> None:
        """Solve for the first ``count`` values of C; for all of them if not ``stepwise``."""
        count = count if self.stepwise else len(self.grid)
        if count <= self._solved:
            return
        self._solved = count
        if self._folds:
            self.paths = [fold.extend(count, release=not self.stepwise) for fold in self._folds]
            return
        for _, _, path in self.paths:
            path += [[] for _ in range(len(path), count)]
        for form in self._forms:
            form.extend(count, self.paths)


class _SeparateFold:
    """A fold that is solved for itself, as far as its solutions are not stored yet."""

    def __init__(
        self,
        build: Callable[[], FoldPaths],
        grid: Sequence[float],
        stored: tuple[SolutionStore, str] | None,
    ) -> None:
        self.build, self.grid, self.stored = build, grid, stored
        self.points: list[Point] = []
        self.paths: FoldPaths | None = None

    def extend(self, count: int, *, release: bool) -> FoldPath:
        """Return the solutions for the first ``count`` values of C; ``release`` the fold's rows."""
        while self.stored and len(self.points) < count:
            store, key = self.stored
            point = store.load(key, self.grid[len(self.points)])
            if point is None:
                break
            self.points.append(point)
        ahead = min(count + _AHEAD, len(self.grid)) if self.stored else count
        if len(self.points) < (count if self.paths is None else ahead):
            # C by C from the first on: solutions do not depend on which of them were stored
            self.paths = self.paths or self.build()
            for k in range(1, ahead + 1) if self.stored else [count]:
                self.paths.extend(k)
            [(mean, scale, solutions)] = self.paths.paths
            for k in range(len(self.points), ahead):
                self.points.append((mean, scale, solutions[k]))
                if self.stored:
                    store, key = self.stored
                    with suppress(OSError):  # a full disk: others solve it once more
                        store.save(key, self.grid[k], self.points[k])
        if release:
            self.paths = None
        mean, scale, _ = self.points[0]
        return mean, scale, [solutions for _, _, solutions in self.points[:count]]


def _build_fold(
    source: RowSource,
    targets: Array,
    mask: Array,
    problem: Problem,
    grid: Sequence[float],
    options: dict[str, Any],
) -> FoldPaths:
    rows = np.ascontiguousarray(np.asarray(source[:])[mask])
    everything = np.ones((1, len(rows)), bool)
    return FoldPaths(rows, targets[mask], everything, [problem], grid, **options)


class _Form:
    """All folds whose problems have the same form."""

    def __init__(
        self,
        form: str,
        folds: list[int],
        rows: StandardizedRows,
        span: RowSpan | None,
        targets: Array,
        problems: Sequence[Problem],
        grid: Sequence[float],
        options: dict[str, Any],
        start: tuple[Array, Array] | None,
    ) -> None:
        self.form, self.rows, self.span, self.problems = form, rows, span, problems
        self._collected = 0  # values of C
        tags: list[int] | None
        if form == "multinomial":
            self.labels, class_numbers = np.unique(targets, return_inverse=True)
            self.group_folds, tags, group_targets = folds, None, class_numbers
            self.classes = len(self.labels)
        else:
            self.classes = 1
            if form == "binary":
                positive = [problems[fold].classes[1] for fold in folds]
                labels, numbers = np.unique(positive, return_inverse=True)
                self.group_folds, tags = folds, numbers.tolist()
                group_targets = targets[:, None] == labels
            else:
                self.group_folds = [f for f in folds for _ in problems[f].classes]
                tags = [int(tag) for f in folds for tag in problems[f].classes]
                group_targets = targets.astype(bool)
        # of the weights on the features themselves, which are what is returned
        self._objective = (
            Objective(rows, group_targets, self.group_folds, tags, self.classes)
            if span is not None and self.group_folds
            else None
        )
        self.paths = (
            logistic.LogisticPaths(
                rows if span is None else span.coordinates,
                group_targets,
                grid,
                self.group_folds,
                tags=tags,
                classes=self.classes,
                start=None if start is None else self._standardized_start(*start, tags),
                **options,
            )
            if self.group_folds
            else None  # no tag varies in any fold
        )

    @property
    def stepwise(self) -> bool:
        """Whether memory holds all groups at once."""
        return self.paths is None or self.paths.stepwise

    def _standardized_start(
        self, weights: Array, intercepts: Array, tags: list[int] | None
    ) -> tuple[Array, Array]:
        """Return weights and intercepts of each group, from those on raw features."""
        rows, folds = self.rows, self.group_folds
        shared = np.where(np.isfinite(intercepts), intercepts, 0.0)
        if self.form == "multinomial":
            chosen = [self.labels] * len(folds)
        elif self.form == "binary":
            chosen = [self.problems[fold].classes[1:] for fold in folds]
            # the two rows are opposite halves of what is fitted
            weights, shared = 2 * weights, 2 * shared
        else:
            assert tags is not None
            chosen = [np.array([tag]) for tag in tags]
        raw = np.stack([weights[classes] for classes in chosen])
        offsets = np.stack([shared[classes] for classes in chosen])
        offsets += (raw * rows.mean[folds][:, None]).sum(axis=2)
        standardized = raw * rows.scale[folds][:, None]
        if self.form == "multinomial":
            # steps keep the sum over the classes of a fold, and the weights of all others
            present = np.stack([np.isin(self.labels, self.problems[f].classes) for f in folds])
            standardized, offsets = (
                np.where(mask, values - values.mean(1, keepdims=True, where=mask), 0.0)
                for values, mask in ((standardized, present[:, :, None]), (offsets, present))
            )
        if self.span is not None:
            on_device = torch.as_tensor(standardized, device=rows.device)
            standardized = self.span.to_coordinates(on_device).cpu().numpy()
        return standardized, offsets

    def extend(self, count: int, folds: Sequence[FoldPath]) -> None:
        """Solve for the first ``count`` values of C, and add the solutions to the folds' own."""
        if self.paths is None:
            return
        self.paths.extend(count)
        added = [path[self._collected :] for path in self.paths.solutions]
        if self.span is not None and self._objective is not None:
            added = self._in_features(self.span, self._objective, added)
        for fold, solutions in zip(self.group_folds, added, strict=True):
            fitted = np.ones(self.classes, bool)
            if self.form == "multinomial":
                fitted = np.isin(self.labels, self.problems[fold].classes)
            for k, solution in enumerate(solutions, self._collected):
                coef, intercept = solution.coef[fitted], solution.intercept[fitted]
                coef[:, self.rows.constant[fold]] = 0.0  # up to rounding they are
                if not self.rows.standardize:  # the solver centers; weights are the same without
                    intercept = intercept - coef @ self.rows.mean[fold]
                folds[fold][2][k].append(
                    Solution(coef, intercept, solution.c, solution.gap, solution.n_iter)
                )
        self._collected = count

    @staticmethod
    def _in_features(
        span: RowSpan, objective: Objective, paths: list[list[Solution]]
    ) -> list[list[Solution]]:
        """Return solutions in coordinates of a span as weights on features, certified anew."""
        device = objective.rows.device
        groups = torch.arange(len(paths), device=device)
        columns = []
        for solutions in zip(*paths, strict=True):
            coef, intercepts, c = (
                torch.as_tensor(np.array([getattr(solution, name) for solution in solutions]))
                for name in ("coef", "intercept", "c")
            )
            weights, intercepts = span.to_weights(coef.to(device)), intercepts.to(device)
            sums = objective.sums(groups, weights, intercepts, torch.float64)
            value, bound = objective.duality_gap(groups, weights, intercepts, sums, c.to(device))
            gaps = (bound / value.clamp(min=1e-300)).tolist()
            columns.append(
                [
                    replace(solution, coef=coef, gap=gap)
                    for solution, coef, gap in zip(
                        solutions, weights.cpu().numpy(), gaps, strict=True
                    )
                ]
            )
        return [list(path) for path in zip(*columns, strict=True)]
