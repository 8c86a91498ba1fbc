import warnings
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.svm import SVC

from probekit.errors import DataError, ProbekitError
from probekit.metrics import metrics
from probekit.probes import sklearn_probe
from probekit.probes.model_selection import score_probe
from probekit.scores import result_builder

TAGGERS = [
    "sklearn.linear_model:LogisticRegression",  # one a tag
    "sklearn.svm:LinearSVC",  # no probabilities
    "sklearn.ensemble:RandomForestClassifier:n_estimators=20",  # all at once, a list of arrays
    "sklearn.neighbors:KNeighborsClassifier",
    "sklearn.linear_model:RidgeClassifier",  # all at once, decision values
    "sklearn.naive_bayes:GaussianNB",
]


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def choose(text, job):
    return sklearn_probe.parse(text).choose_all(job)[0]


def test_the_better_value_is_taken(make_job):
    job = make_job(noise=0.5)
    chosen = choose("sklearn.tree:DecisionTreeClassifier:criterion=entropy,max_depth=1|5", job)
    assert chosen.grid == [{"criterion": "entropy", "max_depth": depth} for depth in (1, 5)]
    assert chosen.params == {"criterion": "entropy", "max_depth": 5}
    assert chosen.curve[1] > chosen.curve[0]


def test_scores_are_the_estimators_own(make_job):
    job = make_job(steps=())
    [split] = job.splits
    fitted = np.r_[split.train, split.valid]
    theirs = SVC(C=2.0).fit(job.features[fitted], job.targets[fitted])
    own = choose("sklearn.svm:SVC:C=2", job).probe
    np.testing.assert_allclose(
        own.scores(job.features[split.test]), theirs.decision_function(job.features[split.test])
    )
    assert not own.probabilities
    forest = RandomForestClassifier(random_state=3).fit(job.features[fitted], job.targets[fitted])
    own = choose("sklearn.ensemble:RandomForestClassifier", replace(job, seed=3)).probe
    assert own.probabilities
    np.testing.assert_allclose(
        own.scores(job.features[split.test]), forest.predict_proba(job.features[split.test])
    )


@pytest.mark.parametrize(
    ("text", "theirs"),
    [
        ("sklearn.svm:SVC:C=2", SVC(C=2)),  # classes vote in pairs; ties go to the first
        ("sklearn.svm:SVC:C=2,break_ties=true", SVC(C=2, break_ties=True)),
        ("sklearn.svm:SVC:kernel=linear,probability=true", None),
    ],
)
def test_predicted_classes_are_the_estimators_own(make_job, text, theirs):
    job = make_job(steps=(), classes=6, clips=480, dim=3, noise=4.0)
    [split] = job.splits
    fitted = np.r_[split.train, split.valid]
    features, truth = job.features[split.test], job.targets[split.test]
    theirs = SVC(kernel="linear", probability=True, random_state=0) if theirs is None else theirs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn 1.9 deprecates probability
        predicted = theirs.fit(job.features[fitted], job.targets[fitted]).predict(features)
        own = choose(text, job).probe
    scores = own.scores(features)
    differ = own.predictions(features) != scores.argmax(axis=1)
    np.testing.assert_array_equal(own.predictions(features), predicted)
    assert differ.any() == ("break_ties" not in text)  # the example asks for it
    joined = result_builder.join_predictions(
        job.clips,
        job.targets,
        [split],
        [scores],
        probe=text,
        probabilities=own.probabilities,
        own_classes=[own.predictions(features)],
    )
    assert (joined.own_classes is None) == ("break_ties" in text)
    np.testing.assert_array_equal(joined.classes, predicted)
    reference = {
        "accuracy": sk.accuracy_score(truth, predicted),
        "balanced-accuracy": sk.balanced_accuracy_score(truth, predicted),
        "f1-macro": sk.f1_score(truth, predicted, average="macro"),
        "top-3": sk.top_k_accuracy_score(truth, scores, k=3),  # by the scores
    }
    for name, expected in reference.items():
        metric = metrics.get_metric(name)
        assert joined.by_fold(metric) == [pytest.approx(expected, abs=1e-12)]
        chosen = score_probe(replace(job, metric=metric), own, features, split.test)
        assert chosen == joined.by_fold(metric)[0]  # settings are selected by the same number


def test_tags_and_numbers_have_no_predicted_class(make_job):
    for text, target in ((TAGGERS[1], "multi"), ("sklearn.linear_model:Ridge", "regression")):
        job = make_job(target)
        assert choose(text, job).probe.predictions(job.features) is None


class Overflowing(ClassifierMixin, BaseEstimator):
    """Its decision values are not finite for features beyond a limit."""

    def __init__(self, value=np.nan):
        self.value = value

    def fit(self, features, targets):
        self.classes_ = np.unique(targets)
        return self

    def decision_function(self, features):
        scores = np.tile(np.arange(3.0), (len(features), 1))
        scores[features[:, 0] > 50, 1] = self.value
        return scores

    def predict(self, features):
        return np.full(len(features), 2)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_an_error_that_names_the_clips(make_job, value):
    job = make_job(steps=(), probe="mine:Overflowing")
    [split] = job.splits
    probe = sklearn_probe.SklearnProbe("mine:Overflowing", Overflowing, ({"value": value},))
    features = job.features.copy()
    features[split.valid[3]] = 99
    words = (
        rf"mine, split 'test', choosing settings on {len(split.valid)} validation clips: the scores"
        rf" of mine:Overflowing are NaN or infinite for 1 of {len(split.valid)} clips: "
        rf"'c{split.valid[3]:03d}'"
    )
    with pytest.raises(DataError, match=words):
        probe.choose_all(replace(job, features=features))
    [chosen] = probe.choose_all(job)
    features = job.features.copy()
    features[split.test[:2]] = 99
    ids = ", ".join(f"'c{row:03d}'" for row in split.test[:2])
    with pytest.raises(DataError, match=rf"mine, split 'test': the scores of P are .* {ids}\. "):
        result_builder.join_predictions(
            job.clips,
            job.targets,
            [split],
            [chosen.probe.scores(features[split.test])],
            probe="P",
            probabilities=False,
        )


def test_decision_values_of_pairs_are_refused(make_job):
    with pytest.raises(ProbekitError, match="decision_function_shape must be ovr, its default"):
        sklearn_probe.parse("sklearn.svm:SVC:decision_function_shape=ovo|ovr")

    class Pairs(Overflowing):
        def decision_function(self, features):
            return np.zeros((len(features), 6))

    job = make_job()
    with pytest.raises(DataError, match="Pairs gives 6 decision values for 3 classes"):
        sklearn_probe.SklearnProbe("mine:Pairs", Pairs, ({},)).choose_all(job)


def test_seeds_where_there_is_chance(make_job):
    text = "sklearn.ensemble:RandomForestClassifier:n_estimators=5"
    assert sklearn_probe.parse(text).seeded
    assert not sklearn_probe.parse("sklearn.naive_bayes:GaussianNB").seeded
    job = make_job()
    one, same, other = (
        choose(text, replace(job, seed=s)).probe.scores(job.features) for s in (0, 0, 1)
    )
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    given = [
        choose(text + ",random_state=5", replace(job, seed=s)).probe.scores(job.features)
        for s in (0, 1)
    ]
    assert np.array_equal(*given)


@pytest.mark.parametrize("text", [TAGGERS[0], TAGGERS[1], "sklearn.linear_model:Perceptron"])
def test_classes_that_training_lacks_are_never_predicted(make_job, text):
    job = make_job()
    [split] = job.splits
    targets = np.where(job.targets == 1, 0, job.targets)  # two classes, the first and the last
    scores = choose(text, replace(job, targets=targets)).probe.scores(job.features[split.test])
    assert scores.shape == (len(split.test), 3)
    assert set(scores.argmax(axis=1)) == {0, 2}
    assert (scores[:, 1] <= 0).all()


@pytest.mark.parametrize("text", TAGGERS)
def test_tags(make_job, text):
    job = make_job("multi", noise=0.3)
    [split] = job.splits
    chosen = choose(text, job)
    scores = chosen.probe.scores(job.features[split.test])
    assert scores.shape == (len(split.test), 3)
    assert job.metric.score(job.targets[split.test], scores) > 0.8
    if chosen.probe.probabilities:
        assert ((scores >= 0) & (scores <= 1)).all()


@pytest.mark.parametrize("text", TAGGERS)
@pytest.mark.parametrize("tag", [0, 1])
def test_tags_that_training_lacks_or_all_clips_have(make_job, text, tag):
    job = make_job("multi", noise=0.3)
    [split] = job.splits
    for value in (0, 1):
        targets = job.targets.copy()
        targets[:, tag] = value
        targets[split.test] = job.targets[split.test]
        probe = choose(text, replace(job, targets=targets)).probe
        scores = probe.scores(job.features[split.test])
        assert np.isfinite(scores).all()
        if probe.probabilities:
            np.testing.assert_allclose(scores[:, tag], value)
        else:
            assert ((scores[:, tag] > 0.5) == value).all()
        others = [k for k in range(3) if k != tag]
        # the other tags are learnt all the same
        assert job.metric.score(job.targets[split.test][:, others], scores[:, others]) > 0.8


@pytest.mark.parametrize("text", TAGGERS)
def test_a_single_tag(make_job, text):
    job = make_job("multi", classes=1, noise=0.3)
    [split] = job.splits
    scores = choose(text, job).probe.scores(job.features[split.test])
    assert scores.shape == (len(split.test), 1)
    assert job.metric.score(job.targets[split.test], scores) > 0.8


@pytest.mark.parametrize("numbers", [1, 2])
@pytest.mark.parametrize(
    "text",
    ["sklearn.svm:SVR:C=10|100", "sklearn.linear_model:Ridge", "sklearn.tree:ExtraTreeRegressor"],
)
def test_numbers(make_job, text, numbers):
    job = make_job("regression", classes=numbers, noise=0.1, clips=240)
    [split] = job.splits
    scores = choose(text, job).probe.scores(job.features[split.test])
    assert scores.shape == (len(split.test), numbers)
    assert job.metric.score(job.targets[split.test], scores) > 0.5


def test_fits_that_stop_early_are_counted(make_job):
    found = choose("sklearn.linear_model:LogisticRegression:max_iter=1|500", make_job())
    assert (found.fits, found.unconverged) == (3, 1 + (found.params["max_iter"] == 1))


def test_coefficients_are_kept_where_there_are_some(make_job):
    assert set(choose(TAGGERS[0], make_job()).probe.arrays()) == {
        "coef",
        "intercept",
        "steps/mean",
        "steps/scale",
    }
    assert "coef" not in choose(TAGGERS[5], make_job()).probe.arrays()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("0.1", 0.1),
        ("1e-3", 0.001),
        ("1E5", 1e5),
        ("1.5e+2", 150.0),
        ("None", None),
        ("true", True),
        ("scale", "scale"),
        ("balanced", "balanced"),
    ],
)
def test_values(text, expected):
    (found,) = sklearn_probe.parse(f"sklearn.svm:SVC:C={text}").grid
    assert found == {"C": expected} and type(found["C"]) is type(expected)


def test_a_grid_is_all_combinations():
    grid = sklearn_probe.parse("sklearn.svm:SVC:C=1|10,kernel=rbf|linear").grid
    assert [tuple(one.values()) for one in grid] == [
        (1, "rbf"),
        (1, "linear"),
        (10, "rbf"),
        (10, "linear"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sklearn.svm:SVX", r"cannot be imported .*SVX.*MODULE:CLASS"),
        ("no.such.module:SVC", "cannot be imported .No module"),
        ("sklearn.svm:", "cannot be imported"),
        (":SVC", "cannot be imported"),
        ("os:getcwd", "getcwd must be a scikit-learn estimator"),
        ("sklearn.svm:SVC:C", "'C' has no value; write C=VALUE"),
        ("sklearn.svm:SVC:D=1", "SVC has no parameter 'D'; its parameters are C, break_ties"),
        ("sklearn.svm:SVC:C=[1", r"cannot read the value '\[1'"),
        ("sklearn.pipeline:Pipeline", "Pipeline has required arguments"),
        ("sklearn.preprocessing:StandardScaler", "StandardScaler has no predict method"),
    ],
)
def test_what_is_no_estimator(text, words):
    with pytest.raises(ProbekitError, match=f"--probe .*{words}"):
        sklearn_probe.parse(text)


@pytest.mark.parametrize(
    ("text", "target", "words"),
    [
        ("sklearn.svm:SVR", "single", "mine needs a classifier, got SVR, a regressor"),
        ("sklearn.svm:SVC", "regression", "mine needs a regressor, got SVC, a classifier"),
        ("sklearn.cluster:KMeans", "multi", "mine needs a classifier, got KMeans, a clusterer"),
    ],
)
def test_what_predicts_something_else(make_job, text, target, words):
    with pytest.raises(ProbekitError, match=words):
        choose(text, make_job(target))


def test_values_that_the_estimator_refuses(make_job):
    with pytest.raises(DataError, match=r"mine, split 'test'.*'kernel' parameter of SVC must be"):
        choose("sklearn.svm:SVC:kernel=foo", make_job())


def test_chance_is_what_a_dummy_scores(make_job):
    job = make_job()
    [split] = job.splits
    own = choose("sklearn.dummy:DummyClassifier:strategy=prior", job).probe
    rows = np.r_[split.train, split.valid]
    theirs = DummyClassifier().fit(job.features[rows], job.targets[rows])
    np.testing.assert_allclose(own.scores(job.features), theirs.predict_proba(job.features))
