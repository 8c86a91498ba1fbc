"""Any classifier or regressor with scikit-learn's interface, by its dotted name."""

import warnings
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from typing import Any

import numpy as np
import yaml
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor

from probekit._typing import Array
from probekit.errors import ProbekitError
from probekit.probes.base import SelectedModel
from probekit.probes.grid_search import Fit, Settings, choose_all
from probekit.probes.registry import FitContext


@dataclass(frozen=True)
class FittedEstimator:
    """A fitted estimator.

    Attributes
    ----------
    model : object
        The estimator.
    target : {"single", "multi", "regression"}
        What it predicts.
    classes : int
        Columns of the scores, also of classes that it was not fitted on.
    probabilities : bool
        Whether the scores are.
    """

    model: Any
    target: str
    classes: int
    probabilities: bool

    def scores(self, features: Array) -> Array:
        """Return probabilities where the estimator has them, else decision values or votes."""
        if self.target == "regression":
            return np.asarray(self.model.predict(features), np.float64).reshape(len(features), -1)
        if self.target == "single":
            return self._of_classes(features, self.classes)
        if self.classes == 1:  # a single tag: the model tells its two classes apart
            return self._of_classes(features, 2)[:, 1:]
        if self.probabilities:
            return self._of_tags(self.model.predict_proba(features))
        if hasattr(self.model, "decision_function"):
            return np.asarray(self.model.decision_function(features), np.float64)
        return np.asarray(self.model.predict(features), np.float64)

    def arrays(self) -> dict[str, Array]:
        """Return coefficients, where the estimator has some."""
        found = {name: getattr(self.model, f"{name}_", None) for name in ("coef", "intercept")}
        return {k: v for k, v in found.items() if isinstance(v, np.ndarray) and v.dtype.kind == "f"}

    def _of_classes(self, features: Array, classes: int) -> Array:
        """Return a score for each class, also for those that the model was not fitted on."""
        if self.probabilities:
            found, absent = self.model.predict_proba(features), 0.0
        elif hasattr(self.model, "decision_function"):
            found, absent = self.model.decision_function(features), -np.inf
        else:
            return np.eye(classes)[self.model.predict(features)]
        if found.ndim == 1:
            found = np.stack([-found, found], axis=1)
        wide = np.full((len(features), classes), absent)
        wide[:, self.model.classes_] = found
        return wide

    def _of_tags(self, found: Any) -> Array:
        """Return the probability of each tag, of one array or of a list of one array a tag."""
        if not isinstance(found, list):
            return np.asarray(found, np.float64)
        columns = [
            one[:, list(own).index(1)] if 1 in own else np.zeros(len(one))  # never, in training
            for one, own in zip(found, self.model.classes_, strict=True)
        ]
        return np.stack(columns, axis=1)


@dataclass(frozen=True)
class SklearnProbe:
    """A probe that is somebody else's class.

    Attributes
    ----------
    name : str
        As after ``--probe``.
    made : type
        The class.
    grid : tuple of dict
        Parameters to choose from.
    """

    name: str
    estimator: type
    grid: tuple[Settings, ...]

    @property
    def seeded(self) -> bool:
        """Whether the seed changes what is fitted."""
        return "random_state" in self.estimator().get_params()

    def facts(self) -> dict[str, Any]:
        """Return the class, its version and the grid."""
        module = import_module(self.estimator.__module__.partition(".")[0])
        where = f"{self.estimator.__module__}.{self.estimator.__name__}"
        version = getattr(module, "__version__", "unknown")
        return {"version": 1, "solver": f"{where} {version}", "grid": list(self.grid)}

    def choose_all(self, job: FitContext) -> list[SelectedModel]:
        """Choose parameters on validation clips or all inner divisions, and fit."""
        wanted = "regressor" if job.clips.target == "regression" else "classifier"
        made = self.estimator().__sklearn_tags__().estimator_type
        if made not in (wanted, None):
            raise ProbekitError(
                f"--probe {self.name}: {self.estimator.__name__} is a {made}; {job.clips.name} needs a "
                f"{wanted}"
            )
        fitter = _Fitter(self.estimator, job.clips.target, len(job.clips.names))
        return choose_all(job, self.grid, fitter)


def parse(text: str) -> SklearnProbe:
    """Return the probe of a dotted name.

    Parameters
    ----------
    text : str
        ``MODULE:CLASS``, with parameters ``MODULE:CLASS:name=value,…``; values separated by ``|``
        are chosen from.

    Returns
    -------
    Estimator
        Ready to fit.

    Raises
    ------
    ProbekitError
        If the class cannot be imported, is no estimator, or does not know a parameter.
    """
    module, _, rest = text.partition(":")
    name, _, parameters = rest.partition(":")
    try:
        made = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ProbekitError(
            f"--probe {text}: cannot be imported ({error}). Write MODULE:CLASS, for example "
            "sklearn.svm:SVC:kernel=rbf,C=0.1|1|10"
        ) from error
    if not (isinstance(made, type) and issubclass(made, BaseEstimator)):
        raise ProbekitError(f"--probe {text}: {name} is not an estimator of scikit-learn's kind")
    if not hasattr(made, "predict"):
        raise ProbekitError(f"--probe {text}: {name} predicts nothing")
    pairs = [piece.partition("=") for piece in parameters.split(",") if piece]
    try:
        known = made().get_params()
    except TypeError as error:
        raise ProbekitError(f"--probe {text}: {name} cannot be made without arguments") from error
    for key, equals, value in pairs:
        if not (equals and value):
            raise ProbekitError(f"--probe {text}: {key!r} has no value; write {key}=VALUE")
        if key not in known:
            raise ProbekitError(
                f"--probe {text}: {name} has no parameter {key!r}; it has {', '.join(known)}"
            )
    values = {key: [_value(text, v) for v in value.split("|")] for key, _, value in pairs}
    grid = [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]
    return SklearnProbe(text, made, tuple(grid))


def _value(text: str, value: str) -> Any:
    """Return what a user wrote as a number, a truth value, None or text."""
    if value == "None":
        return None
    try:
        found = yaml.safe_load(value)
        # YAML takes 1e-3 for text
        return float(found) if isinstance(found, str) and "e" in found.lower() else found
    except yaml.YAMLError as error:
        raise ProbekitError(f"--probe {text}: {value!r} is neither number nor text") from error
    except ValueError:
        return found


@dataclass(frozen=True)
class _Fitter:
    """Fits the class with some parameters."""

    made: type
    target: str
    classes: int

    def __call__(
        self,
        features: Array,
        targets: Array,
        settings: Settings,
        seed: int,
        held: tuple[Array, Array] | None,
        epochs: int,
    ) -> Fit:
        model = self.made(**settings)
        if "random_state" in model.get_params() and "random_state" not in settings:
            model.set_params(random_state=seed)
        tags = model.__sklearn_tags__()
        # of the class itself: a tag that no training clip has gets a stand-in with probabilities
        sure = self.target != "regression" and hasattr(model, "predict_proba")
        if self.target == "multi" and self.classes == 1:
            targets = targets[:, 0]
        elif self.target == "multi" and not (
            tags.classifier_tags and tags.classifier_tags.multi_label
        ):
            model = OneVsRestClassifier(model)
        if self.target == "regression" and not tags.target_tags.multi_output:
            model = MultiOutputRegressor(model)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            warnings.filterwarnings("ignore", "Label .* is present in all training")
            model.fit(features, targets)
        stopped = any(issubclass(w.category, ConvergenceWarning) for w in caught)
        return Fit(FittedEstimator(model, self.target, self.classes, sure), converged=not stopped)
