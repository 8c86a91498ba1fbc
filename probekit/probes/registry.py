"""Probes by name."""

from probekit.probes.base import Probe
from probekit.probes.linear import SOLVERS, Linear
from probekit.probes.pretrained_head import Head
from probekit.utils.suggest import unknown_name_error

NAMES = ("linear", "mlp", "knn", "head")


def get_probe(text: str, *, solver: str = "probekit", device: str = "cpu") -> Probe:
    """Return the probe of a name.

    Parameters
    ----------
    text : str
        ``linear``, ``mlp``, ``mlp:hear`` (its grid), ``knn``, ``head``, or a scikit-learn estimator
        ``MODULE:CLASS`` with parameters, of which several values are tried:
        ``sklearn.svm:SVC:kernel=rbf,C=0.1|1|10``.
    solver : {"probekit", "scikit-learn"}
        Solver of the linear probe.
    device : str
        Torch device of the linear probe's solver.

    Returns
    -------
    Probe
        Not fitted.

    Raises
    ------
    ProbekitError
        If the name is unknown, or the class cannot be imported.
    """
    solver = {"sklearn": "scikit-learn"}.get(solver, solver)
    if solver not in SOLVERS:
        raise unknown_name_error("solver", solver, SOLVERS)
    name, colon, parameters = text.partition(":")
    if name == "linear" and not colon:
        return Linear(solver, device)
    if name == "head" and not colon:
        return Head()
    # these import scikit-learn
    if name == "mlp":
        from probekit.probes import mlp

        return mlp.parse(parameters)
    if name == "knn":
        from probekit.probes import knn

        return knn.parse(parameters)
    if not colon:
        raise unknown_name_error("probe", text, NAMES, "Or MODULE:CLASS of scikit-learn's kind")
    from probekit.probes import sklearn_probe

    return sklearn_probe.parse(text)
