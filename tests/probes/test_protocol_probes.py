"""Probes by the rules of other tools, against pipelines as those write them."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, average_precision_score
from sklearn.preprocessing import LabelBinarizer, StandardScaler

from probekit.errors import DataError
from probekit.metrics import metrics
from probekit.probes import protocol_probes
from probekit.probes.evaluation_protocols import PROTOCOLS
from probekit.probes.protocol_probes import HEAR, XARES, NetworkProbe
from probekit.probes.transforms import STANDARD
from probekit.tasks.splits import Split


def divide(job, splits):
    return replace(job, splits=splits, steps=())


def halves(clips=90):
    """Training, validation and test clips in turn."""
    rows, part = np.arange(clips), np.arange(clips) // 3 % 3
    return Split("test", *(rows[part == k] for k in range(3)))


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
def test_logistic_regression_is_scikit_learns_on_raw_features(make_job):
    job = divide(make_job(clips=120, dim=6, noise=3.0), [halves(120)])
    job = replace(job, features=30 * job.features)  # unscaled: 100 iterations matter
    [model] = protocol_probes.RawLogistic().choose_all(job)
    split = job.splits[0]
    reference = LogisticRegression(max_iter=100, random_state=42)
    reference.fit(job.features[split.train], job.targets[split.train])
    test = job.features[split.test]
    np.testing.assert_array_equal(model.probe.predictions(test), reference.predict(test))
    np.testing.assert_allclose(model.probe.scores(test), reference.predict_proba(test))
    assert model.converged == (reference.n_iter_[0] < 100)


@pytest.mark.parametrize("name", ["mteb", "xares-knn"])
def test_what_cannot_be_fitted_is_said_with_its_split(make_job, name):
    job = divide(make_job(clips=120, dim=6), [halves(120)])
    features = job.features.copy()
    features[0, 0] = np.nan
    with pytest.raises(DataError, match=r"split 'test': Input X? ?contains NaN"):
        PROTOCOLS[name].make_probe().choose_all(replace(job, features=features))


def test_neighbors_vote_by_softmax_of_cosines(make_job):
    job = divide(make_job(clips=120, dim=6), [halves(120)])
    [model] = protocol_probes.SoftNeighbors().choose_all(job)
    split = job.splits[0]
    # the peer's arithmetic, in torch
    normalize = torch.nn.functional.normalize
    train, test = (torch.from_numpy(job.features[rows]) for rows in (split.train, split.test))
    labels = torch.from_numpy(job.targets[split.train])
    similarity, nearest = (normalize(test) @ normalize(train).T).topk(10)
    votes = (
        torch.nn.functional.one_hot(labels[nearest], 3) * similarity.div(0.07).softmax(1)[..., None]
    )
    # float32 cosines of the reference
    np.testing.assert_allclose(
        model.probe.scores(job.features[split.test]), votes.sum(1).numpy(), atol=2e-4
    )


def test_ten_neighbors_need_ten_clips(make_job):
    split = Split("few", np.arange(9), np.arange(0), np.arange(9, 90))
    with pytest.raises(DataError, match="10 neighbors need as many training clips, got 9"):
        protocol_probes.SoftNeighbors().choose_all(divide(make_job(), [split]))


def xares_reference(x, y, x_test, y_test, classes):
    """Layer normalization and linear layer by Adam, 10 epochs, the best on the test clips."""
    torch.manual_seed(42)
    model = torch.nn.Sequential(
        torch.nn.LayerNorm(x.shape[1]), torch.nn.Linear(x.shape[1], classes)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10, eta_min=1e-4)
    torch.randperm(len(x))  # an order that is not used
    accuracies, outputs = [], []
    for _ in range(10):
        model.train()
        for rows in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            torch.nn.CrossEntropyLoss()(model(x[rows]), y[rows]).backward()
            optimizer.step()
        schedule.step()
        model.eval()
        with torch.inference_mode():
            outputs.append(model(x_test).numpy())
        accuracies.append(accuracy_score(y_test, outputs[-1].argmax(1)))
    best = int(np.argmax(accuracies))
    return best + 1, accuracies, outputs[best]


def test_xares_takes_the_best_epoch_on_the_test_clips(make_job):
    job = make_job(clips=150, dim=6, noise=2.0, seed=42)
    split = halves(150)
    split = replace(split, valid=split.test)
    [model] = NetworkProbe("xares-linear", (XARES,)).choose_all(divide(job, [split]))
    x, x_test = (torch.from_numpy(job.features[r]) for r in (split.train, split.test))
    epoch, accuracies, outputs = xares_reference(
        x, torch.from_numpy(job.targets[split.train]), x_test, job.targets[split.test], 3
    )
    assert model.params == {"epoch": epoch} and model.selected_on == "the test clips"
    np.testing.assert_allclose(model.curve, accuracies)
    # the same float32 operations, but a learning rate from another formula
    np.testing.assert_allclose(model.probe.scores(job.features[split.test]), outputs, atol=1e-4)


def evar_reference(x, y, x_valid, y_valid, x_test, is_official):
    """Standardization, linear layer, mean of -y log p over classes, the last of equal epochs."""
    scaler = StandardScaler().fit(x if is_official else np.concatenate([x, x_valid]))
    x, x_valid, x_test = (
        torch.tensor(scaler.transform(part), dtype=torch.float32) for part in (x, x_valid, x_test)
    )
    one_hot = torch.tensor(LabelBinarizer().fit_transform(y), dtype=torch.float32)
    torch.manual_seed(43)
    model = torch.nn.Linear(x.shape[1], one_hot.shape[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-4, weight_decay=1e-8)
    torch.randperm(len(x))
    best, wait, kept, epochs = 0.0, 0, None, 0
    for epoch in range(1, 201):
        for rows in torch.randperm(len(x)).split(200):
            optimizer.zero_grad()
            (-(one_hot[rows] * model(x[rows]).log_softmax(-1)).mean()).backward()
            optimizer.step()
        with torch.inference_mode():
            accuracy = float((model(x_valid).argmax(1).numpy() == y_valid).mean())
        if accuracy >= best:
            best, wait, kept, epochs = accuracy, 1, copy.deepcopy(model), epoch
        else:
            if wait >= 20:
                break
            wait += 1
    with torch.inference_mode():
        return epochs, kept(x_test).numpy()


@pytest.mark.parametrize("is_official", [True, False])
def test_evar_standardizes_and_stops_early(make_job, is_official):
    """Official validation clips do not count for mean and variance, drawn ones do."""
    job = make_job(clips=300, dim=6, noise=2.0, seed=43)
    split = job.splits[0] if is_official else halves(300)
    job.features[split.valid] += 0.5
    probe = NetworkProbe("evar-linear", (protocol_probes.EVAR,))
    [model] = probe.choose_all(divide(job, [split]))
    parts = [job.features[rows] for rows in (split.train, split.valid, split.test)]
    epochs, outputs = evar_reference(
        parts[0],
        job.targets[split.train],
        parts[1],
        job.targets[split.valid],
        parts[2],
        is_official,
    )
    assert model.params == {"epoch": epochs}
    # means and scales are of float64 here and there, rounded to float32
    np.testing.assert_allclose(model.probe.scores(parts[2]), outputs, atol=1e-4)


def test_tags_are_trained_by_binary_cross_entropy(make_job):
    job = make_job(target="multi", clips=150, dim=6, noise=0.5, seed=42)
    split = replace(halves(150), valid=halves(150).test)
    rules = replace(XARES, rate=0.05, last_rate=0.05, epochs=30)
    [model] = NetworkProbe("xares-linear", (rules,)).choose_all(divide(job, [split]))
    scores = model.probe.scores(job.features[split.test])
    area = average_precision_score(job.targets[split.test], scores)
    assert area > 0.8 and max(model.curve) == pytest.approx(area)
    rules = replace(rules, mean_over_classes=True)  # the mean over tags is not divided again
    [same] = NetworkProbe("evar-linear", (rules,)).choose_all(divide(job, [split]))
    np.testing.assert_array_equal(same.probe.scores(job.features[split.test]), scores)


def test_unknown_labels_have_no_rules(make_job):
    job = make_job(target="multi", clips=90)
    targets = job.targets.astype(np.float64)
    targets[0, 0] = np.nan
    with pytest.raises(DataError, match="some labels are unknown, and the rules of the probe"):
        NetworkProbe("x", (XARES,)).choose_all(divide(replace(job, targets=targets), [halves()]))


# ---- HEAR


def test_hear_draws_eight_of_sixteen_settings():
    settings = [
        (rules.hidden, rules.rate, rules.initialization)
        for rules in protocol_probes.hear_probe().rules
    ]
    assert len(set(settings)) == 8
    assert all(hidden in ((1024,), (1024, 1024)) for hidden, _, _ in settings)


def test_layers_of_hear_are_in_its_order():
    rules = replace(HEAR, hidden=(16, 16), initialization="xavier_normal")
    kinds = [type(layer).__name__ for layer in protocol_probes.build_network(8, 3, rules)]
    hidden = ["Linear", "BatchNorm1d", "Dropout", "ReLU"]
    assert kinds == [*hidden, *hidden, "Linear"]


@pytest.mark.parametrize(
    ("name", "spread"),
    [("xavier_normal", np.sqrt(2 / 1024)), ("xavier_uniform", np.sqrt(6 / 1024 / 3))],
)
def test_weights_begin_as_glorot_and_bengio_have_them(name, spread):
    torch.manual_seed(0)
    rules = replace(HEAR, hidden=(512,), initialization=name)
    network = protocol_probes.build_network(512, 3, rules)
    # 262,144 weights: their spread is within 0.5 % of the formula
    assert float(network[0].weight.detach().std()) == pytest.approx(spread, rel=5e-3)


def test_hear_chooses_settings_on_the_first_pair_only(make_job, monkeypatch):
    job = make_job(clips=120, dim=4, seed=42)
    parts = [np.flatnonzero(np.arange(120) // 3 % 3 == k) for k in range(3)]
    folds = [Split(str(k), parts[k], parts[k - 2], parts[k - 1]) for k in range(3)]
    trained = []
    train = protocol_probes._train_network

    def note(context, rules, split):
        trained.append((split.name, rules.rate))
        return train(context, rules, split)

    monkeypatch.setattr(protocol_probes, "_train_network", note)
    slow, fast = (
        replace(HEAR, hidden=(8,), initialization="xavier_normal", rate=rate, epochs=6, batch=32)
        for rate in (1e-6, 3e-2)
    )
    models = NetworkProbe("hear-mlp", (slow, fast)).choose_all(divide(job, folds))
    assert trained == [("0", 1e-6), ("0", 3e-2), ("1", 3e-2), ("2", 3e-2)]
    assert [model.params["rate"] for model in models] == [3e-2] * 3
    assert [model.fits for model in models] == [2, 1, 1]
    assert all(model.params["epoch"] in (3, 6) for model in models)  # validated every 3 epochs
    assert models[1].selected_score == models[1].curve[-1]


def test_training_ends_when_validations_do_not_improve(make_job):
    job = make_job(clips=120, dim=4, noise=0.1, seed=1)  # right from the first epoch on
    rules = replace(HEAR, rate=1e-2, batch=32, every=1, patience=3, epochs=200)
    [model] = NetworkProbe("x", (rules,)).choose_all(divide(job, [halves(120)]))
    assert model.iterations == model.params["epoch"] + 3 < 200


# ---- one C


def test_one_c_is_scikit_learns_logistic_regression(make_job):
    job = replace(make_job(clips=120, dim=6, noise=3.0), splits=[halves(120)], steps=STANDARD)
    split = job.splits[0]
    [model] = PROTOCOLS["fixed-c"].make_probe().choose_all(job)
    scaler = StandardScaler().fit(job.features[split.train])
    reference = LogisticRegression(C=1.0, max_iter=10_000, tol=1e-10)
    reference.fit(scaler.transform(job.features[split.train]), job.targets[split.train])
    x = scaler.transform(job.features[split.test])
    # to the certified gap of 1e-5
    np.testing.assert_allclose(
        np.diff(model.probe.scores(job.features[split.test])),
        np.diff(reference.decision_function(x)),
        atol=0.02,
    )
    assert model.params == {"C": 1.0} and model.converged


def test_a_network_needs_a_defined_validation_score(make_job):
    job = make_job(target="multi", clips=90)
    job = replace(job, targets=np.zeros_like(job.targets), metric=metrics.get_metric("pr-auc"))
    with pytest.raises(DataError, match="not defined on the validation clips"):
        NetworkProbe("x", (XARES,)).choose_all(divide(job, [halves()]))
