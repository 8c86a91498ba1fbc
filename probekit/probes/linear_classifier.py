"""The logistic regression solver as a scikit-learn classifier."""

import numpy as np
import scipy  # loads scipy.special when it is used, which takes a while
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from probekit._typing import Array
from probekit.solvers.multi_fold import solve_folds
from probekit.solvers.problem import make_problem


class LinearProbe(ClassifierMixin, BaseEstimator):
    """L2-regularized logistic regression with a certified duality gap.

    Solves the problem of :class:`sklearn.linear_model.LogisticRegression`, ``½‖w‖² + C · Σ loss``
    with an unpenalized intercept: softmax for several classes, one regression for two, and one
    regression per column if ``y`` is an indicator matrix of zeros and ones (tags). After the fit,
    ``gap_`` bounds how far the objective is from its minimum.

    Parameters
    ----------
    C : float > 0
        Inverse regularization strength.
    tol : float > 0
        Certified gap, relative to the objective, at which to stop.
    max_iter : int >= 1
        Maximum number of Newton directions.
    standardize : bool
        Whether features are standardized for the fit; ``coef_`` acts on raw features either way.
    device : str
        Torch device: ``"cpu"``, ``"cuda"`` …

    Attributes
    ----------
    classes_ : numpy.ndarray, shape (classes,)
        Sorted labels; column numbers for tags.
    coef_ : numpy.ndarray, shape (classes, dim), or (1, dim) for two classes
        Weights.
    intercept_ : numpy.ndarray, shape (classes,) or (1,)
        Intercepts; infinite for a tag that all rows have, minus infinity for one of no row.
    gap_ : float
        Upper bound of (objective - minimum) / objective; the largest over tags.
    n_iter_ : int
        Steps of conjugate gradients.
    n_features_in_ : int
        Number of features.

    See Also
    --------
    probekit.evaluate : Probe embeddings under a task's protocol, with C selected.
    sklearn.linear_model.LogisticRegression : The same problem, without a certificate.

    Examples
    --------
    >>> import numpy as np
    >>> from probekit import LinearProbe
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> probe = LinearProbe(C=10.0).fit(X, ["low", "low", "high", "high"])
    >>> probe.predict([[0.2], [2.9]]).tolist()
    ['low', 'high']
    >>> probe.predict_proba([[1.5]]).round(3).tolist()
    [[0.5, 0.5]]
    >>> probe.gap_ <= probe.tol
    True

    Tags are the columns of an indicator matrix:

    >>> tags = np.array([[1, 0], [1, 1], [0, 1], [0, 1]])
    >>> LinearProbe(C=10.0).fit(X, tags).predict([[0.2], [2.9]]).tolist()
    [[1, 0], [0, 1]]
    """

    def __init__(
        self,
        C: float = 1.0,
        *,
        tol: float = 1e-6,
        max_iter: int = 60,
        standardize: bool = True,
        device: str = "cpu",
    ) -> None:
        self.C = C
        self.tol = tol
        self.max_iter = max_iter
        self.standardize = standardize
        self.device = device

    def fit(self, X: Array, y: Array) -> "LinearProbe":
        """Fit.

        Parameters
        ----------
        X : array-like, shape (rows, dim)
            Features; finite.
        y : array-like, shape (rows,) or (rows, tags)
            Labels of any type, or an indicator matrix of zeros and ones.

        Returns
        -------
        LinearProbe
            Itself.

        Raises
        ------
        ValueError
            If X is not finite, C is not positive, or there is only one class.
        """
        X, y = validate_data(self, X, y, dtype=(np.float64, np.float32), multi_output=True)
        check_classification_targets(y)
        if not self.C > 0:
            raise ValueError(f"C must be > 0, got {self.C!r}")
        self._tags = type_of_target(y) == "multilabel-indicator"
        if self._tags:
            self.classes_, targets = np.arange(y.shape[1]), np.asarray(y)
            problem = make_problem(targets, "multi", y.shape[1])
        else:
            self.classes_, targets = np.unique(column_or_1d(y, warn=True), return_inverse=True)
            if len(self.classes_) < 2:
                raise ValueError(
                    f"y must have at least two classes, got only one class, {self.classes_[0]!r}"
                )
            problem = make_problem(targets, "single", len(self.classes_))
        [(mean, scale, path)] = solve_folds(
            X,
            targets,
            np.ones((1, len(X)), bool),
            [problem],
            [float(self.C)],
            standardize=self.standardize,
            device=self.device,
            tolerance=self.tol,
            max_iter=self.max_iter,
        )
        solution = problem.assemble(path[0], X.shape[1])
        coef, intercept = solution.coef, solution.intercept
        if problem.form == "binary":
            coef, intercept = 2 * coef[1:], 2 * intercept[1:]
        self.coef_ = coef / scale
        self.intercept_ = intercept - self.coef_ @ mean
        self.gap_, self.n_iter_ = solution.gap, solution.n_iter
        return self

    def __sklearn_tags__(self) -> Tags:
        """Return scikit-learn's estimator tags."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def decision_function(self, X: Array) -> Array:
        """Return logits of ``X``, shape (rows, classes), or (rows,) for two classes."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        logits = np.asarray(X @ self.coef_.T + self.intercept_)
        return logits[:, 0] if logits.shape[1] == 1 and not self._tags else logits

    def predict_proba(self, X: Array) -> Array:
        """Return probabilities of ``X``, shape (rows, classes); rows sum to 1 except for tags."""
        logits = self.decision_function(X)
        if self._tags:
            return np.asarray(scipy.special.expit(logits))
        if logits.ndim == 1:
            probs = scipy.special.expit(logits)
            return np.column_stack([1 - probs, probs])
        return np.asarray(scipy.special.softmax(logits, axis=1))

    def predict(self, X: Array) -> Array:
        """Return the most probable class of each row, or for tags an indicator matrix."""
        logits = self.decision_function(X)
        if self._tags:
            return (logits > 0).astype(int)
        indices = (logits > 0).astype(int) if logits.ndim == 1 else logits.argmax(axis=1)
        return np.asarray(self.classes_[indices])
