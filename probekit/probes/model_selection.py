"""Select a probe's settings on held-out training clips, then refit."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Protocol

import numpy as np
import scipy  # loads scipy.special when it is used, which takes a while

from probekit._typing import Array
from probekit.errors import DataError
from probekit.metrics import metrics
from probekit.metrics.metrics import is_known
from probekit.parallel import resources
from probekit.parallel.pool import parallel_map, scratch_folder
from probekit.probes import transforms
from probekit.probes.base import FitContext, FittedProbe, SelectedModel, Settings, best_index
from probekit.scores.pieces import average
from probekit.scores.predictions import check_scores
from probekit.solvers.partial_labels import group_columns
from probekit.solvers.solution_store import rows_key
from probekit.tasks.splits import Rows, Split, inner_cv, name_units

Pair = tuple[Array, Array]  # rows to fit on, rows to score

_DIVISIONS = 5  # differences between scores that a test needs
_PARTS = 10  # of the clips held out, where there are fewer divisions


@dataclass(frozen=True)
class Fit:
    """A fitted probe, and how its fit went.

    Attributes
    ----------
    probe : FittedProbe
        Scores features as they are in the cache.
    converged : bool
        Whether the fit converged.
    iterations : int
        Steps or epochs.
    gap : float
        Upper bound of (objective - minimum) / objective; NaN if not certified.
    """

    probe: FittedProbe
    converged: bool = True
    iterations: int = 0
    gap: float = float("nan")


class Search(Protocol):
    """How a probe is fitted at the points of a grid."""

    @property
    def choice(self) -> str:
        """What is selected, for messages: ``C``, ``settings``."""
        ...

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """Exceptions that mean that the data cannot be fitted."""
        ...

    def fit_grid(
        self,
        context: FitContext,
        grid: Sequence[Settings],
        pairs: Sequence[Pair],
        curve: "Curve",
    ) -> list[list[Fit]]:
        """Return for each pair one fit per grid point, to its first rows.

        A search that may end before the last point adds its fits to ``curve`` after each.
        """
        ...

    def refit(
        self, context: FitContext, path: Sequence[Settings], rows: Array, fits: Sequence[Fit]
    ) -> list[Fit]:
        """Return the fits needed for the selected settings on ``rows``, the final one last.

        ``path`` is the grid up to the selected settings, ``fits`` are their fits to each pair.
        """
        ...


# context; features and targets to fit on; settings; features and rows held out, or None; epochs
Fitter = Callable[[FitContext, Array, Array, Settings, Pair | None, int], Fit]


@dataclass(frozen=True)
class GridSearch:
    """Fits each grid point on its own, on transformed features.

    Attributes
    ----------
    fitter : callable
        Fits one probe. Without held-out clips to stop on, it is passed the number of epochs that
        was best on average.
    fits_unknown : bool
        Whether it can be given labels that are unknown; otherwise labels that are known for the
        same clips are fitted together, to these clips.
    choice, errors
        See :class:`Search`.
    """

    fitter: Fitter
    fits_unknown: bool = False
    choice: str = "settings"
    errors: tuple[type[Exception], ...] = (DataError, ValueError)

    def fit_grid(
        self,
        context: FitContext,
        grid: Sequence[Settings],
        pairs: Sequence[Pair],
        curve: "Curve",
    ) -> list[list[Fit]]:
        """Fit every grid point on every pair."""
        fits = []
        with resources.single_threaded():
            for train, valid in pairs:
                transform = transforms.fit_transform(context.steps, context.features[train])
                held_out = (transform(context.features[valid]), valid)
                fit = partial(self._fit, context, transform, train, held_out=held_out)
                fits.append([fit(settings) for settings in grid])
        return fits

    def refit(
        self, context: FitContext, path: Sequence[Settings], rows: Array, fits: Sequence[Fit]
    ) -> list[Fit]:
        """Fit once more, for the mean number of epochs."""
        epochs = round(np.mean([fit.iterations for fit in fits]))
        with resources.single_threaded():
            transform = transforms.fit_transform(context.steps, context.features[rows])
            return [self._fit(context, transform, rows, path[-1], None, epochs)]

    def _fit(
        self,
        context: FitContext,
        transform: transforms.Transform,
        rows: Array,
        settings: Settings,
        held_out: Pair | None,
        epochs: int = 0,
    ) -> Fit:
        features, targets = transform(context.features[rows]), context.targets[rows]
        if self.fits_unknown or context.clips.target != "multi" or is_known(targets).all():
            fit = self.fitter(context, features, targets, settings, held_out, epochs)
        else:
            fit = _fit_known(self.fitter, context, features, targets, settings)
        return replace(fit, probe=transforms.Pipeline(transform, fit.probe))


@dataclass(frozen=True)
class FittedColumns:
    """Probes of labels that are known for different clips.

    Attributes
    ----------
    members : list of (numpy.ndarray of int, FittedProbe)
        Columns of the scores, and the probe that has them.
    positive : numpy.ndarray of bool, shape (classes,)
        Of the labels without a probe, those that all known clips have.
    """

    members: list[tuple[Array, FittedProbe]]
    positive: Array

    @property
    def probabilities(self) -> bool:
        """Whether scores are probabilities."""
        return all(probe.probabilities for _, probe in self.members)

    def scores(self, features: Array) -> Array:
        """Return scores, shape (clips, classes)."""
        never, always = (0.0, 1.0) if self.probabilities else (-np.inf, np.inf)
        scores = np.tile(np.where(self.positive, always, never), (len(features), 1))
        for columns, probe in self.members:
            scores[:, columns] = probe.scores(features)
        return scores

    def predictions(self, features: Array) -> None:
        """Return None: these are tags."""

    def arrays(self) -> dict[str, Array]:
        """Return the arrays of each probe, with the columns that it has."""
        return {
            f"columns-{k}/{name}": values
            for k, (columns, probe) in enumerate(self.members)
            for name, values in {"columns": columns, **probe.arrays()}.items()
        }


def _fit_known(
    fitter: Fitter, context: FitContext, features: Array, targets: Array, settings: Settings
) -> Fit:
    """Fit each label to the clips for which it is known, those of the same clips together."""
    varies = (targets > 0).any(axis=0) & (targets == 0).any(axis=0)
    members, fits, names = [], [], np.array(context.clips.class_names, object)
    for rows, columns in group_columns(np.where(varies, targets, np.nan)):
        clips = replace(context.clips, class_names=tuple(names[columns]))
        labels = targets[np.ix_(rows, columns)].astype(np.int8)
        fit = fitter(replace(context, clips=clips), features[rows], labels, settings, None, 0)
        members.append((columns, fit.probe))
        fits.append(fit)
    if not fits:
        raise DataError("no label is known both of clips that have it and of clips that do not")
    probe = FittedColumns(members, (targets > 0).any(axis=0) & ~varies)
    return Fit(probe, all(fit.converged for fit in fits), max(fit.iterations for fit in fits))


def choose_all(
    context: FitContext,
    grid: Sequence[Settings],
    search: Search,
    *,
    max_inner_splits: int | None = None,
) -> list[SelectedModel]:
    """Select settings and fit the probe of every split, without its test clips.

    With official validation clips, the settings that score best on them win, and the probe is
    refitted on training and validation clips if the protocol says so. Otherwise the training clips
    are divided again (by whole folds, groups or pieces if there are any), and the best mean over
    the inner splits in which the metric is defined wins. Of equal settings the first wins.

    Splits share fits to exactly the same training clips only: the test clips of one are training
    clips of another, and not even the rounding of a common mean may leak.

    Parameters
    ----------
    context : FitContext
        Data and protocol.
    grid : sequence of dict
        Settings to try, the simplest first.
    search : Search
        Fits the probe.
    max_inner_splits : int >= 1, optional
        Number of inner splits to use; by default all.

    Returns
    -------
    list of SelectedModel
        One per split.

    Raises
    ------
    DataError
        If a split cannot be fitted or divided, or the metric is not defined on any held-out clips;
        names the split.
    """
    # divided here: worker processes need not load scikit-learn for it
    divisions: dict[str, list[Pair]] = {}
    for split in context.splits:
        try:
            divisions[split.name] = _divide(context, split)[:max_inner_splits]
        except DataError as error:
            raise DataError(f"{context.clips.name}, split {split.name!r}: {error}") from error
    with scratch_folder() if _has_shared_fits(context, divisions) else nullcontext() as folder:
        sharing = replace(context, progress=None, shared=folder)
        return fit_splits(context, partial(_choose, sharing, list(grid), search, divisions))


def _has_shared_fits(context: FitContext, divisions: Mapping[str, Sequence[Pair]]) -> bool:
    """Tell whether splits have training clips in common, fewer than features."""
    train = [rows for pairs in divisions.values() for rows, _ in pairs]
    few = min(map(len, train)) < context.features.shape[1]
    return few and len({rows_key(rows) for rows in train}) < len(train)


def _divide(context: FitContext, split: Split) -> list[Pair]:
    """Return rows to fit on and rows to score, to select settings of a split."""
    if len(split.valid):
        return [(split.train, split.valid)]
    return inner_cv(context.protocol, context.clips, split.train, context.pieces)


def fit_splits(context: FitContext, fit: Callable[[Split], SelectedModel]) -> list[SelectedModel]:
    """Return what a function returns for each split, in the processes of a context."""
    models: list[SelectedModel] = []
    for model in parallel_map(fit, context.splits, jobs=min(context.jobs, len(context.splits))):
        models.append(model)
        if context.progress:
            context.progress(len(models), len(context.splits))
    return models


def _choose(
    context: FitContext,
    grid: list[Settings],
    search: Search,
    divisions: Mapping[str, Sequence[Pair]],
    split: Split,
) -> SelectedModel:
    stage = ""
    try:
        pairs = divisions[split.name]
        if len(split.valid):
            selected_on = f"{len(split.valid)} validation clips"
        else:
            plural = "s" if len(pairs) > 1 else ""
            selected_on = f"{len(pairs)} division{plural} of the training clips"
        stage = f", choosing {search.choice} on {selected_on}"
        scored = Curve(context, pairs)
        paths = search.fit_grid(context, grid, pairs, scored)
        for k in range(len(scored), len(paths[0])):
            scored.add([path[k] for path in paths])
        curve = scored.means
        if not curve:
            raise DataError(f"{context.metric.title} is not defined on the clips held out")
        index = scored.best
        stage, rows = "", split.fit_rows(context.protocol)
        fits = [fit for path in paths for fit in path]
        if len(split.valid) and not context.protocol.refit:
            final = paths[0][index]
        else:
            fits += search.refit(context, grid[: index + 1], rows, [path[index] for path in paths])
            final = fits[-1]
    except search.errors as error:
        raise DataError(f"{context.clips.name}, split {split.name!r}{stage}: {error}") from error
    return SelectedModel(
        probe=final.probe,
        params=grid[index],
        grid=grid,
        curve=curve,
        at_edge=is_at_edge(grid, grid[index]),
        selected_on=selected_on,
        fits=len(fits),
        unconverged=sum(not fit.converged for fit in fits),
        converged=final.converged,
        gap=final.gap,
        iterations=final.iterations,
    )


class Curve:
    """Scores of a grid on held-out clips, point by point.

    Parameters
    ----------
    context : FitContext
        Data and protocol.
    pairs : sequence of (rows to fit on, rows to score)
        The divisions of the training clips, or the training and the validation clips.
    """

    def __init__(self, context: FitContext, pairs: Sequence[Pair]) -> None:
        self.context, self.rows = context, [rows for _, rows in pairs]
        in_memory = isinstance(context.features, np.ndarray)
        self.features = [context.features[rows] for rows in self.rows] if in_memory else []
        self.scores: list[list[float]] = []
        self._outputs: dict[int, list[Array]] = {}  # scores of clips, of the best and last points

    def __len__(self) -> int:
        """Return the number of points so far."""
        return len(self.scores)

    @property
    def clips(self) -> int:
        """Number of clips held out, over all divisions."""
        return sum(map(len, self.rows))

    def add(self, fits: Sequence[Fit]) -> None:
        """Score a fit to each pair at the next point."""
        with resources.single_threaded():
            outputs = []
            for k, (fit, rows) in enumerate(zip(fits, self.rows, strict=True)):
                features = self.features[k] if self.features else self.context.features[rows]
                outputs.append(prepare_probe_scores(self.context, fit.probe, features, rows))
            self.scores.append([self._score(k, output) for k, output in enumerate(outputs)])
        if len(self.rows) < _DIVISIONS:
            best = self._outputs.get(self.best) if self.means else None
            self._outputs = {len(self) - 1: outputs} | ({self.best: best} if best else {})

    @property
    def means(self) -> list[float]:
        """Mean over the pairs in which the metric is defined for all; empty where there is none."""
        scores = np.array(self.scores)
        defined = scores[:, ~np.isnan(scores).any(axis=0)]
        return [float(value) for value in defined.mean(axis=1)] if defined.size else []

    @property
    def best(self) -> int:
        """The first point with the best mean."""
        return best_index(self.means, self.context.metric.higher_is_better)

    def is_behind(self) -> bool:
        """Tell whether the last point is worse than the best one, beyond chance.

        By a paired t test of one side at 5 %, over the divisions; with fewer than five, over the
        jackknife's pseudo-values of ten parts of the clips held out, which divide no group and no
        piece.
        """
        best, last = self.best, len(self) - 1
        if best == last:
            return False
        if len(self.rows) < _DIVISIONS and best not in self._outputs:
            return False  # it is the best only since a division is left out, undefined at the last
        if len(self.rows) >= _DIVISIONS:
            scores = np.array([self.scores[best], self.scores[last]])
        else:
            scores = np.array([self._pseudo_values(self._outputs[k]) for k in (best, last)])
        first, second = scores[:, ~np.isnan(scores).any(axis=0)]
        differences = first - second if self.context.metric.higher_is_better else second - first
        if len(differences) < _DIVISIONS:
            return False
        error = differences.std(ddof=1) / len(differences) ** 0.5
        return bool(differences.mean() > scipy.special.stdtrit(len(differences) - 1, 0.95) * error)

    def _score(self, division: int, output: Array) -> float:
        return self.context.metric.score(self.context.targets[self.rows[division]], output)

    def _pseudo_values(self, outputs: Sequence[Array]) -> list[float]:
        """Return the jackknife's pseudo-values: one for each part of the clips held out."""
        values = []
        for k, output in enumerate(outputs):
            targets, parts = self.context.targets[self.rows[k]], self._parts[k]
            score = self._score(k, output)
            for part in np.unique(parts):
                others = parts != part
                if not others.any():
                    continue
                weight = len(parts) / (len(parts) - others.sum())  # parts differ in size
                without = self.context.metric.score(targets[others], output[others])
                values.append(float(weight * score - (weight - 1) * without))
        return values

    @cached_property
    def _parts(self) -> list[Rows]:
        """Part of each clip held out: at most ten a division, of whole groups and pieces."""
        units = name_units(self.context.clips, self.context.pieces)
        return [_divide_units(units[rows]) for rows in self.rows]


def _divide_units(units: Array) -> Rows:
    """Return the part of each clip: ten of about one size, whole units, in the order of clips."""
    _, first, numbers, counts = np.unique(
        units, return_index=True, return_inverse=True, return_counts=True
    )
    order, starts = np.argsort(first), np.zeros(len(counts), np.int64)
    starts[order] = np.cumsum(counts[order]) - counts[order]
    edges = np.linspace(0, len(units), _PARTS + 1).astype(np.int64)
    return np.asarray((np.searchsorted(edges, starts, side="right") - 1)[numbers])


def score_probe(context: FitContext, probe: FittedProbe, features: Array, rows: Array) -> float:
    """Return the metric of a probe on the clips of some rows; NaN if it is not defined on them.

    Parameters are those of :func:`prepare_probe_scores`.
    """
    prepared = prepare_probe_scores(context, probe, features, rows)
    return context.metric.score(context.targets[rows], prepared)


def prepare_probe_scores(
    context: FitContext, probe: FittedProbe, features: Array, rows: Array
) -> Array:
    """Return a probe's scores of the clips of some rows, as the metric takes them.

    ``features`` are theirs, as the probe needs them. A DataError names clips without scores.
    """
    metric, target = context.metric, context.clips.target
    scores = probe.scores(features)
    check_scores(scores, target, context.probe, context.clips.column("clip_id")[rows])
    if context.pieces is not None:
        if not probe.probabilities:
            scores = metrics.to_probabilities(scores, target)
        return average(scores, context.pieces[rows])
    predicted = probe.predictions(features) if metric.needs_classes else None
    return metrics.prepare_scores(
        metric, scores, target, probabilities=probe.probabilities, predicted=predicted
    )


def is_at_edge(grid: list[Settings], chosen: Settings) -> bool:
    """Tell whether a number is the smallest or largest of at least three that were tried.

    An integer of 1, such as one neighbor, has nothing below it that could be tried.
    """
    for name, value in chosen.items():
        tried = {settings[name] for settings in grid if isinstance(settings[name], (int, float))}
        if len(tried) < 3 or value not in (min(tried), max(tried)):
            continue
        if not (isinstance(value, int) and value == min(tried) == 1):
            return True
    return False
