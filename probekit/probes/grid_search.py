"""Choose a probe's settings on held-out training clips, whatever the probe is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.errors import DataError
from probekit.metrics import metrics
from probekit.parallel import resources
from probekit.parallel.pool import parallel_map
from probekit.probes import transforms
from probekit.probes.base import FittedProbe, SelectedModel, best_index
from probekit.probes.registry import FitContext
from probekit.tasks import splits
from probekit.tasks.splits import Split

Settings = dict[str, Any]


@dataclass(frozen=True)
class Fit:
    """A fitted probe, and what it took.

    Attributes
    ----------
    probe : Fitted
        On transformed features.
    converged : bool
        Whether the fit says so.
    iterations : int
        Steps or epochs; handed to the final fit, which has no clips to stop on.
    """

    probe: FittedProbe
    converged: bool = True
    iterations: int = 0


# features and targets to fit on; settings; seed; features and targets held out, or None; epochs
Fitter = Callable[[Array, Array, Settings, int, tuple[Array, Array] | None, int], Fit]


def choose_all(
    job: FitContext, grid: Sequence[Settings], fitter: Fitter, *, divisions: int | None = None
) -> list[SelectedModel]:
    """Choose settings and fit, for every fold, without a look at its test clips.

    Parameters
    ----------
    job : Job
        What is fitted on.
    grid : sequence of dict
        Settings to try, the simplest first: of equal ones it wins.
    fitter : callable
        Fits one probe.
    divisions : int >= 1, optional
        How many of the inner divisions to use; all by default.

    Returns
    -------
    list of Chosen
        One a fold.

    Raises
    ------
    DataError
        If a fold cannot be fitted or divided; names it.
    """
    found: list[SelectedModel] = []
    work = partial(_choose, replace(job, progress=None), list(grid), fitter, divisions)
    for one in parallel_map(work, job.splits, jobs=min(job.jobs, len(job.splits))):
        found.append(one)
        if job.progress:
            job.progress(len(found), len(job.splits))
    return found


def _choose(
    job: FitContext, grid: list[Settings], fitter: Fitter, divisions: int | None, split: Split
) -> SelectedModel:
    step = ""
    try:
        if len(split.valid):
            pairs, where = [(split.train, split.valid)], f"{len(split.valid)} validation clips"
        else:
            pairs = splits.inner_cv(job.protocol, job.clips, split.train)[:divisions]
            plural = "s" if len(pairs) > 1 else ""
            where = f"{len(pairs)} division{plural} of the training clips"
        step = f", choosing settings on {where}"
        with resources.single_threaded():
            tried = [[_fit_grid_point(job, one, fitter, *pair) for pair in pairs] for one in grid]
            # the same divisions count for every setting
            values = np.array([[score for score, _ in row] for row in tried])
            defined = ~np.isnan(values).any(axis=0)
            if not defined.any():
                raise DataError(f"{job.metric.title} is not defined on the clips held out")
            curve = [float(value) for value in values[:, defined].mean(axis=1)]
            place = best_index(curve, job.metric.higher_is_better)
            fits = [fit for row in tried for _, fit in row]
            step, rows = "", split.fit_rows(job.protocol)
            if len(split.valid) and not job.protocol.refit:
                final = tried[place][0][1]
            else:
                epochs = round(np.mean([fit.iterations for _, fit in tried[place]]))
                transform = transforms.fit_transform(job.steps, job.features[rows])
                own = transform(job.features[rows])
                made = fitter(own, job.targets[rows], grid[place], job.seed, None, epochs)
                final = replace(made, probe=transforms.Pipeline(transform, made.probe))
                fits.append(final)
    except (DataError, ValueError) as error:
        raise DataError(f"{job.clips.name}, split {split.name!r}{step}: {error}") from error
    return SelectedModel(
        probe=final.probe,
        params=grid[place],
        grid=grid,
        curve=curve,
        at_edge=_at_edge(grid, grid[place]),
        selected_on=where,
        fits=len(fits),
        unconverged=sum(not fit.converged for fit in fits),
        converged=final.converged,
        iterations=final.iterations,
    )


def _fit_grid_point(
    job: FitContext, settings: Settings, fitter: Fitter, fit: Array, held: Array
) -> tuple[float, Fit]:
    """Fit on some training clips and score the held-out ones."""
    transform = transforms.fit_transform(job.steps, job.features[fit])
    own, other = transform(job.features[fit]), transform(job.features[held])
    made = fitter(own, job.targets[fit], settings, job.seed, (other, job.targets[held]), 0)
    score = scored(job, made.probe, other, job.targets[held])
    return score, replace(made, probe=transforms.Pipeline(transform, made.probe))


def scored(job: FitContext, probe: FittedProbe, features: Array, targets: Array) -> float:
    """Return the metric of a probe on some clips.

    Parameters
    ----------
    job : Job
        Says the metric.
    probe : Fitted
        What is scored.
    features, targets : numpy.ndarray
        The clips, row for row.

    Returns
    -------
    float
        NaN where the metric is not defined on these clips.
    """
    scores = probe.scores(features)
    if job.metric.needs_probabilities and not probe.probabilities:
        scores = metrics.to_probabilities(scores, job.clips.target)
    return job.metric.score(targets, scores)


def _at_edge(grid: list[Settings], chosen: Settings) -> bool:
    """Tell whether a number is the least or greatest of at least three that were tried.

    Below a whole number of 1, such as one neighbour, there is nothing that could be tried.
    """
    for name, value in chosen.items():
        tried = {one[name] for one in grid if isinstance(one[name], (int, float))}
        if len(tried) < 3 or value not in (min(tried), max(tried)):
            continue
        if not (isinstance(value, int) and value == min(tried) == 1):
            return True
    return False
