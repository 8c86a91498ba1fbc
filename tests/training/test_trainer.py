"""Training on synthetic batches: phases, selection, checkpoints, and failures."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from probekit.errors import DataError
from probekit.metrics import metrics
from probekit.training import losses, state, trainer
from probekit.training.dataloader import Batch
from probekit.training.objectives import LABELED, Supervised
from probekit.training.schedules import Phase, TrainingRecipe

CLIPS, CLASSES, SAMPLES = 24, 3, 12
PLAIN = TrainingRecipe("mine", (Phase(5, "adam", 0.02),), batch_size=6)
PHASES = TrainingRecipe(
    "mine",
    (Phase(3, "adam", 0.02), Phase(2, "sgd", 0.05), Phase(2, "sgd", 0.01, new_optimizer=False)),
    batch_size=6,
)


class Model(nn.Module):
    """A linear layer, dropout and batch normalization: all that makes going on inexact."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(SAMPLES, 8)
        self.bn = nn.BatchNorm1d(8)
        self.dropout = nn.Dropout(0.5)
        self.last = nn.Linear(8, CLASSES)

    def forward(self, waves, teacher):
        embedding = self.bn(self.first(waves))
        return self.last(self.dropout(embedding.relu())), embedding[:, None]


class Penalty(nn.Module):
    """A regularizer with a layer of its own."""

    def __init__(self):
        super().__init__()
        self.f = nn.Linear(4, 8)

    def forward(self, logits, embedding, teacher, valid):
        return (embedding - self.f(teacher)).square().mean()


class Data:
    """Batches that follow from the epoch's number; as Training gives them."""

    def __init__(self, waves, targets, teacher):
        self.waves, self.targets, self.teacher = waves, targets, teacher
        self.asked = []

    def steps(self, world_size=1):
        return -(-(CLIPS // 6) // world_size)

    def epoch(self, number, *, rank=0, world_size=1):
        self.asked.append(number)
        order = np.random.default_rng([7, number]).permutation(CLIPS).reshape(-1, 6)
        for rows in order[rank::world_size]:
            yield Batch(
                self.waves[rows], torch.as_tensor(rows), self.targets[rows], self.teacher[rows],
                torch.ones(len(rows), 1, dtype=torch.bool),
            )  # fmt: skip


class Valid:
    """Two chunks of each clip."""

    def __init__(self, waves):
        self.waves = waves

    def __call__(self):
        for shift in (0, 1):
            rows = torch.arange(len(self.waves))
            yield Batch(self.waves.roll(shift, 1), rows + 100)


def make_job(recipe=PLAIN, penalty=True, metric="accuracy", seed=3, select="metric"):
    generator = torch.Generator().manual_seed(5)
    targets = torch.arange(CLIPS) % CLASSES
    waves = torch.randn(CLIPS, SAMPLES, generator=generator)
    waves[torch.arange(CLIPS), targets] += 1.5
    teacher = torch.randn(CLIPS, 1, 4, generator=generator)
    held = torch.randn(30, SAMPLES, generator=generator)
    right = np.arange(30) % CLASSES
    held[torch.arange(30), right] += 1.5
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, extra = Model(), Penalty()
    return state.TrainingJob(
        objective=Supervised(model, "single", extra if penalty else None, 0.5),
        recipe=recipe,
        metric=metrics.get_metric(metric),
        target="single",
        n_classes=CLASSES,
        streams={LABELED: Data(waves, targets, teacher)},
        valid=state.EvaluationSet(Valid(held), np.arange(30) + 100, right),
        select=select,
        seed=seed,
    )


class Killed(Exception):
    """Stands for a kill after an epoch's checkpoint."""


def killer(epoch):
    def tell(done, of, line):
        if done == epoch:
            raise Killed

    return tell


def states(job):
    return {
        **job.objective.model.state_dict(),
        **{f"p.{k}": v for k, v in job.objective.penalty.state_dict().items()},
    }


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A training that nobody ended."""
    job = make_job(PHASES)
    folder = tmp_path_factory.mktemp("whole")
    course = trainer.fit(job, folder, device="cpu")
    last = torch.load(folder / trainer.CHECKPOINT, weights_only=True)
    return job, course, last


@pytest.mark.parametrize("epoch", [1, 3, 5, 6, 7])  # within, and at the end of, each phase
def test_going_on_gives_the_very_same_weights(tmp_path, uninterrupted, epoch):
    job, course, last = uninterrupted
    again = make_job(PHASES)
    with pytest.raises(Killed):
        trainer.fit(again, tmp_path, device="cpu", on_epoch_end=killer(epoch))
    again = make_job(PHASES)  # another process would know nothing
    torch.manual_seed(epoch)  # nor be in the same state
    resumed = trainer.fit(again, tmp_path, device="cpu")
    assert again.streams[LABELED].asked == list(range(epoch, 7))
    assert resumed.epochs == course.epochs and resumed.best_epoch == course.best_epoch
    for name, value in states(job).items():
        assert torch.equal(value, states(again)[name]), name
    after = torch.load(tmp_path / trainer.CHECKPOINT, weights_only=True)
    for name, value in last["weights"].items():  # of the last epoch, not only of the best
        assert torch.equal(value, after["weights"][name]), name


def test_each_epoch_is_told_and_logged(tmp_path):
    calls = []
    course = trainer.fit(
        make_job(), tmp_path, device="cpu", on_epoch_end=lambda *given: calls.append(given)
    )
    assert [(done, of) for done, of, _ in calls] == [(k, 5) for k in range(1, 6)]
    assert "validation" in calls[0][2] and "best epoch" in calls[0][2]
    with (tmp_path / trainer.LOG).open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == [epoch["loss"] for epoch in course.epochs]
    assert [float(row["valid_score"]) for row in rows] == [
        epoch["valid_score"] for epoch in course.epochs
    ]
    assert course.epochs[-1]["loss"] < course.epochs[0]["loss"]
    assert all(epoch["penalty"] > 0 for epoch in course.epochs)


def test_the_best_epoch_is_kept(tmp_path):
    job = make_job()
    course = trainer.fit(job, tmp_path, device="cpu")
    scores = [epoch["valid_score"] for epoch in course.epochs]
    assert course.best_epoch == int(np.argmax(scores)) + 1  # the first of the best
    predicted = trainer.predict(
        job, job.valid.batches(), job.valid.clips, device="cpu", precision="32"
    )
    assert job.metric.score(job.valid.targets, predicted) == scores[course.best_epoch - 1]


def test_of_equal_epochs_the_first_or_that_of_the_lowest_loss_is_kept(tmp_path):
    class Flat:
        """A metric that tells nothing apart."""

        higher_is_better = True

        def score(self, targets, scores):
            return 0.5

    for ties in ("first", "loss"):
        job = make_job(replace(PLAIN, ties=ties))
        job.metric = Flat()
        course = trainer.fit(job, tmp_path / ties, device="cpu")
        lowest = int(np.argmin([epoch["valid_loss"] for epoch in course.epochs])) + 1
        assert lowest > 1, "the case shows nothing if the first epoch had the lowest loss"
        assert course.best_epoch == (1 if ties == "first" else lowest)


def test_scores_are_means_of_probabilities(tmp_path):
    job = make_job()
    predicted = trainer.predict(
        job, job.valid.batches(), job.valid.clips, device="cpu", precision="32"
    )
    job.objective.model.eval()
    with torch.no_grad():
        each = [
            torch.softmax(job.objective.model(b.waves, None)[0].double(), 1).numpy()
            for b in job.valid.batches()
        ]
    np.testing.assert_allclose(predicted, np.mean(each, axis=0), rtol=1e-6)
    with torch.no_grad():
        logits = [job.objective.model(batch.waves, None)[0] for batch in job.valid.batches()]
    validation = state.EpochMetrics(job, job.valid)
    for batch, own in zip(job.valid.batches(), logits, strict=True):
        validation.add(batch.clips, own)
    right = torch.as_tensor(job.valid.targets)
    chunks = [nn.functional.cross_entropy(own, right) for own in logits]
    assert validation.loss == pytest.approx(float(torch.stack(chunks).mean()), rel=1e-6)


def test_loss_chooses_where_it_is_to(tmp_path):
    job = make_job(replace(PLAIN, select="loss"), select="loss")
    course = trainer.fit(job, tmp_path, device="cpu")
    assert course.best_epoch == int(np.argmin([epoch["valid_loss"] for epoch in course.epochs])) + 1


def test_a_metric_that_is_better_lower(tmp_path):
    job = make_job()
    job.metric = replace(job.metric, higher_is_better=False)
    course = trainer.fit(job, tmp_path, device="cpu")
    assert (
        course.best_epoch == int(np.argmin([epoch["valid_score"] for epoch in course.epochs])) + 1
    )


class Scripted:
    """A metric that is as it is told, epoch by epoch; not a number where it is not defined."""

    name, higher_is_better = "scripted", True

    def __init__(self, values):
        self.values = iter(values)

    def score(self, targets, scores):
        return next(self.values)


NAN = float("nan")


@pytest.mark.parametrize("ties", ["first", "loss"])
@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([0.5, NAN, 0.4, 0.6, NAN], 4),  # what is not defined is never better
        ([NAN, 0.2, NAN, 0.1, 0.0], 2),  # and worse than anything defined
        ([NAN, NAN, NAN, NAN, 0.1], 5),
    ],
)
def test_an_epoch_without_a_score_is_never_better(tmp_path, values, best, ties):
    job = make_job(replace(PLAIN, ties=ties))
    job.metric = Scripted(values)
    course = trainer.fit(job, tmp_path / "whole", device="cpu")
    assert course.best_epoch == best
    scores = [epoch["valid_score"] for epoch in course.epochs]
    assert scores == [None if value != value else value for value in values]
    for epoch in (1, 3):  # also across an interruption
        job = make_job(replace(PLAIN, ties=ties))
        job.metric = Scripted(values)
        folder = tmp_path / str(epoch)
        with pytest.raises(Killed):
            trainer.fit(job, folder, device="cpu", on_epoch_end=killer(epoch))
        job = make_job(replace(PLAIN, ties=ties))
        job.metric = Scripted(values[epoch:])
        assert trainer.fit(job, folder, device="cpu").epochs == course.epochs


def test_the_loss_chooses_where_no_epoch_has_a_score(tmp_path):
    job = make_job()
    job.metric = Scripted([NAN] * 5)
    course = trainer.fit(job, tmp_path, device="cpu")
    assert (
        course.best_epoch
        == int(np.argmin([epoch["valid_loss"] for epoch in course.epochs])) + 1
        > 1
    )


def test_perfect_validation_is_the_best_d_prime(tmp_path):
    recipe = replace(PLAIN, phases=(Phase(20, "adam", 0.01),))
    job = make_job(recipe, penalty=False, metric="d-prime")
    job.target = job.objective.target = "multi"
    job.valid.targets = np.eye(CLASSES)[job.valid.targets]
    hot = torch.eye(CLASSES)[job.streams[LABELED].targets]
    job.streams[LABELED].targets = hot
    job.streams[LABELED].waves[:, :CLASSES] += 4 * hot
    held = job.valid.batches.waves
    held[:, :CLASSES] += 4 * torch.as_tensor(job.valid.targets, dtype=torch.float32)
    job.valid.batches = lambda: iter([Batch(held, torch.arange(30) + 100)])
    course = trainer.fit(job, tmp_path, device="cpu")
    scores = [epoch["valid_score"] for epoch in course.epochs]
    assert scores[0] is not None and None in scores
    assert course.best_epoch == scores.index(None) + 1  # the first perfect one, and none after it
    validation = state.EpochMetrics(job, job.valid)
    validation.add(torch.arange(30) + 100, torch.as_tensor(-job.valid.targets))
    assert (
        validation.score() is None and validation.rank(None) == -np.inf
    )  # each class the wrong way round


def test_first_epochs_may_not_be_chosen(tmp_path):
    course = trainer.fit(make_job(replace(PLAIN, burn_in=3)), tmp_path, device="cpu")
    assert course.best_epoch in (4, 5)
    assert not any(epoch["best"] for epoch in course.epochs[:3])


def test_a_loss_above_the_ceiling_is_never_kept(tmp_path):
    job = make_job(replace(PLAIN, select="loss", max_valid_loss=1e-6), select="loss")
    course = trainer.fit(job, tmp_path, device="cpu")
    assert course.best_epoch == 0
    last = torch.load(tmp_path / trainer.CHECKPOINT, weights_only=True)["weights"]
    assert all(
        torch.equal(v, last[f"model.{k}"]) for k, v in job.objective.model.state_dict().items()
    )


def test_training_stops_when_nothing_gets_better(tmp_path):
    job = make_job(TrainingRecipe("mine", (Phase(60, "adam", 0.02),), batch_size=6, patience=4))
    course = trainer.fit(job, tmp_path, device="cpu")
    assert len(course.epochs) == course.best_epoch + 4 < 60
    asked = len(job.streams[LABELED].asked)
    again = make_job(job.recipe)
    assert trainer.fit(again, tmp_path, device="cpu").epochs == course.epochs
    assert again.streams[LABELED].asked == [] and asked == len(course.epochs)  # it is over


def test_a_phase_begins_with_the_best_weights_and_a_new_optimizer(tmp_path, uninterrupted):
    _, course, _ = uninterrupted
    assert [(epoch["phase"], epoch["lr"]) for epoch in course.epochs] == [
        (1, 0.02), (1, 0.02), (1, 0.02), (2, 0.05), (2, 0.05), (3, 0.01), (3, 0.01),
    ]  # fmt: skip
    # with a rate of almost nothing the second phase stays at the best of the first
    still = replace(PHASES, select="loss", phases=(Phase(4, "adam", 0.5), Phase(1, "sgd", 1e-12)))
    job = make_job(still, penalty=False, select="loss")
    with pytest.raises(Killed):
        trainer.fit(job, tmp_path, device="cpu", on_epoch_end=killer(4))
    first = torch.load(tmp_path / trainer.CHECKPOINT, weights_only=True)
    assert first["best"] < 4, "the case shows nothing if the last epoch was the best"
    job = make_job(still, penalty=False, select="loss")
    trainer.fit(job, tmp_path, device="cpu")
    last = torch.load(tmp_path / trainer.CHECKPOINT, weights_only=True)["weights"]
    weight = "model.first.weight"
    torch.testing.assert_close(last[weight], first["best_weights"][weight], rtol=0, atol=1e-9)
    assert not torch.allclose(last[weight], first["weights"][weight], rtol=0, atol=1e-3)


def test_momentum_lives_on_in_a_phase_that_is_not_fresh(tmp_path):
    def after(fresh, folder):
        phases = (Phase(2, "sgd", 0.05), Phase(1, "sgd", 0.05, new_optimizer=fresh))
        job = make_job(replace(PHASES, phases=phases))
        trainer.fit(job, folder, device="cpu")
        return torch.load(folder / trainer.CHECKPOINT, weights_only=True)["weights"]

    kept, new = after(False, tmp_path / "kept"), after(True, tmp_path / "new")
    assert not torch.equal(kept["model.first.weight"], new["model.first.weight"])


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_epoch(tmp_path):
    job = make_job()
    good = job.streams[LABELED].epoch

    def bad(number, **folder):
        for step, batch in enumerate(good(number, **folder)):
            spoilt = batch.waves * float("nan") if (number, step) == (2, 1) else batch.waves
            yield replace(batch, waves=spoilt)

    job.streams[LABELED].epoch = bad
    with pytest.raises(
        DataError, match=r"in epoch 3, at or before step 2 of 4; .*epoch 2 is saved in"
    ):
        trainer.fit(job, tmp_path, device="cpu")
    kept = torch.load(tmp_path / trainer.CHECKPOINT, weights_only=True)
    assert len(kept["history"]) == 2
    assert all(torch.isfinite(v).all() for v in kept["weights"].values())
    mended = make_job()
    course = trainer.fit(mended, tmp_path, device="cpu")
    assert mended.streams[LABELED].asked == [2, 3, 4]
    fresh = make_job()
    assert trainer.fit(fresh, tmp_path / "fresh", device="cpu").epochs == course.epochs


def test_a_validation_loss_that_is_not_finite_is_said(tmp_path):
    job = make_job()
    job.valid.batches = Valid(job.valid.batches.waves * float("inf"))
    with pytest.raises(
        DataError, match="validation loss is nan after epoch 1; there is no checkpoint"
    ):
        trainer.fit(job, tmp_path, device="cpu")


def test_an_interruption_is_one(tmp_path):
    def tell(done, of, line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.fit(make_job(), tmp_path, device="cpu", on_epoch_end=tell)
    assert len(torch.load(tmp_path / trainer.CHECKPOINT, weights_only=True)["history"]) == 1


def test_a_failing_feed_is_not_hidden(tmp_path):
    job = make_job()

    def bad(number, **folder):
        raise DataError("the disk is gone")

    job.streams[LABELED].epoch = bad
    with pytest.raises(DataError, match="the disk is gone"):
        trainer.fit(job, tmp_path, device="cpu")


def test_half_precision_trains_nearly_the_same(tmp_path):
    exact = trainer.fit(make_job(), tmp_path / "a", device="cpu")
    half = trainer.fit(make_job(), tmp_path / "b", device="cpu", precision="bf16-mixed")
    # 8 bits of mantissa: rounding of 2**-9 in each product, not another course
    first = [c.epochs[0]["loss"] for c in (exact, half)]
    assert first[0] != first[1] and first[0] == pytest.approx(first[1], rel=0.02)


def test_nothing_is_printed(tmp_path, capfd, recwarn):
    trainer.fit(make_job(), tmp_path, device="cpu")
    out, err = capfd.readouterr()
    assert out == "" and err == ""
    assert [str(w.message) for w in recwarn] == []


def test_tensorboard_has_every_epoch_where_it_is_installed(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with pytest.raises(Killed):
        trainer.fit(make_job(), tmp_path, device="cpu", on_epoch_end=killer(2))
    course = trainer.fit(make_job(), tmp_path, device="cpu")
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    kept = events.Scalars("valid_loss")
    assert [event.step for event in kept] == [epoch["epoch"] for epoch in course.epochs]
    expected = [epoch["valid_loss"] for epoch in course.epochs]
    assert [event.value for event in kept] == pytest.approx(expected, rel=1e-6)  # float32


@pytest.mark.slow
def test_two_processes_train_together(tmp_path):
    # at a rate of almost nothing both ways meet the same weights: the log has the loss of all crops
    recipe = replace(PLAIN, phases=(Phase(1, "sgd", 1e-12), Phase(4, "adam", 0.02)))
    alone, job = make_job(recipe), make_job(recipe)
    alone.objective.model.dropout.p = job.objective.model.dropout.p = 0.0
    before = alone.objective.model.last.weight.clone()
    single = trainer.fit(alone, tmp_path / "one", device="cpu")
    course = trainer.fit(job, tmp_path / "two", device="cpu", devices=2)
    assert len(course.epochs) == 5
    assert course.epochs[-1]["loss"] < course.epochs[0]["loss"]
    for name in ("loss", "penalty"):
        own, all_ = course.epochs[0][name], single.epochs[0][name]
        assert own == pytest.approx(all_, rel=1e-5)  # sums of float32
    assert not torch.equal(job.objective.model.last.weight, before)  # it came back trained
    job = make_job()
    job.streams[LABELED].waves[:] = float("nan")
    with pytest.raises(
        DataError, match=r"^the loss is not finite in epoch 1, at or before step 1 "
    ):
        trainer.fit(job, tmp_path / "bad", device="cpu", devices=2)


def test_losses_are_those_of_numpy():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, 4))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    single = rng.integers(4, size=5)
    multi = rng.integers(2, size=(5, 4))
    s = 1 / (1 + np.exp(-logits))
    expected = {
        "single": (single, -np.log(p[np.arange(5), single]).mean(), p),
        "multi": (multi, -(multi * np.log(s) + (1 - multi) * np.log(1 - s)).mean(), s),
        "regression": (logits * 2, (logits**2).mean(), logits),
    }
    for target, (right, loss, scores) in expected.items():
        tensor = torch.as_tensor(logits)
        batch_loss = losses.task_loss(tensor, torch.as_tensor(right), target)
        assert float(batch_loss) == pytest.approx(loss, rel=1e-6)  # float32
        np.testing.assert_allclose(losses.to_scores(tensor, target).numpy(), scores, rtol=1e-12)


def test_a_clip_without_chunks_has_no_score():
    mean = losses.ClipAverager(np.array([5, 9]), 2)
    mean.add(torch.tensor([9, 9]), torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64))
    values = mean.means()
    assert np.isnan(values[0]).all() and values[1].tolist() == [0.5, 1.0]


def test_training_accuracy_beside_a_test_accuracy(tmp_path):
    """A rate of almost nothing: every step sees the initial network."""

    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(SAMPLES, CLASSES)

        def forward(self, waves, frames):
            return self.layer(waves), waves[:, None]

    recipe = TrainingRecipe("mine", (Phase(2, "adam", 1e-12),), batch_size=6, weight_decay=0.0)
    job = make_job(recipe, penalty=False)
    job.objective = Supervised(Linear(), "single")
    data = job.streams[LABELED]
    with torch.inference_mode():
        right = job.objective.model(data.waves, None)[0].argmax(1) == data.targets
    history = trainer.fit(job, tmp_path / "without", device="cpu")
    assert "train_score" not in history.epochs[0]  # nobody asked for test scores
    job.test = job.valid
    history = trainer.fit(job, tmp_path / "with", device="cpu")
    scores = [epoch["train_score"] for epoch in history.epochs]
    assert scores == 2 * [right.double().mean().item()]
    assert history.epochs[0]["test_score"] == history.epochs[0]["valid_score"]
