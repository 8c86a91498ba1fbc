import warnings

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from probekit.errors import DataError, UnknownNameError
from probekit.probes import presets, transforms

THEIRS = {"standardize": StandardScaler, "unit-l2": Normalizer}


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    scales = [1e-3, 1, 10, 1e4, 1]
    return (rng.normal(size=(60, 5)) * scales + [0, 5, -1, 1e5, 0]).astype(np.float32)


@pytest.mark.parametrize(
    "names", [("standardize",), ("unit-l2",), ("standardize", "unit-l2"), ("unit-l2",) * 2]
)
def test_steps_are_those_of_a_pipeline_fitted_on_training_rows(features, names):
    train, test = features[:40], features[40:]
    ours = transforms.fit_transform(names, train)
    theirs = make_pipeline(*(THEIRS[name]() for name in names)).fit(train.astype(np.float64))
    for rows in (train, test):
        # ours is rounded to float32 at the end
        np.testing.assert_allclose(
            ours(rows), theirs.transform(rows.astype(np.float64)), rtol=1e-5, atol=1e-6
        )
        assert ours(rows).dtype == np.float32


def test_no_steps_leave_features_as_they_are(features):
    assert np.array_equal(transforms.fit_transform((), features)(features), features)


def test_constant_and_empty_features_stay_finite(features):
    features[:, 1] = 0.1  # not exact in binary: its standard deviation is not quite 0
    features[:, 2] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        own = transforms.fit_transform(("standardize", "unit-l2"), features)
        found = own(np.concatenate([features, np.zeros((1, 5), np.float32)]))
        alone = transforms.fit_transform(("unit-l2",), features)(np.zeros((2, 5), np.float32))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[:-1, 1:3], 0, atol=1e-6)
    assert np.array_equal(alone, np.zeros((2, 5)))


def test_unknown_steps_are_named():
    assert transforms.check_steps(["standardize", "unit-l2"]) == ("standardize", "unit-l2")
    with pytest.raises(UnknownNameError, match="unknown step 'standardizing'"):
        transforms.check_steps(["standardizing"])


@pytest.mark.parametrize(
    "steps", [("unit-l2", "standardize"), ("standardize", "standardize")], ids="-".join
)
def test_standardization_anywhere_but_first_is_refused(steps, features):
    """Its statistics are those of raw features: of unit vectors they would be wrong."""
    match = f"steps must have standardize first and once, got {', '.join(steps)}"
    with pytest.raises(DataError, match=match):
        transforms.check_steps(steps)
    with pytest.raises(DataError, match=match):
        transforms.fit_transform(steps, features)


def test_a_preset_with_steps_in_the_wrong_order_is_refused(tmp_path, monkeypatch):
    card = tmp_path / "reports" / "mine.yaml"
    card.parent.mkdir()
    card.write_text(
        "name: mine\ntitle: t\nsource: here\npresets:\n  any:\n    steps: [unit-l2, standardize]\n"
        "    probe: linear\n    description: d\n"
    )
    monkeypatch.setenv("PROBEKIT_CARDS", str(tmp_path))
    with pytest.raises(DataError, match="--preset mine: steps must have standardize first"):
        presets.load_preset("mine", "net")


def test_a_stepped_probe_sees_transformed_features(features):
    class Echo:
        probabilities = True

        def scores(self, rows):
            return rows

        def arrays(self):
            return {"weight": np.ones(2)}

    own = transforms.fit_transform(("standardize",), features)
    found = transforms.Pipeline(own, Echo())
    assert np.array_equal(found.scores(features), own(features))
    assert found.probabilities
    kept = found.arrays()
    assert set(kept) == {"weight", "steps/mean", "steps/scale"}
    np.testing.assert_allclose(kept["steps/mean"], features.mean(axis=0), rtol=1e-5)
