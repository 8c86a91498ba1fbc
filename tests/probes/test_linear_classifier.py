"""The solver as scikit-learn's other estimators are."""

import numpy as np
import pytest
from sklearn.datasets import load_iris, make_multilabel_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from probekit.probes.linear_classifier import LinearProbe

EXPECTED_FAILURES: dict[str, str] = {}  # none: a name and a reason for each there may be one day


@parametrize_with_checks([LinearProbe()], expected_failed_checks=lambda _: EXPECTED_FAILURES)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("standardize", [True, False])
def test_probabilities_are_those_of_scikit_learn(standardize):
    x, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    own = LinearProbe(C=3.0, standardize=standardize).fit(x, names)
    steps = [StandardScaler()] if standardize else []
    model = LogisticRegression(C=3.0, tol=1e-10, max_iter=10_000)
    peer = make_pipeline(*steps, model).fit(x, names)
    assert list(own.classes_) == sorted(set(names))
    # the certified gap is 1e-6 of the objective: that leaves probabilities about 1e-3
    np.testing.assert_allclose(own.predict_proba(x), peer.predict_proba(x), atol=2e-3)
    assert (own.predict(x) == peer.predict(x)).all()
    assert own.gap_ <= own.tol
    for name in ("coef_", "intercept_", "classes_"):
        assert type(getattr(own, name)) is np.ndarray


def test_two_classes_and_tags():
    x, hot = make_multilabel_classification(200, 10, n_classes=3, random_state=0)
    probe = LinearProbe().fit(x, hot)
    assert probe.predict(x).shape == probe.predict_proba(x).shape == (200, 3)
    scaled = StandardScaler().fit_transform(x)
    for tag in range(3):
        alone = LinearProbe().fit(x, hot[:, tag])
        assert alone.coef_.shape == (1, 10) and alone.predict_proba(x).shape == (200, 2)
        np.testing.assert_allclose(alone.coef_[0], probe.coef_[tag], rtol=5e-3, atol=5e-4)
        peer = LogisticRegression(tol=1e-10, max_iter=10_000).fit(scaled, hot[:, tag])
        np.testing.assert_allclose(
            alone.decision_function(x), peer.decision_function(scaled), atol=2e-2
        )


def test_it_can_be_searched_over():
    x, y = load_iris(return_X_y=True)
    search = GridSearchCV(LinearProbe(), {"C": [0.01, 1.0]}, cv=3).fit(x, y)
    assert search.best_score_ > 0.9


@pytest.mark.parametrize(
    ("given", "match"),
    [({"C": 0.0}, "C must be > 0, got 0.0"), ({"C": -1.0}, "C must be > 0, got -1.0")],
)
def test_wrong_settings_are_named(given, match):
    with pytest.raises(ValueError, match=match):
        LinearProbe(**given).fit([[0.0], [1.0]], [0, 1])


def test_too_few_iterations_are_told_by_the_gap():
    x, y = load_iris(return_X_y=True)
    probe = LinearProbe(C=1e4, max_iter=1).fit(x, y)
    assert probe.gap_ > probe.tol
