"""Choose C on clips that are not scored, then refit."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.cards import Protocol
from probekit.data.manifest import Manifest
from probekit.errors import DataError
from probekit.metrics import metrics
from probekit.metrics.metrics import Metric
from probekit.parallel import resources
from probekit.probes import linear
from probekit.probes.base import SelectedModel, best_index
from probekit.probes.linear import FittedLinear
from probekit.tasks import splits
from probekit.tasks.splits import Split


def choose_all(
    features: Any,
    targets: Array,
    clips: Manifest,
    divisions: list[Split],
    protocol: Protocol,
    metric: Metric,
    *,
    grid: tuple[float, ...] = linear.GRID,
    solver: str = "probekit",
    device: str = "cpu",
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
    standardize: bool = True,
    client: Any = None,
) -> list[SelectedModel]:
    """Choose C and fit the probe of every split, without a look at its test clips.

    With official validation clips, C is the one that scores best on them, and the probe is
    refitted on training and validation clips if the protocol says so. Otherwise the training clips
    are divided again (whole folds or groups where there are some) and C has the best mean over the
    divisions in which the metric is defined. Of equal ones the strongest regularization wins.

    All inner divisions, classes and values of C of one split are one job over the same rows. Splits
    do not share rows: what one split tests, another trains on, and not even the rounding of a
    common mean may pass from there.

    Parameters
    ----------
    features : numpy.ndarray or probekit.solvers.row_blocks.Source, shape (clips, dim)
        Of all clips of the manifest; a split's test rows are not read for it.
    targets : numpy.ndarray
        Of all clips.
    clips : Manifest
        The clips.
    divisions : list of Split
        Which rows are what.
    protocol : Protocol
        From the task's card.
    metric : Metric
        What is best.
    grid : tuple of float > 0
        Values of C, ascending.
    solver : {"probekit", "scikit-learn"}
        What fits the probes.
    device : str
        Where probekit's solver runs: ``"cpu"``, ``"cuda"`` …
    jobs : int >= 1
        Processes; splits are spread over them.
    progress : callable, optional
        Called with splits done and splits in all.
    standardize : bool
        Whether features are brought to zero mean and unit variance on the clips fitted on.
    client : distributed.Client, optional
        A Dask cluster, whose workers read the rows and sum over them; with ``jobs=1``.

    Returns
    -------
    list of Chosen
        For each split the probe, and the evidence.

    Raises
    ------
    DataError
        If the training clips cannot be fitted or divided, or the metric is not defined on any that
        are held out; names the split.
    """
    work = partial(
        choose,
        features,
        targets,
        clips,
        protocol=protocol,
        metric=metric,
        grid=grid,
        solver=solver,
        device=device,
        standardize=standardize,
        client=client,
    )
    found: list[SelectedModel] = []
    for one in resources.parallel_map(work, divisions, jobs=min(jobs, len(divisions))):
        found.append(one)
        if progress:
            progress(len(found), len(divisions))
    return found


def choose(
    features: Any,
    targets: Array,
    clips: Manifest,
    split: Split,
    protocol: Protocol,
    metric: Metric,
    grid: tuple[float, ...] = linear.GRID,
    solver: str = "probekit",
    *,
    device: str = "cpu",
    standardize: bool = True,
    client: Any = None,
) -> SelectedModel:
    """Choose C and fit the probe of one split; see :func:`choose_all`.

    Parameters
    ----------
    features : numpy.ndarray or probekit.solvers.row_blocks.Source, shape (clips, dim)
        Of all clips of the manifest.
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
    device : str
        Where probekit's solver runs.
    standardize : bool
        Whether features are standardized on the clips fitted on.
    client : distributed.Client, optional
        A Dask cluster.

    Returns
    -------
    Chosen
        The probe, and the evidence.

    Raises
    ------
    DataError
        As there.
    """

    def fit(rows: list[Array], values: tuple[float, ...]) -> list[list[FittedLinear]]:
        return linear.fit_paths(
            features,
            targets,
            rows,
            clips.target,
            len(clips.names),
            values,
            solver,
            standardize=standardize,
            device=device,
            client=client,
        )

    step = ""
    try:
        if len(split.valid):
            pairs, where = [(split.train, split.valid)], f"{len(split.valid)} validation clips"
        else:
            pairs = splits.inner_cv(protocol, clips, split.train)
            where = f"{len(pairs)} divisions of the training clips"
        step = f", choosing C on {where}"
        paths = fit([rows for rows, _ in pairs], grid)
        with resources.single_threaded():
            curves = [
                _scores(metric, clips.target, targets[held], path, features[held])
                for path, (_, held) in zip(paths, pairs, strict=True)
            ]
        defined = [scores for scores in curves if not np.isnan(scores).any()]
        if not defined:
            raise DataError(f"{metric.title} is not defined on the clips held out")
        curve = [float(value) for value in np.mean(defined, axis=0)]
        place = best_index(curve, getattr(metric, "higher", True))
        step, rows = "", split.fit_rows(protocol)
        tried = [probe for path in paths for probe in path]
        if len(pairs) == 1 and np.array_equal(rows, pairs[0][0]):  # no refit: it is there already
            final = paths[0][place]
        else:
            # the whole path up to the chosen C: each start is the solution before it
            [path] = fit([rows], grid[: place + 1])
            tried, final = tried + path, path[-1]
    except DataError as error:
        raise DataError(f"{clips.name}, split {split.name!r}{step}: {error}") from error
    return SelectedModel(
        probe=final,
        params={"C": grid[place]},
        grid=[{"C": c} for c in grid],
        curve=curve,
        at_edge=place in (0, len(grid) - 1),
        selected_on=where,
        fits=len(tried),
        unconverged=sum(not one.converged for one in tried),
        converged=final.converged,
        gap=final.gap,
        iterations=final.iterations,
    )


def _scores(
    metric: Metric, target: str, targets: Array, path: list[FittedLinear], features: Array
) -> list[float]:
    """Return the metric of each probe on held-out clips."""
    found = []
    for probe in path:
        scores = probe.scores(features)
        if getattr(metric, "probabilities", False):
            scores = metrics.to_probabilities(scores, target)
        found.append(metric.score(targets, scores))
    return found
