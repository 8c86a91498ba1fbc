"""Any scikit-learn classifier or regressor as a probe, by its dotted name."""

import warnings
from dataclasses import dataclass
from functools import partial
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
from probekit.errors import DataError, ProbekitError
from probekit.probes.base import FitContext, SelectedModel, Settings
from probekit.probes.model_selection import Fit, GridSearch, choose_all


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
        Columns of the scores, including classes that it was not fitted on.
    probabilities : bool
        Whether scores are probabilities.
    """

    model: Any
    target: str
    classes: int
    probabilities: bool

    def scores(self, features: Array) -> Array:
        """Return probabilities if the estimator has them, else decision values or votes."""
        if self.target == "regression":
            return np.asarray(self.model.predict(features), np.float64).reshape(len(features), -1)
        if self.target == "single":
            return self._class_scores(features, self.classes)
        if self.classes == 1:  # a single tag: the model has two classes
            return self._class_scores(features, 2)[:, 1:]
        if self.probabilities:
            return self._tag_probabilities(self.model.predict_proba(features))
        if hasattr(self.model, "decision_function"):
            return np.asarray(self.model.decision_function(features), np.float64)
        return np.asarray(self.model.predict(features), np.float64)

    def predictions(self, features: Array) -> Array | None:
        """Return the classes that the estimator itself predicts; None for tags and numbers."""
        if self.target != "single":
            return None
        return np.asarray(self.model.predict(features), np.int64)

    def arrays(self) -> dict[str, Array]:
        """Return coefficients, if the estimator has some."""
        arrays = {name: getattr(self.model, f"{name}_", None) for name in ("coef", "intercept")}
        return {
            name: value
            for name, value in arrays.items()
            if isinstance(value, np.ndarray) and value.dtype.kind == "f"
        }

    def _class_scores(self, features: Array, classes: int) -> Array:
        """Return a score for each class, including those that the model was not fitted on."""
        if self.probabilities:
            fitted, absent = self.model.predict_proba(features), 0.0
        elif hasattr(self.model, "decision_function"):
            fitted, absent = self.model.decision_function(features), -np.inf
        else:
            return np.eye(classes)[self.model.predict(features)]
        if fitted.ndim == 1:
            fitted = np.stack([-fitted, fitted], axis=1)
        if fitted.shape[1] != len(self.model.classes_):
            raise DataError(
                f"{type(self.model).__name__} gives {fitted.shape[1]} decision values for "
                f"{len(self.model.classes_)} classes; one for each class is needed"
            )
        scores = np.full((len(features), classes), absent)
        scores[:, self.model.classes_] = fitted
        return scores

    def _tag_probabilities(self, probs: Any) -> Array:
        """Return the probability of each tag, from one array or a list of one array per tag."""
        if not isinstance(probs, list):
            return np.asarray(probs, np.float64)
        columns = [  # a tag of no training clip has probability 0
            tag_probs[:, list(classes).index(1)] if 1 in classes else np.zeros(len(tag_probs))
            for tag_probs, classes in zip(probs, self.model.classes_, strict=True)
        ]
        return np.stack(columns, axis=1)


@dataclass(frozen=True)
class SklearnProbe:
    """A probe of any class with scikit-learn's interface.

    Attributes
    ----------
    name : str
        As after ``--probe``.
    estimator : type
        The class.
    grid : tuple of dict
        Parameters to select from.
    """

    name: str
    estimator: type
    grid: tuple[Settings, ...]

    @property
    def seeded(self) -> bool:
        """Whether the seed changes the fit."""
        return "random_state" in self.estimator().get_params()

    def facts(self) -> dict[str, Any]:
        """Return the class, its version and the grid."""
        module = import_module(self.estimator.__module__.partition(".")[0])
        path = f"{self.estimator.__module__}.{self.estimator.__name__}"
        version = getattr(module, "__version__", "unknown")
        return {"version": 1, "solver": f"{path} {version}", "grid": list(self.grid)}

    def choose_all(self, context: FitContext) -> list[SelectedModel]:
        """Select parameters on validation clips or all inner splits, and fit."""
        expected = "regressor" if context.clips.target == "regression" else "classifier"
        kind = self.estimator().__sklearn_tags__().estimator_type
        if kind not in (expected, None):
            raise ProbekitError(
                f"--probe {self.name}: {context.clips.name} needs a {expected}, got "
                f"{self.estimator.__name__}, a {kind}"
            )
        return choose_all(context, self.grid, GridSearch(partial(_fit, self.estimator)))


def parse(text: str) -> SklearnProbe:
    """Return the probe of a dotted name.

    Parameters
    ----------
    text : str
        ``MODULE:CLASS``, with parameters ``MODULE:CLASS:name=value,…``; values separated by ``|``
        are selected from.

    Returns
    -------
    SklearnProbe
        Not fitted.

    Raises
    ------
    ProbekitError
        If the class cannot be imported, is not an estimator, or has no such parameter.
    """
    module, _, rest = text.partition(":")
    name, _, parameters = rest.partition(":")
    try:
        estimator = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ProbekitError(
            f"--probe {text}: cannot be imported ({error}). Write MODULE:CLASS, for example "
            "sklearn.svm:SVC:kernel=rbf,C=0.1|1|10"
        ) from error
    if not (isinstance(estimator, type) and issubclass(estimator, BaseEstimator)):
        raise ProbekitError(f"--probe {text}: {name} must be a scikit-learn estimator")
    if not hasattr(estimator, "predict"):
        raise ProbekitError(f"--probe {text}: {name} has no predict method")
    pairs = [piece.partition("=") for piece in parameters.split(",") if piece]
    try:
        known = estimator().get_params()
    except TypeError as error:
        raise ProbekitError(
            f"--probe {text}: {name} has required arguments, which is not supported ({error})"
        ) from error
    for key, equals, value in pairs:
        if not (equals and value):
            raise ProbekitError(f"--probe {text}: {key!r} has no value; write {key}=VALUE")
        if key not in known:
            raise ProbekitError(
                f"--probe {text}: {name} has no parameter {key!r}; its parameters are "
                f"{', '.join(known)}"
            )
    values = {key: [_parse_value(text, v) for v in value.split("|")] for key, _, value in pairs}
    if "ovo" in values.get("decision_function_shape", []):
        raise ProbekitError(
            f"--probe {text}: decision_function_shape must be ovr, its default, got ovo: that "
            "gives one number for each pair of classes, not for each class; it predicts the same"
        )
    grid = [dict(zip(values, point, strict=True)) for point in product(*values.values())]
    return SklearnProbe(text, estimator, tuple(grid))


def _parse_value(text: str, value: str) -> Any:
    """Return a user's value as a number, a boolean, None or text."""
    if value == "None":
        return None
    try:
        parsed = yaml.safe_load(value)
        # YAML reads 1e-3 as text
        return float(parsed) if isinstance(parsed, str) and "e" in parsed.lower() else parsed
    except yaml.YAMLError as error:
        raise ProbekitError(f"--probe {text}: cannot read the value {value!r}") from error
    except ValueError:
        return parsed


def _fit(
    estimator: type,
    context: FitContext,
    features: Array,
    targets: Array,
    settings: Settings,
    *_: Any,
) -> Fit:
    """Fit the class with some parameters."""
    target, classes = context.clips.target, len(context.clips.class_names)
    model = estimator(**settings)
    if "random_state" in model.get_params() and "random_state" not in settings:
        model.set_params(random_state=context.seed)
    tags = model.__sklearn_tags__()
    # of the class itself: OneVsRestClassifier gives a constant tag probabilities in any case
    probabilities = target != "regression" and hasattr(model, "predict_proba")
    if target == "multi" and classes == 1:
        targets = targets[:, 0]
    elif target == "multi" and not (tags.classifier_tags and tags.classifier_tags.multi_label):
        model = OneVsRestClassifier(model)
    if target == "regression" and not tags.target_tags.multi_output:
        model = MultiOutputRegressor(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        warnings.filterwarnings("ignore", "Label .* is present in all training")
        model.fit(features, targets)
    stopped = any(issubclass(w.category, ConvergenceWarning) for w in caught)
    fitted = FittedEstimator(model, target, classes, probabilities)
    return Fit(fitted, converged=not stopped)
