"""Learning curves from stored histories."""

import numpy as np
import pytest

from probekit.analysis.learning_curve import learning_curve
from probekit.errors import DataError
from probekit.figures.curves import draw_learning_curve


def history(folds, epochs, offset=0.0, test=False):
    return [
        {
            "fold": fold, "epoch": k + 1, "phase": 1 + (k >= 2), "lr": 0.1,
            "loss": 2.0 / (k + 1) + offset, "penalty": 0.0, "valid_loss": 1.0,
            "valid_score": None if k == 0 else 0.5 + 0.1 * k + offset,
            **({"test_score": 0.4 + 0.1 * k} if test else {}), "best": k == 0,
        }
        for n, fold in enumerate(folds)
        for k in range(epochs - n)
    ]  # fmt: skip


@pytest.fixture
def trained(kept):
    right = (np.arange(20) % 3 > 0).astype(int)
    for seed in (0, 1):
        kept.guess("student", right, np.arange(20) % 2, seed=seed, number=str(seed),
                   history=history(["1", "2"], 4, 0.1 * seed, test=True))  # fmt: skip
    kept.guess("other", right, np.arange(20) % 2, history=history(["1"], 2))
    kept.guess("probe", right, np.arange(20) % 2)
    return kept


def test_means_and_deviations_over_folds_and_seeds(trained):
    curve = learning_curve(["student"], task="mine", reports=trained.root)
    by_name = {series.quantity: series for series in curve.series}
    assert list(by_name) == ["loss", "valid_loss", "valid_score", "test_score"]  # no term of 0
    assert by_name["loss"].values.shape == (4, 4)  # two folds, one shorter, two seeds
    mean, deviation = by_name["loss"].statistics()
    assert mean == pytest.approx([2.05, 1.05, 2 / 3 + 0.05, 0.55])
    assert deviation[0] == pytest.approx(np.std([2, 2, 2.1, 2.1], ddof=1))
    assert np.isnan(by_name["valid_score"].statistics()[0][0])
    assert curve.phase_starts == (3,)
    assert "select nothing" in curve.caption and "up to 4" in curve.caption
    assert len(curve.rows()) == 16 and curve.rows()[3]["trainings"] == 2


def test_several_runs_in_one_figure(trained):
    curve = learning_curve(["student", "other"], task="mine", reports=trained.root)
    figure = draw_learning_curve(curve)
    losses, scores, legend = figure.axes
    assert losses.get_ylabel() == "loss" and scores.get_ylabel() == "accuracy"
    texts = [text.get_text() for text in legend.texts]
    assert texts[:2] == ["student", "other"] and "test" in texts
    assert len(losses.collections) == 2  # bands of the four trainings; one training has none


@pytest.mark.parametrize("stored", [0.0, None])  # as earlier versions did, and today's
def test_a_term_begins_where_it_is_minimized(kept, stored):
    right = (np.arange(20) % 3 > 0).astype(int)
    epochs = history(["1", "2"], 4)
    for epoch in epochs:
        epoch["contrastive"] = stored if epoch["phase"] == 1 else 0.2
    kept.guess("student", right, np.arange(20) % 2, history=epochs)
    curve = learning_curve(["student"], task="mine", reports=kept.root)
    [term] = [series for series in curve.series if series.quantity == "contrastive"]
    assert np.isnan(term.values[:, :2]).all()
    assert term.statistics()[0][2:] == pytest.approx([0.2, 0.2])
    rows = [row for row in curve.rows() if row["quantity"] == "contrastive"]
    assert [row["trainings"] for row in rows] == [0, 0, 2, 1]
    lines = [np.asarray(line.get_ydata()) for line in draw_learning_curve(curve).axes[0].lines]
    [line] = [y for y in lines if y[-1] == pytest.approx(0.2)]
    assert np.isnan(line[:2]).all()


def test_what_has_no_epochs_is_refused(trained):
    with pytest.raises(DataError, match="probe: no epochs are stored"):
        learning_curve(["probe"], task="mine", reports=trained.root)
