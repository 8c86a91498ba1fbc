"""Labels that are unknown for some clips, against scikit-learn on the known cells of each class."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

import probekit
from probekit._typing import Array
from probekit.cache.import_export import import_arrays
from probekit.cache.layout import cache_root
from probekit.cards import Protocol
from probekit.data.manifest import from_rows, read_manifest
from probekit.data.readers import from_csv
from probekit.errors import DataError
from probekit.metrics.metrics import get_metric
from probekit.probes import linear, mlp
from probekit.probes.base import FitContext
from probekit.probes.perceptron import Perceptron
from probekit.probes.registry import get_probe
from probekit.scores.predictions import load_predictions
from probekit.scores.store import reports_root
from probekit.scores.verification import verify
from probekit.solvers.partial_labels import tag_loss
from probekit.tasks.splits import Split

CLASSES = 3


def _data(clips: int = 150, dim: int = 5) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(clips, dim)).astype(np.float32)
    logits = 2 * features @ rng.normal(size=(dim, CLASSES)) + rng.normal(size=(clips, CLASSES))
    targets = (logits > 0).astype(float)
    targets[rng.random((clips, CLASSES)) < 0.4] = np.nan
    targets[:, 2] = np.where(np.isnan(targets[:, 0]), np.nan, targets[:, 2])
    return features, targets


@pytest.mark.parametrize("solver", linear.SOLVERS)
def test_each_tag_is_fitted_to_its_known_clips(solver: str) -> None:
    features, targets = _data()
    rows = np.arange(100)
    [path] = linear.fit_paths(features, targets, [rows], "multi", CLASSES, [0.1, 10.0], solver)
    scaled = StandardScaler().fit(features[rows]).transform(features[rows]).astype(float)
    for k in range(CLASSES):
        known = ~np.isnan(targets[rows, k])
        for probe in path:
            model = LogisticRegression(C=probe.c, tol=1e-10, max_iter=10_000)
            model.fit(scaled[known], targets[rows, k][known])
            # both stop at a relative gap of the objective of about 1e-6
            np.testing.assert_allclose(probe.coef[k], model.coef_[0], atol=2e-3)
            np.testing.assert_allclose(probe.intercept[k], model.intercept_[0], atol=2e-3)


def _context(probe: str) -> FitContext:
    features, targets = _data()
    rows = [{"clip_id": f"c{k}", "path": f"{k}.wav", "labels": ()} for k in range(len(targets))]
    clips = from_rows("t", rows, target="multi", class_names=("a", "b", "c"))
    split = Split("test", np.arange(80), np.arange(80, 110), np.arange(110, 150))
    return FitContext(
        features=features,
        targets=targets,
        clips=clips,
        splits=[split],
        protocol=Protocol(kind="split", refit=False),
        metric=get_metric("pr-auc"),
        probe=probe,
    )


@pytest.mark.parametrize(
    "name", ["linear", "knn", "mlp", "sklearn.linear_model:LogisticRegression"]
)
def test_probes_learn_from_known_labels(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = mlp.MLPRecipe(((32,),), (1e-2,), (1e-4,), epochs=20, steps=0, wait=0)
    monkeypatch.setitem(mlp.RECIPES, "", recipe)
    context = _context(name)
    [model] = get_probe(name).choose_all(context)
    scores = model.probe.scores(context.features)
    rows = np.arange(110, 150)
    known = ~np.isnan(context.targets[rows])
    expected = [
        average_precision_score(context.targets[rows][known[:, k], k], scores[rows][known[:, k], k])
        for k in range(CLASSES)
    ]
    np.testing.assert_allclose(
        context.metric.per_class(context.targets[rows], scores[rows]), expected, atol=1e-12
    )
    assert min(expected) > 0.75  # far above the share of positives, a half


def test_outputs_without_a_target_have_no_loss() -> None:
    """Whatever stands in the unknown cells, the weights are the same; without them, they differ."""
    features, targets = _data()
    known = ~np.isnan(targets)
    weights = []
    for filled, mask in ((0, known), (1, known), (0, None)):
        network = Perceptron(
            (5, 8, CLASSES),
            "logistic",
            rate=1e-2,
            decay=0.0,
            batch=32,
            rng=np.random.RandomState(0),
            dtype=np.dtype(np.float32),
        )
        network.train_epoch(features, np.where(known, targets == 1, filled), mask)
        weights.append(np.concatenate([w.ravel() for w in network.parameters]))
    np.testing.assert_array_equal(weights[0], weights[1])
    assert np.abs(weights[0] - weights[2]).max() > 1e-3


def test_neighbors_are_the_known_clips() -> None:
    context = _context("knn")
    [model] = get_probe("knn").choose_all(context)
    train = context.splits[0].train
    settings = model.params
    scaled = StandardScaler().fit(context.features[train]).transform(context.features)
    for k in range(CLASSES):
        known = train[~np.isnan(context.targets[train, k])]
        neighbors = NearestNeighbors(metric=settings["distance"]).fit(scaled[known])
        distance, rows = neighbors.kneighbors(scaled[110:], settings["neighbours"])
        weight = 1 / distance
        votes = (weight * context.targets[known[rows], k]).sum(1) / weight.sum(1)
        np.testing.assert_allclose(
            model.probe.scores(context.features[110:])[:, k], votes, atol=1e-5
        )


def test_a_label_of_one_value_has_a_constant_score() -> None:
    context = _context("knn")
    context.targets[:, 1] = np.where(np.isnan(context.targets[:, 1]), np.nan, 1)
    for name, constant in (("knn", 1.0), ("linear", np.inf)):
        [model] = get_probe(name).choose_all(context)
        assert (model.probe.scores(context.features)[:, 1] == constant).all()
    context.targets[:] = np.nan
    with pytest.raises(DataError, match=r"not defined on the clips held out|no label is known"):
        get_probe("knn").choose_all(context)


def test_loss_is_the_mean_over_known_labels() -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    targets = torch.tensor([[1.0, 0, torch.nan], [0, 1, 1], [torch.nan] * 3, [1, 1, 0]])
    known = ~targets.isnan()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[known], targets[known])
    loss = tag_loss(logits, targets)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert logits.grad is not None and (logits.grad[~known] == 0).all()
    assert tag_loss(logits[2:3], targets[2:3]) == 0  # nothing is known


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table with a column a tag, and embeddings of its clips."""
    monkeypatch.chdir(tmp_path)
    features, targets = _data()
    cells = np.where(np.isnan(targets), "", np.char.mod("%.0f", targets))
    lines = [f"c{k},{k % 5},{','.join(row)}" for k, row in enumerate(cells)]
    Path("own.csv").write_text(
        "clip_id,fold,tag:a,tag:b,tag:c\n" + "\n".join(lines) + "\n", encoding="utf-8"
    )
    np.save("x.npy", features)
    clips = from_csv(Path("own.csv"), need_path=False)
    import_arrays("mine", clips, [Path("x.npy")], cache=cache_root(), dataset="own")
    return Path("own.csv")


def test_own_table_is_scored_on_known_cells(table: Path) -> None:
    [result] = probekit.evaluate("own.csv", "mine", grid=[1.0])
    assert result["metric"] == "pr-auc" and 0.75 < result["interval"]["low"] < result["score"] < 1
    share = 100 * np.isnan(_data()[1]).mean()
    assert f"{share:.3g} % of the labels are unknown and do not count" in result["provenance"]
    [path] = (reports_root() / "results/own").glob("*.json")
    predictions = load_predictions(path, result)
    known = ~np.isnan(predictions.targets)
    for k, entry in enumerate(result["per_class"].values()):
        assert entry["clips"] == (predictions.targets[:, k] == 1).sum()
        by_fold = [
            average_precision_score(predictions.targets[rows, k], predictions.scores[rows, k])
            for rows in (known[:, k] & (predictions.fold == fold) for fold in range(5))
        ]
        assert entry["score"] == pytest.approx(np.mean(by_fold), abs=1e-12)
    assert not any(outcome.faults for outcome in verify())


def test_label_that_is_unknown_everywhere_is_refused(table: Path) -> None:
    lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text(
        "\n".join([lines[0], *(line.rpartition(",")[0] + "," for line in lines[1:])]),
        encoding="utf-8",
    )
    with pytest.raises(
        DataError, match=r"own\.csv: labels that are unknown for all 150 clips: 'c'"
    ):
        probekit.evaluate("own.csv", "mine")


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("tag:a,tag:b", "1,yes", r"row 2, column 'tag:b': must be 1, 0, or empty .* got 'yes'"),
        ("tag:a,label", "1,x", "columns 'label' and 'tag:a': only one of them may be used"),
        ("tag:a,tag:", "1,0", "column 'tag:': each column of tags must have a name of its own"),
        ("tag:\u00e9,tag:e\u0301", "1,0", "must have a name of its own after tag:"),
    ],
)
def test_bad_cells_are_named(tmp_path: Path, header: str, row: str, message: str) -> None:
    path = tmp_path / "own.csv"
    path.write_text(f"clip_id,{header}\nc0,{row}\n")
    with pytest.raises(DataError, match=message):
        from_csv(path, need_path=False)


def test_unknown_labels_survive_the_files(tmp_path: Path) -> None:
    rows = [
        {"clip_id": "c0", "path": "a.wav", "labels": ("a",), "unknown": ("b",)},
        {"clip_id": "c1", "path": "b.wav", "labels": ("b",)},
    ]
    clips = from_rows("t", rows, target="multi")
    np.testing.assert_array_equal(clips.targets(), [[1, np.nan], [0, 1]])
    assert clips.subset([1]).targets().dtype == np.int8  # all are known
    for name in ("t.csv", "t.parquet"):
        clips.write(tmp_path / name)
    for again in (from_csv(tmp_path / "t.csv"), read_manifest(tmp_path / "t.parquet")):
        assert again.digest() == clips.digest()
    for unknown in ("b", ["b"], {"b"}, np.array(["b"])):  # a single string is one label
        alike = from_rows("t", [{**rows[0], "unknown": unknown}, rows[1]], target="multi")
        assert alike.digest() == clips.digest()
    with pytest.raises(DataError, match="clip 'c1': 'b' is both a label and unknown"):
        from_rows("t", [{**rows[0], "unknown": ()}, {**rows[1], "unknown": ("b",)}], target="multi")
