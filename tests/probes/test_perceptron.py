"""The perceptron against scikit-learn's: the same weights to the last bit."""

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier, MLPRegressor

from probekit.probes.perceptron import Perceptron

CASES = {
    "five classes": ("softmax", 5),
    "two classes": ("logistic", 1),
    "tags": ("logistic", 3),
    "a number": ("identity", 1),
    "numbers": ("identity", 2),
}


def draw(case, clips=130, dim=12):
    """Features, targets as scikit-learn takes them, and as the perceptron does."""
    rng = np.random.default_rng(3)
    features = rng.normal(size=(clips, dim)).astype(np.float32)
    if case == "five classes":
        labels = rng.integers(5, size=clips)
        return features, labels, labels[:, None] == np.arange(5)
    if case == "two classes":
        labels = rng.integers(2, size=clips)
        return features, labels, labels[:, None] == 1
    if case == "tags":
        tags = (rng.random((clips, 3)) < 0.4).astype(int)
        return features, tags, tags.astype(bool)
    numbers = rng.normal(size=(clips, CASES[case][1]))
    return features, numbers.squeeze(axis=1 if numbers.shape[1] == 1 else ()), numbers


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("hidden", [(16,), (16, 8)])
@pytest.mark.parametrize("case", CASES)
def test_weights_and_outputs_are_those_of_scikit_learn(case, hidden, dtype):
    """Exactly: the same operations in the same order; 40 epochs of three batches."""
    features, theirs, ours = draw(case)
    features = features.astype(dtype)
    common = {"learning_rate_init": 3e-3, "alpha": 0.01, "batch_size": 50}
    kind = MLPRegressor if case.startswith(("a n", "num")) else MLPClassifier
    rng = np.random.RandomState(7)
    model = kind(hidden_layer_sizes=hidden, random_state=rng, **common)
    output, width = CASES[case]
    options = {} if kind is MLPRegressor else {"classes": np.arange(max(2, width))}
    network = Perceptron(
        (features.shape[1], *hidden, width),
        output,
        rate=3e-3,
        decay=0.01,
        batch=50,
        rng=np.random.RandomState(7),
        dtype=features.dtype,
    )
    for _ in range(40):
        model.partial_fit(features, theirs, **options)
        network.train_epoch(features, ours)
    for a, b in zip((*model.coefs_, *model.intercepts_), network.parameters, strict=True):
        assert a.dtype == b.dtype == dtype
        assert np.array_equal(a, b)
    expected = model.predict(features) if kind is MLPRegressor else model.predict_proba(features)
    found = network(features)
    if case == "two classes":
        found = np.hstack([1 - found, found])
    assert np.array_equal(expected.reshape(len(features), -1), found)


def test_weights_that_are_not_finite_are_an_error():
    features, _, targets = draw("numbers")
    rng = np.random.RandomState(0)
    network = Perceptron(
        (12, 4, 2), "identity", rate=1e-3, decay=0, batch=50, rng=rng, dtype=features.dtype
    )
    with pytest.raises(ValueError, match="weights are not finite"), np.errstate(all="ignore"):
        for _ in range(3):
            network.train_epoch(features * np.float32(1e38), targets.astype(np.float32))
