"""Networks trained on target files: split, losses, bounds, and files of other data."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import probekit
from probekit.cards import Protocol
from probekit.data.manifest import from_rows
from probekit.errors import DataError, ProbekitError
from probekit.extractors import load
from probekit.targets.estimates import score_estimates
from probekit.targets.song_factors import FactorConfig, make_targets
from probekit.targets.standin_logs import write_standin_logs
from probekit.targets.target_file import Targets, write_targets
from probekit.tasks.task import infer_card
from probekit.training import losses
from probekit.training.dataloader import chunk_starts
from probekit.training.target_clips import with_targets

NETWORK = "short-chunk:width=2"
SPLITS = ("train", "train", "valid", "test")


@pytest.fixture(scope="module")
def standin(tmp_path_factory):
    """Songs of 1 s whose sound decides who plays them, and their factors."""
    root = tmp_path_factory.mktemp("standin")
    logs = write_standin_logs(root / "songs", songs=90, users=150, groups=2, seconds=1.0)
    config = FactorConfig(factors=4, user_items=5, item_users=5)
    targets = make_targets(logs.plays, config, items=logs.items).targets
    write_targets(root / "cf.h5", targets)
    return root, logs, targets


@pytest.fixture(scope="module")
def estimator(standin):
    root, logs, _ = standin
    [result] = probekit.train(
        str(logs.clips), "short-chunk:width=4", targets=root / "cf.h5", epochs=15, batch=8,
        lr=3e-3, device="cpu", cache=root / "cache", reports=root / "reports",
    )  # fmt: skip
    return result


def test_the_estimator_is_between_its_bounds(estimator):
    """Planted: the sound decides; margins are those of 13 songs."""
    rows = {row["name"]: row for row in estimator["settings"]["evaluation"]}
    network, lower = rows["network"], ("mean", "popularity", "random")
    assert network["mse"] < rows["mean"]["mse"] and network["r2"] > 0.3
    assert network["cosine"] > rows["mean"]["cosine"]
    assert rows["mean"]["r2"] == 0 and rows["directions"]["mse"] == 0
    for name in lower:
        assert network["auc"] > rows[name]["auc"] + 0.05
        assert network["percentile_rank"] < rows[name]["percentile_rank"] - 4
        assert network["map@500"] > rows[name]["map@500"]
    assert rows["mean"]["auc"] == 0.5 and abs(rows["random"]["auc"] - 0.5) < 0.1
    for name in ("directions", "factors"):
        assert rows[name]["bound"] == "upper" and network["auc"] <= rows[name]["auc"] + 0.02


def test_provenance_and_extractor(standin, estimator):
    root, _, targets = standin
    assert estimator["provenance"][0] == "stand-in data"
    assert "targets cf.h5: 4 factors of stand-in data plays.tsv" in " ".join(
        estimator["provenance"]
    )
    assert estimator["metric"] == "r2-weighted" and estimator["score"] > 0
    assert estimator["folds"][0]["test"] == (targets.split == "test").sum()
    assert estimator["settings"]["recipe"]["name"] == "lee2019"
    spec = load.resolve_spec(f"runs/{estimator['run'][:12]}", reports=root / "reports")
    assert "stand-in data" in " ".join(spec.provenance)
    network = load.build_extractor(spec).network
    assert network.classes == 4


def test_a_file_is_a_teacher(standin, estimator, tmp_path):
    root, logs, targets = standin
    table = tmp_path / "sounds.csv"
    ids = [str(i) for i in targets.clip_ids]
    lines = [
        f"{i},audio/{i[-4:]}.wav,{'ab'[int(i[-4:]) // 3 % 2]},{SPLITS[k % 4]}"
        for k, i in enumerate(ids)
    ]
    table.write_text("\n".join(["clip_id,path,label,split", *lines]))
    options = {"cache": root / "cache", "root": logs.root, "reports": tmp_path, "device": "cpu"}
    [result] = probekit.distill(
        str(table), NETWORK, str(root / "cf.h5"), method="cf-reg", epochs=1, **options
    )
    assert "imported embeddings: targets of cf.h5" in result["provenance"]
    assert result["settings"]["features"] == 4


@pytest.mark.parametrize("loss", ["mse", "cosine", "cross-entropy"])
def test_losses(standin, tmp_path, loss):
    root, logs, targets = standin
    values = np.abs(targets.values) + 0.1
    values /= values.sum(1, keepdims=True)
    np.savez(tmp_path / "t.npz", clip_id=targets.clip_ids, p=values)
    [result] = probekit.train(
        str(logs.clips), NETWORK, targets=tmp_path / "t.npz", loss=loss, epochs=1, device="cpu",
        cache=root / "cache", reports=tmp_path / "r",
    )  # fmt: skip
    row = result["settings"]["evaluation"][0]
    assert row["cross_entropy"] > 0 and 0 <= row["agreement"] <= 1 and "auc" not in row
    assert "split drawn without groups: none are known" in result["provenance"]
    card = load.resolve_spec(f"runs/{result['run'][:12]}", reports=tmp_path / "r").card
    assert ("probabilities" in card.streams) == (loss == "cross-entropy")


def test_values_of_the_losses():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(5, 3, generator=generator), torch.rand(5, 3, generator=generator)
    cosine = 1 - (x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1))
    torch.testing.assert_close(losses.task_loss(x, y, "cosine"), cosine.mean())
    p = y / y.sum(1, keepdim=True)
    expected = -(p * x.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(losses.task_loss(x, p, "distribution"), expected)
    torch.testing.assert_close(losses.to_scores(x, "cosine").norm(dim=1).float(), torch.ones(5))
    torch.testing.assert_close(losses.to_scores(x, "distribution").float(), x.softmax(1))


def test_the_middle_of_a_clip_is_scored():
    assert chunk_starts(100, 40, "middle").tolist() == [30]
    assert chunk_starts(30, 40, "middle").tolist() == [0]


def make_clips(count=20, **columns):
    rows = [
        {
            "clip_id": f"c{k}",
            "path": f"{k}.wav",
            "labels": "x",
            **{n: v[k] for n, v in columns.items()},
        }
        for k in range(count)
    ]
    return from_rows("birds", rows)


def save(path, ids, **arrays):
    values = np.random.default_rng(0).normal(size=(len(ids), 3))
    np.savez(path, clip_id=ids, v=values, **arrays)
    return path


def test_split_of_the_file_goes_before_that_of_the_task(tmp_path):
    ids = [f"c{k}" for k in range(12)]
    file = save(tmp_path / "t.npz", ids, split=["train"] * 6 + ["valid"] * 3 + ["test"] * 3)
    official = make_clips(split=["train"] * 18 + ["test"] * 2)
    made = with_targets(infer_card(official), official, file)
    assert made.clips.column("split").tolist() == ["train"] * 6 + ["valid"] * 3 + ["test"] * 3
    assert made.card.protocol.kind == "split" and made.clips.class_names[0] == "target 1"
    assert made.notes[1:] == ("12 of 20 clips have a target",)
    assert made.clips.targets().shape == (12, 3)


def test_official_folds_stay_and_else_groups_are_kept(tmp_path):
    file = save(tmp_path / "t.npz", [f"c{k}" for k in range(25)])
    folds = make_clips(fold=[str(k % 4) for k in range(20)])
    made = with_targets(infer_card(folds), folds, file)
    assert made.card.protocol.kind == "folds"
    assert "5 of 25 targets have no clip" in made.notes
    grouped = make_clips(group=[f"g{k // 2}" for k in range(20)])
    made = with_targets(infer_card(grouped), grouped, file)
    assert made.card.protocol == Protocol(
        kind="split", refit=False, description=made.card.protocol.description
    )
    sides = set(zip(made.clips.column("group"), made.clips.column("split"), strict=True))
    assert len(sides) == 10 and {side for _, side in sides} == {"train", "valid", "test"}


def test_unit_length(tmp_path):
    file, clips = save(tmp_path / "t.npz", [f"c{k}" for k in range(20)]), make_clips()
    made = with_targets(infer_card(clips), clips, file, unit_length=True)
    np.testing.assert_allclose(np.linalg.norm(made.clips.targets(), axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "mae"}, "unknown loss 'mae'"),
        ({"loss": "cross-entropy"}, "needs distributions, and the rows of"),
    ],
)
def test_losses_that_do_not_suit(tmp_path, options, message):
    file, clips = save(tmp_path / "t.npz", [f"c{k}" for k in range(20)]), make_clips()
    with pytest.raises(ProbekitError, match=message):
        with_targets(infer_card(clips), clips, file, **options)


def test_targets_of_another_dataset_and_too_few(tmp_path):
    clips = make_clips()
    with pytest.raises(
        DataError,
        match=r"none of its 2 targets is of the 20 .* like 'c0', 'c1', its ids like 'q', 'r'",
    ):
        with_targets(infer_card(clips), clips, save(tmp_path / "t.npz", ["q", "r"]))
    with pytest.raises(DataError, match="no valid and no test clips with a target"):
        with_targets(infer_card(clips), clips, save(tmp_path / "u.npz", ["c1", "c2"]))


def test_options_of_targets_alone(standin):
    _, logs, _ = standin
    with pytest.raises(ProbekitError, match=r"loss is for .*; leave it out"):
        probekit.train(str(logs.clips), NETWORK, loss="mse")
    with pytest.raises(ProbekitError, match=r"targets.* does not go with .*objective"):
        probekit.train(
            str(logs.clips), NETWORK, targets="x.h5", objective="contrastive", unlabeled="train"
        )


def test_scores_against_formulas():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(30, 4)).astype(np.float32)
    split = np.array(["train"] * 20 + ["test"] * 10)
    targets = Targets(np.array([f"c{k}" for k in range(30)]), values, split=split)
    predictions = rng.normal(size=(10, 4))
    ids = [f"c{k}" for k in range(20, 30)]
    network, mean = score_estimates(targets, ids, predictions)
    truth, center = values[20:].astype(float), values[:20].mean(0)
    assert network.mse == pytest.approx(((truth - predictions) ** 2).mean(), rel=1e-6)  # float32
    assert network.r2 == pytest.approx(
        1 - ((truth - predictions) ** 2).sum() / ((truth - center) ** 2).sum(), rel=1e-6
    )
    assert mean.r2 == 0 and network.ranking is None and mean.bound == "lower"
    distributions = replace(
        targets, values=np.full((30, 4), 0.25, np.float32), kind="distributions"
    )
    network = score_estimates(distributions, ids, np.full((10, 4), 0.25))[0]
    assert network.cross_entropy == pytest.approx(np.log(4)) and network.cosine is None
