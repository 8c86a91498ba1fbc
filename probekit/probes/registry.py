"""The kinds of probes, by name: what each one fits and how it chooses its settings."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import Any, Protocol

from probekit._typing import Array
from probekit.cards import Protocol as TaskProtocol
from probekit.data.manifest import Manifest
from probekit.metrics.metrics import Metric
from probekit.probes import linear, model_selection, transforms
from probekit.probes.base import SelectedModel
from probekit.tasks.splits import Split
from probekit.utils.suggest import unknown_name_error

NAMES = ("linear", "mlp", "knn", "head")


@dataclass(frozen=True)
class FitContext:
    """What a probe is fitted on; one for all folds of a run.

    Attributes
    ----------
    features : numpy.ndarray or probekit.solvers.row_blocks.Source, shape (clips, dim), float32
        As in the cache; for the linear probe also rows that are read when they are asked for.
    targets : numpy.ndarray
        As :meth:`probekit.data.manifest.Manifest.targets` gives them.
    clips : Manifest
        The clips, row for row.
    divisions : list of Split
        One for a fixed split, else one a fold; test rows are for nothing but scoring.
    protocol : Protocol
        Of the task's card.
    metric : Metric
        What is best.
    steps : tuple of str
        What is done to features first.
    seed : int
        Of whatever is random.
    jobs : int
        Processes that may be used.
    progress : callable, optional
        Called with folds done and folds in all.
    client : distributed.Client, optional
        A Dask cluster that sums over rows which are read when they are asked for.
    """

    features: Any
    targets: Array
    clips: Manifest
    splits: list[Split]
    protocol: TaskProtocol
    metric: Metric
    steps: tuple[str, ...] = ("standardize",)
    seed: int = 0
    jobs: int = 1
    progress: Callable[[int, int], None] | None = None
    client: Any = None


class Probe(Protocol):
    """A kind of probe.

    Attributes
    ----------
    name : str
        As after ``--probe``.
    seeded : bool
        Whether the seed changes what is fitted.
    """

    @property
    def name(self) -> str:
        """As after ``--probe``."""
        ...

    @property
    def seeded(self) -> bool:
        """Whether the seed changes what is fitted."""
        ...

    def facts(self) -> dict[str, Any]:
        """Return what decides the fit besides the data: it names the run."""
        ...

    def choose_all(self, job: FitContext) -> list[SelectedModel]:
        """Choose settings and fit, for every fold, without a look at its test clips."""
        ...


@dataclass(frozen=True)
class Linear:
    """The linear probe; see :mod:`probekit.probes.linear`.

    Attributes
    ----------
    solver : {"probekit", "scikit-learn"}
        What minimizes.
    device : str
        Where probekit's solver runs.
    name : str
        As after ``--probe``.
    seeded : bool
        No: the minimum is what it is.
    """

    solver: str = "probekit"
    device: str = "cpu"
    name: str = "linear"
    seeded: bool = False

    def facts(self) -> dict[str, Any]:
        """Return the grid of C and the solver."""
        return {"version": 2, "grid": list(linear.GRID), "solver": self.solver}

    def choose_all(self, job: FitContext) -> list[SelectedModel]:
        """Choose C and fit, all folds together where features are standardized only."""
        choose = partial(
            model_selection.choose_all,
            solver=self.solver,
            device=self.device,
            jobs=job.jobs,
            client=job.client,
        )
        data = (job.targets, job.clips)
        rules = (job.protocol, job.metric)
        if job.steps == ("standardize",):
            return choose(job.features, *data, job.splits, *rules, progress=job.progress)
        found = []
        for split in job.splits:
            # fitted on the training clips' features; labels and test clips are not looked at
            transform = transforms.fit_transform(job.steps, job.features[split.train])
            own = transform(job.features)
            [one] = choose(own, *data, [split], *rules, standardize=False)
            found.append(replace(one, probe=transforms.Pipeline(transform, one.probe)))
            if job.progress:
                job.progress(len(found), len(job.splits))
        return found


@dataclass(frozen=True)
class Head:
    """The network's own classifier: its scores are handed through; see :mod:`.head`."""

    name: str = "head"
    seeded: bool = False

    def facts(self) -> dict[str, Any]:
        """Return its version: there is nothing to choose."""
        return {"version": 1}

    def choose_all(self, job: FitContext) -> list[SelectedModel]:
        """Raise: a run takes the head from the network (see :mod:`probekit.probes.pretrained_head`)."""
        raise NotImplementedError


def get_probe(text: str, *, solver: str = "probekit", device: str = "cpu") -> Probe:
    """Return the kind of probe of a name.

    Parameters
    ----------
    text : str
        ``linear``, ``mlp``, ``mlp:hear`` (its grid), ``knn``, ``head``, or a scikit-learn estimator
        ``MODULE:CLASS`` with parameters, several values of which are chosen from:
        ``sklearn.svm:SVC:kernel=rbf,C=0.1|1|10``.
    solver : {"probekit", "scikit-learn"}
        Of the linear probe.
    device : str
        Of the linear probe's solver.

    Returns
    -------
    Kind
        Ready to fit.

    Raises
    ------
    ProbekitError
        If there is none of that name, or the class cannot be imported.
    """
    solver = {"sklearn": "scikit-learn"}.get(solver, solver)
    if solver not in linear.SOLVERS:
        raise unknown_name_error("solver", solver, linear.SOLVERS)
    name, colon, tail = text.partition(":")
    if name == "linear" and not colon:
        return Linear(solver, device)
    if name == "head" and not colon:
        return Head()
    places = {"mlp": "mlp", "knn": "knn"}
    if name in places:
        made: Probe = import_module(f"probekit.probes.{places[name]}").parse(tail)
        return made
    if not colon:
        raise unknown_name_error("probe", text, NAMES, "Or MODULE:CLASS of scikit-learn's kind")
    made = import_module("probekit.probes.sklearn_probe").parse(text)
    return made
