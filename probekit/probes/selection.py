"""Choose C on clips that are not scored, then refit."""

from typing import Any

import numpy as np
import numpy.typing as npt

from probekit import runtime
from probekit.cards import Protocol
from probekit.errors import DataError
from probekit.manifest import Manifest
from probekit.probes import linear
from probekit.probes.base import Chosen, best
from probekit.probes.linear import Probe
from probekit.tasks import splits
from probekit.tasks.metrics import Metric
from probekit.tasks.splits import Split

Array = npt.NDArray[Any]

def choose(
    features: Array,
    targets: Array,
    clips: Manifest,
    split: Split,
    protocol: Protocol,
    metric: Metric,
    grid: tuple[float, ...] = linear.GRID,
    solver: str = "probekit",
) -> Chosen:
    """Choose C and fit the probe of one split, without a look at its test clips.

    With official validation clips, C is the one that scores best on them, and the probe is
    refitted on training and validation clips if the protocol says so. Otherwise the training clips
    are divided again (whole folds or groups where there are some) and C has the best mean over the
    divisions in which the metric is defined. Of equal ones the strongest regularization wins.

    Parameters
    ----------
    features : numpy.ndarray, shape (clips, dim)
        Of all clips of the manifest; test rows are not read.
    targets : numpy.ndarray
        Of all clips.
    clips : Manifest
        The clips.
    split : Split
        Which rows are what.
    protocol : Protocol
        From the task's card.
    metric : Metric
        What is best.
    grid : tuple of float > 0
        Values of C, ascending.
    solver : {"probekit", "scikit-learn"}
        What fits the probes.

    Returns
    -------
    Chosen
        The probe, and the evidence.

    Raises
    ------
    DataError
        If the training clips cannot be fitted or divided, or the metric is not defined on any that
        are held out; names the split.
    """
    kind, classes = clips.target, len(clips.names)
    tried: list[Probe] = []
    curves = []
    step = ""
    try:
        if len(split.valid):
            pairs, where = [(split.train, split.valid)], f"{len(split.valid)} validation clips"
        else:
            pairs = splits.inner(protocol, clips, split.train)
            where = f"{len(pairs)} divisions of the training clips"
        step = f", choosing C on {where}"
        with runtime.single_threaded():
            for fit, held in pairs:
                path = linear.fit_path(features[fit], targets[fit], kind, classes, grid, solver)
                curves.append([metric.score(targets[held], p.scores(features[held])) for p in path])
                tried += path
            defined = [scores for scores in curves if not np.isnan(scores).any()]
            if not defined:
                raise DataError(f"{metric.title} is not defined on the clips held out")
            curve = np.mean(defined, axis=0)
            place = best(list(curve), getattr(metric, "higher", True))
            step, rows = "", split.fitted(protocol)
            # the whole path up to the chosen C: each start is the solution before it
            path = linear.fit_path(
                features[rows], targets[rows], kind, classes, grid[: place + 1], solver
            )
            tried += path
    except DataError as error:
        raise DataError(f"{clips.name}, split {split.name!r}{step}: {error}") from error
    return Chosen(
        probe=path[-1],
        params={"C": grid[place]},
        grid=[{"C": c} for c in grid],
        curve=[float(value) for value in curve],
        at_edge=place in (0, len(grid) - 1),
        selected_on=where,
        fits=len(tried),
        unconverged=sum(not one.converged for one in tried),
        converged=path[-1].converged,
        gap=path[-1].gap,
        iterations=path[-1].iterations,
    )
