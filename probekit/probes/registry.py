"""Probes by name."""

import math
from collections.abc import Sequence

from probekit.errors import ProbekitError
from probekit.probes import subsampled_linear, zero_shot
from probekit.probes.base import Probe
from probekit.probes.linear import SOLVERS, Linear
from probekit.probes.pretrained_head import Head
from probekit.scores.store import POOLING_PROBES
from probekit.utils.suggest import unknown_name_error

OF_FRAMES = ("mlp-segments", *POOLING_PROBES)  # read frames, not one vector a clip
NAMES = ("linear", "mlp", "mlp-segments", "knn", "head", "zero-shot", *POOLING_PROBES)


def get_probe(
    text: str, *, solver: str = "probekit", device: str = "cpu", grid: Sequence[float] = ()
) -> Probe:
    """Return the probe of a name.

    Parameters
    ----------
    text : str
        ``linear``, ``linear:subsample=50000`` (C is selected on as many clips first), ``mlp``,
        ``mlp:hear`` (its grid), ``mlp-segments`` (with ``:epochs=20``), ``attention``
        (``attention:weights=class``), ``prototypes``, ``knn``, ``head``, ``zero-shot``
        (``zero-shot:a recording of {}``), or a scikit-learn estimator ``MODULE:CLASS`` with
        parameters, of which several values are tried: ``sklearn.svm:SVC:kernel=rbf,C=0.1|1|10``.
    solver : {"probekit", "scikit-learn"}
        Solver of the linear probe.
    device : str
        Torch device of the linear probe's solver.
    grid : sequence of float > 0
        Values of C of the linear probe; empty for its own.

    Returns
    -------
    Probe
        Not fitted.

    Raises
    ------
    ProbekitError
        If the name is unknown, the class cannot be imported, or a grid is not of positive numbers
        or not for a linear probe.
    """
    solver = {"sklearn": "scikit-learn"}.get(solver, solver)
    if solver not in SOLVERS:
        raise unknown_name_error("solver", solver, SOLVERS)
    name, colon, parameters = text.partition(":")
    if name == "linear":
        wrong = [value for value in grid if not 0 < value < math.inf]
        if wrong:
            raise ProbekitError(f"grid: values of C must be > 0 and finite, got {wrong[0]:g}")
        values = tuple(sorted({float(value) for value in grid}))
        if colon:
            return subsampled_linear.parse(parameters, solver, device, values)
        return Linear(solver, device, values, full=True) if grid else Linear(solver, device)
    if grid:
        hint = f"{name} has no C"
        if colon and name not in NAMES:
            hint = (
                f"write the values in --probe, such as {':'.join(text.split(':')[:2])}:C=0.1|1|10"
            )
        raise ProbekitError(f"grid: values of C are for the linear probe, got {text}; {hint}")
    if name == "head" and not colon:
        return Head()
    if name == "zero-shot":
        return zero_shot.parse(parameters)
    # these import scikit-learn
    if name == "mlp":
        from probekit.probes import mlp

        return mlp.parse(parameters)
    if name == "mlp-segments":
        from probekit.probes import mlp_segments

        return mlp_segments.parse(parameters, device)
    if name in POOLING_PROBES:
        from probekit.probes import frame_pooling

        return frame_pooling.parse(name, parameters)
    if name == "knn":
        from probekit.probes import knn

        return knn.parse(parameters)
    if not colon:
        raise unknown_name_error("probe", text, NAMES, "Or MODULE:CLASS of scikit-learn's kind")
    from probekit.probes import sklearn_probe

    return sklearn_probe.parse(text)
