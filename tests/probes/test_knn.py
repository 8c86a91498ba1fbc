from dataclasses import replace

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from probekit.probes import knn, registry


def fitted(job, count, distance):
    [split] = job.splits
    settings = {"neighbours": count, "distance": distance}
    features, targets = job.features[split.train], job.targets[split.train]
    return knn._fit(job, features, targets, settings, None, 0).probe


@pytest.mark.parametrize("distance", knn.DISTANCES)
@pytest.mark.parametrize("count", [1, 3, 20])
def test_as_scikit_learn_does(make_job, count, distance):
    job = make_job()
    [split] = job.splits
    theirs = KNeighborsClassifier(count, weights="distance", metric=distance, algorithm="brute")
    theirs.fit(job.features[split.train], job.targets[split.train])
    np.testing.assert_allclose(
        fitted(job, count, distance).scores(job.features[split.test]),
        theirs.predict_proba(job.features[split.test]),
        rtol=1e-6,
        atol=1e-9,
    )


@pytest.mark.parametrize("target", ["multi", "regression"])
def test_tags_and_numbers_as_scikit_learns_regressor_does(make_job, target):
    job = make_job(target)
    [split] = job.splits
    theirs = KNeighborsRegressor(5, weights="distance", metric="euclidean", algorithm="brute")
    theirs.fit(job.features[split.train], job.targets[split.train].astype(float))
    own = fitted(job, 5, "euclidean")
    np.testing.assert_allclose(
        own.scores(job.features[split.test]), theirs.predict(job.features[split.test]), rtol=1e-6
    )
    assert own.probabilities == (target == "multi")


def test_clips_with_the_very_same_features_speak_alone(make_job):
    job = make_job()
    [split] = job.splits
    own = fitted(job, 10, "euclidean")
    features = np.float32(job.features[split.train[:6]])
    np.testing.assert_allclose(own.scores(features), np.eye(3)[job.targets[split.train[:6]]])
    twice = replace(job, features=np.repeat(job.features[::2], 2, axis=0))  # of two clips each
    scores = fitted(twice, 10, "euclidean").scores(twice.features[split.train[:2]])
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-6)


def test_more_neighbours_than_clips(make_job):
    job = make_job(clips=24)
    scores = fitted(job, 50, "cosine").scores(job.features)
    assert scores.shape == (24, 3)
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-6)


def test_features_without_direction_stay_finite(make_job):
    job = make_job(clips=24)
    job = replace(job, features=np.zeros_like(job.features))
    for distance in knn.DISTANCES:
        assert np.isfinite(fitted(job, 5, distance).scores(job.features)).all()


def test_number_and_distance_are_chosen(make_job):
    [chosen] = registry.get_probe("knn").choose_all(make_job(noise=3.0, clips=300))
    assert set(chosen.params) == {"neighbours", "distance"}
    assert len(chosen.grid) == 16
    assert chosen.params["neighbours"] > 1  # of so much noise the next clip knows little
    assert chosen.probe.arrays().keys() == {"steps/mean", "steps/scale"}
