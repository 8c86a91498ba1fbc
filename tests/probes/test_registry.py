"""Every kind of probe: what it is called, and that it never looks at a test clip."""

import pickle
import threading
from dataclasses import replace

import numpy as np
import pytest

from probekit.errors import ProbekitError, UnknownNameError
from probekit.probes import registry

NAMES = ["linear", "mlp", "knn", "sklearn.svm:SVC:C=0.01|1", "sklearn.linear_model:Ridge"]
PROTOCOLS = ["split", "split without refit", "folds", "made folds", "made folds of groups"]
pytestmark = pytest.mark.usefixtures("small_mlp", "small_grid", "few_neighbors")


def one_of_each(target):
    return [n for n in NAMES if (n == NAMES[-1]) == (target == "regression") or ":" not in n]


def same(one, other, features):
    """Whether two choices are the same to the last bit."""
    arrays, others = one.probe.arrays(), other.probe.arrays()
    return (
        (one.params, one.curve, one.grid) == (other.params, other.curve, other.grid)
        and one.iterations == other.iterations
        and arrays.keys() == others.keys()
        and all(np.array_equal(arrays[k], others[k]) for k in arrays)
        and np.array_equal(one.probe.scores(features), other.probe.scores(features))
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", NAMES[:4])
def test_a_feature_that_tells_only_the_test_labels_changes_nothing(make_job, name, protocol):
    job, kind = make_job(protocol=protocol), registry.get_probe(name)
    for split in job.splits[:1]:
        answers = np.zeros((len(job.clips), 3), np.float32)
        answers[split.test] = 100 * np.eye(3)[job.targets[split.test]]
        leaky, blank = (np.hstack([job.features, a]) for a in (answers, 0 * answers))
        found, honest = (
            kind.choose_all(replace(job, features=x, splits=[split]))[0] for x in (leaky, blank)
        )
        seen = np.setdiff1d(np.arange(len(job.clips)), split.test)
        assert same(found, honest, blank[seen])
        changed = blank.copy()
        changed[split.train[0]] += 3  # and the comparison can tell: a training clip matters
        [other] = kind.choose_all(replace(job, features=changed, splits=[split]))
        assert not same(honest, other, changed[seen])


@pytest.mark.parametrize("target", ["single", "multi", "regression"])
def test_test_clips_are_never_read(make_job, blanked, target):
    """With NaN for features and nonsense for labels, every bit of the outcome is the same."""
    for name in one_of_each(target):
        if name == "linear":  # tested where it is chosen
            continue
        job, kind = make_job(target), registry.get_probe(name)
        [split] = job.splits
        [plain] = kind.choose_all(job)
        [blind] = kind.choose_all(blanked(job, split))
        assert same(plain, blind, job.features[split.train])


@pytest.mark.parametrize("target", ["single", "multi", "regression"])
def test_every_kind_learns_every_target(make_job, target):
    for name in one_of_each(target):
        job = make_job(target, protocol="folds", clips=180, noise=0.3)
        split = job.splits[0]
        [chosen] = registry.get_probe(name).choose_all(replace(job, splits=[split]))
        scores = chosen.probe.scores(job.features[split.test])
        assert scores.shape == (len(split.test), 3)
        # chance is 1/3, the share of positives (1/2), 0
        assert job.metric.score(job.targets[split.test], scores) > 0.7, name
        assert chosen.params in chosen.grid and len(chosen.curve) == len(chosen.grid)
        assert chosen.selected_score == max(chosen.curve)


@pytest.mark.parametrize("step", [("unit-l2",), ("standardize", "unit-l2"), ()])
@pytest.mark.parametrize("name", NAMES[:4])
def test_steps_are_fitted_without_test_clips(make_job, name, step):
    job = make_job(steps=step)
    [split] = job.splits
    [chosen] = registry.get_probe(name).choose_all(job)
    moved = job.features.copy()
    moved[split.test] += 50
    [other] = registry.get_probe(name).choose_all(replace(job, features=moved))
    assert same(chosen, other, job.features[split.train])
    kept = chosen.probe.arrays()
    assert {"steps/mean", "steps/scale"} <= set(kept)


def test_settings_are_chosen_by_the_metric_in_its_own_direction(make_job):
    kind = registry.get_probe("sklearn.tree:DecisionTreeClassifier:max_depth=1|5")
    for metric, best in (("log-loss", min), ("accuracy", max)):
        [chosen] = kind.choose_all(make_job(metric=metric, noise=0.3))
        assert chosen.params == {"max_depth": 5}  # one question does not tell three classes apart
        assert chosen.selected_score == best(chosen.curve)
        assert min(chosen.curve) < max(chosen.curve)


def test_progress_counts_folds(make_job):
    seen = []
    job = make_job(protocol="folds", progress=lambda *pair: seen.append(pair))
    registry.get_probe("knn").choose_all(job)
    assert seen[-1] == (3, 3)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


@pytest.mark.parametrize(
    "name", [*NAMES[1:4], "sklearn.ensemble:RandomForestClassifier:n_estimators=5"]
)
def test_folds_in_two_processes_are_as_in_one(make_job, name):
    lock, seen = threading.Lock(), []  # a progress bar holds a lock, which no process can be sent

    def progress(*pair):
        with lock:
            seen.append(pair)

    kind, job = registry.get_probe(name), make_job(protocol="folds")
    both = kind.choose_all(replace(job, jobs=2, progress=progress))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    for one, other in zip(kind.choose_all(job), both, strict=True):
        assert same(one, other, job.features)


def test_what_belongs_to_this_process_is_not_sent(make_job):
    job = make_job(progress=threading.Lock().acquire, client=threading.Lock(), seed=3)
    copy = pickle.loads(pickle.dumps(job))  # noqa: S301
    assert (copy.progress, copy.client, copy.seed) == (None, None, 3)
    assert job.progress and job.client
    np.testing.assert_array_equal(copy.features, job.features)


def test_names_and_facts():
    assert [registry.get_probe(name).name for name in registry.NAMES] == list(registry.NAMES)
    assert registry.get_probe("mlp:hear").name == "mlp:hear"
    assert [registry.get_probe(n).seeded for n in ("linear", "knn", "head", "mlp")] == [
        False
    ] * 3 + [True]
    assert registry.get_probe("linear", solver="sklearn").facts()["solver"] == "scikit-learn"
    facts = [str(registry.get_probe(name).facts()) for name in (*NAMES, "mlp:hear", "knn")]
    assert len(set(facts)) == len(NAMES) + 1


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("lineer", UnknownNameError, r"unknown probe 'lineer'.*linear.*MODULE:CLASS"),
        ("", UnknownNameError, "unknown probe ''"),
        ("mlp:heer", UnknownNameError, "unknown recipe of mlp 'heer'.*hear"),
        ("knn:5", ProbekitError, "--probe knn:5: knn takes no parameters"),
        ("linear:5", ProbekitError, "unknown parameter of the linear probe .5."),
    ],
)
def test_names_that_are_none(name, error, words):
    with pytest.raises(error, match=words):
        registry.get_probe(name)
