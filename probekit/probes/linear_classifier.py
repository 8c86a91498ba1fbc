"""The solver behind scikit-learn's interface."""

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from probekit._typing import Array
from probekit.solvers import multi_fold, problem


class LinearProbe(ClassifierMixin, BaseEstimator):
    """L2-regularized logistic regression with a proof of how close it came to its minimum.

    Fits what :class:`sklearn.linear_model.LogisticRegression` does, ``½‖w‖² + C · Σ loss`` with a
    free intercept: softmax for several classes, one regression for two, and one regression a column
    where ``y`` is a table of zeros and ones (tags).

    Parameters
    ----------
    C : float > 0
        Strength of the data against the regularization.
    tol : float > 0
        The certified gap, relative to the objective, at which to stop.
    max_iter : int >= 1
        Newton directions at most.
    standardize : bool
        Bring features to zero mean and unit variance first; ``coef_`` is for features as given
        either way.
    device : str
        Where it runs: ``"cpu"``, ``"cuda"`` …

    Attributes
    ----------
    classes_ : numpy.ndarray, shape (classes,)
        Labels in order; numbers of columns for tags.
    coef_ : numpy.ndarray, shape (classes, dim), or (1, dim) for two classes
        Weights.
    intercept_ : numpy.ndarray, shape (classes,) or (1,)
        Intercepts; infinite for a tag that all rows have, or none has.
    gap_ : float
        Upper bound of (objective - minimum) / objective; the greatest over tags.
    n_iter_ : int
        Steps of conjugate gradients.
    n_features_in_ : int
        Number of features.

    Examples
    --------
    >>> import numpy as np
    >>> from probekit.probes.linear_classifier import LinearProbe
    >>> x = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> probe = LinearProbe(C=10.0).fit(x, ["low", "low", "high", "high"])
    >>> list(probe.predict([[0.2], [2.9]]))
    [np.str_('low'), np.str_('high')]
    >>> bool(probe.gap_ < 1e-6)
    True
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
            Labels of any kind, or a table of zeros and ones.

        Returns
        -------
        LinearProbe
            Itself.

        Raises
        ------
        ValueError
            If numbers are not finite, C is not positive, or there is only one class.
        """
        X, y = validate_data(self, X, y, dtype=(np.float64, np.float32), multi_output=True)
        check_classification_targets(y)
        if not self.C > 0:
            raise ValueError(f"C must be positive, not {self.C!r}")
        self._tags = type_of_target(y) == "multilabel-indicator"
        if self._tags:
            self.classes_, places = np.arange(y.shape[1]), np.asarray(y)
            wanted = problem.make_problem(places, "multi", y.shape[1])
        else:
            self.classes_, places = np.unique(column_or_1d(y, warn=True), return_inverse=True)
            if len(self.classes_) < 2:
                raise ValueError(
                    f"y holds only one class, {self.classes_[0]!r}: there is nothing to tell apart"
                )
            wanted = problem.make_problem(places, "single", len(self.classes_))
        mask = np.ones((1, len(X)), bool)
        [(mean, scale, path)] = multi_fold.solve_folds(
            X,
            places,
            mask,
            [wanted],
            [float(self.C)],
            standardize=self.standardize,
            device=self.device,
            tolerance=self.tol,
            max_iter=self.max_iter,
        )
        one = wanted.assemble(path[0], X.shape[1])
        coef, intercept = one.coef, one.intercept
        if wanted.form == "pair":
            coef, intercept = 2 * coef[1:], 2 * intercept[1:]
        self.coef_ = coef / scale
        self.intercept_ = intercept - self.coef_ @ mean
        self.gap_, self.n_iter_ = one.gap, one.n_iter
        return self

    def __sklearn_tags__(self) -> Tags:
        """Return what scikit-learn should know."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def decision_function(self, X: Array) -> Array:
        """Return decision values.

        Parameters
        ----------
        X : array-like, shape (rows, dim)
            Features.

        Returns
        -------
        numpy.ndarray, shape (rows, classes), or (rows,) for two classes
            Logits.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        found = np.asarray(X @ self.coef_.T + self.intercept_)
        return found[:, 0] if found.shape[1] == 1 and not self._tags else found

    def predict_proba(self, X: Array) -> Array:
        """Return probabilities.

        Parameters
        ----------
        X : array-like, shape (rows, dim)
            Features.

        Returns
        -------
        numpy.ndarray, shape (rows, classes)
            Rows sum to 1, but for tags.
        """
        found = self.decision_function(X)
        if self._tags:
            return np.asarray(expit(found))
        if found.ndim == 1:
            chance = expit(found)
            return np.column_stack([1 - chance, chance])
        return np.asarray(softmax(found, axis=1))

    def predict(self, X: Array) -> Array:
        """Return the likeliest class of each row, or the tags that are likelier than not.

        Parameters
        ----------
        X : array-like, shape (rows, dim)
            Features.

        Returns
        -------
        numpy.ndarray, shape (rows,) or (rows, tags)
            Labels, or zeros and ones.
        """
        found = self.decision_function(X)
        if self._tags:
            return (found > 0).astype(int)
        places = (found > 0).astype(int) if found.ndim == 1 else found.argmax(axis=1)
        return np.asarray(self.classes_[places])
