"""The linear probe for more clips than a whole path of C has time for: C is selected in stages.

All values of C are first tried on a subsample of the training clips. The selected one and its
neighbors are then fitted on four times as many clips, from the weights of the stage before; where a
neighbor is better, its other neighbor is tried, too, until the best lies between two others (or at
an end). So on with four times as many, as long as these are less than half of the training clips,
and on all of them last.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.errors import DataError, ProbekitError
from probekit.probes import transforms
from probekit.probes.base import FitContext, SelectedModel, Settings, best_index
from probekit.probes.linear import GRID, FittedLinear, Linear, PathSearch
from probekit.probes.model_selection import choose_all, fit_splits, is_at_edge
from probekit.tasks.splits import Split
from probekit.utils.suggest import unknown_name_error

SEED = 0  # of the subsamples
MIN_CLIPS = 100  # of a subsample
_GROWTH = 4  # of the subsamples, from stage to stage


@dataclass(frozen=True)
class SubsampledLinear(Linear):
    """The linear probe whose C is first selected on a subsample of the training clips.

    Attributes
    ----------
    clips : int
        Size of the first subsample; a training set that is not larger is used whole.
    """

    clips: int = 0

    def facts(self) -> dict[str, Any]:
        """Return the grid of C, the solver, and size, growth and seed of the subsamples."""
        subsample = {"subsample": self.clips, "subsample_growth": _GROWTH, "subsample_seed": SEED}
        return {**super().facts(), **subsample}

    def choose_all(self, context: FitContext) -> list[SelectedModel]:
        """Select C and fit, split by split."""
        if context.steps != transforms.STANDARD:
            raise DataError(f"--probe {self.name} standardizes features; leave out --preset")
        return fit_splits(context, partial(_choose, replace(context, progress=None), self))


def _choose(context: FitContext, probe: SubsampledLinear, split: Split) -> SelectedModel:
    """Select C for one split in stages, and fit it."""
    grid: list[Settings] = [{"C": c} for c in probe.grid]
    search = PathSearch(probe.solver, probe.device, full=probe.full)
    if len(split.train) <= probe.clips:
        return choose_all(replace(context, splits=[split]), grid, search)[0]
    drawn = np.random.default_rng(SEED).permutation(split.train)
    sizes = [probe.clips]
    while sizes[-1] * _GROWTH < len(drawn) / 2:
        sizes.append(sizes[-1] * _GROWTH)
    # refitted on validation clips, if at all, when C is selected
    stage = replace(context, protocol=context.protocol.model_copy(update={"refit": False}))
    first = replace(split, train=np.sort(drawn[: sizes[0]]))
    [model] = choose_all(replace(stage, splits=[first]), grid, search)
    fitted = [model]
    for size in (*sizes[1:], len(drawn)):
        larger = replace(split, train=np.sort(drawn[:size]))
        best, models = _climb(replace(stage, splits=[larger]), grid, search, model)
        model = models[best]
        fitted += models.values()
    fits, unconverged = (
        sum(getattr(tried, name) for tried in fitted) for name in ("fits", "unconverged")
    )
    if len(split.valid) and context.protocol.refit:
        search = replace(search, start=_start(model))
        rows = split.fit_rows(context.protocol)
        final = search.refit(context, [grid[best]], rows, [])[-1]
        fits, unconverged = fits + 1, unconverged + (not final.converged)
        model = replace(
            model,
            probe=final.probe,
            converged=final.converged,
            gap=final.gap,
            iterations=final.iterations,
        )
    counts = ", ".join(f"{size:,}" for size in sizes)
    return replace(
        model,
        grid=grid,
        curve=[models[k].selected_score if k in models else float("nan") for k in range(len(grid))],
        at_edge=is_at_edge(grid, grid[best]),
        selected_on=f"{counts} of {len(split.train):,} training clips, then {len(models)} "
        f"values of C on all of them: {model.selected_on}",
        fits=fits,
        unconverged=unconverged,
    )


def _climb(
    context: FitContext, grid: list[Settings], search: PathSearch, start: SelectedModel
) -> tuple[int, dict[int, SelectedModel]]:
    """Fit the C of ``start`` and neighbors until the best lies between two.

    Returns the position of the best C in the grid, and the models by their positions.
    """
    models: dict[int, SelectedModel] = {}
    best = grid.index(start.params)
    search = replace(search, full=True)
    while todo := [k for k in (best, best - 1, best + 1) if 0 <= k < len(grid) and k not in models]:
        for k in todo:
            search = replace(search, start=_start(models.get(best, start)))
            [models[k]] = choose_all(context, [grid[k]], search)
        tried = sorted(models)
        scores = [models[k].selected_score for k in tried]
        best = tried[best_index(scores, context.metric.higher_is_better)]
    return best, models


def _start(model: SelectedModel) -> tuple[Array, Array]:
    assert isinstance(model.probe, FittedLinear)
    return model.probe.on_raw_features()


def parse(parameters: str, solver: str, device: str, grid: Sequence[float]) -> Linear:
    """Return the probe of ``linear:subsample=CLIPS``.

    Parameters
    ----------
    parameters : str
        What follows ``linear:``.
    solver, device : str
        Of the probe.
    grid : sequence of float > 0
        Values of C; empty for its own.

    Raises
    ------
    ProbekitError
        If a parameter is unknown, or the number of clips is too small.
    """
    name, _, value = parameters.partition("=")
    if name != "subsample":
        raise unknown_name_error("parameter of the linear probe", name, ["subsample"])
    if not value.isdecimal() or int(value) < MIN_CLIPS:
        raise ProbekitError(
            f"--probe linear: subsample must be a number of clips >= {MIN_CLIPS}, got {value!r}"
        )
    clips = int(value)
    label = f"linear:subsample={clips}"
    return SubsampledLinear(solver, device, tuple(grid) or GRID, bool(grid), label, clips=clips)
