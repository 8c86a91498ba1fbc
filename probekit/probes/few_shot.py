"""The linear probe on a few labeled clips a class, with one C: no label is left to select it."""

from dataclasses import dataclass
from functools import partial

from probekit.errors import DataError, ProbekitError
from probekit.probes.base import FitContext, Probe, SelectedModel
from probekit.probes.linear import Linear, PathSearch
from probekit.probes.model_selection import fit_splits
from probekit.probes.transforms import STANDARD
from probekit.tasks.splits import Split

C = 1.0
"""Inverse regularization strength, where none is given."""


@dataclass(frozen=True)
class FewShotLinear(Linear):
    """The linear probe with its only C, fitted to the training clips."""

    def choose_all(self, context: FitContext) -> list[SelectedModel]:
        """Fit every split."""
        if context.steps != STANDARD:
            raise DataError("--shots standardizes features; leave out --preset")
        return fit_splits(context, partial(_fit, context, self))


def few_shot(probe: Probe) -> FewShotLinear:
    """Return a linear probe that selects nothing.

    Raises
    ------
    ProbekitError
        If the probe is not linear, or has several values of C of the user's.
    """
    if type(probe) is not Linear:
        raise ProbekitError(f"--shots goes with --probe linear, got {probe.name}")
    if probe.full and len(probe.grid) > 1:
        raise ProbekitError(
            "--shots leaves no labels to select C; give one value, such as --grid 1"
        )
    grid = probe.grid if probe.full else (C,)
    return FewShotLinear(probe.solver, probe.device, grid, full=True)


def _fit(context: FitContext, probe: FewShotLinear, split: Split) -> SelectedModel:
    """Fit one split."""
    [settings] = [{"C": c} for c in probe.grid]
    search = PathSearch(probe.solver, probe.device, full=True)
    try:
        fit = search.refit(context, [settings], split.train, [])[-1]
    except search.errors as error:
        raise DataError(f"{context.clips.name}, split {split.name!r}: {error}") from error
    return SelectedModel(
        probe=fit.probe,
        params=settings,
        grid=[settings],
        selected_on="nothing: one C",
        fits=1,
        unconverged=int(not fit.converged),
        converged=fit.converged,
        gap=fit.gap,
        iterations=fit.iterations,
    )
