"""Training from weak labels: loss, masks, recipes, stages, results, and what is refused."""

import copy
import csv
import json

import numpy as np
import pytest
import soundfile
import torch
from sklearn.metrics import average_precision_score
from torch.nn import functional

import probekit
from probekit.analysis.timeline import timeline
from probekit.cache.embeddings import list_embeddings
from probekit.errors import ProbekitError
from probekit.extractors.students import zoo
from probekit.scores import store
from probekit.scores.predictions import load_predictions
from probekit.targets.target_file import Targets, read_targets, write_targets
from probekit.tasks.standin.sounds import synthesize
from probekit.tasks.task_clips import resolve_clips
from probekit.training import schedules
from probekit.training.dataloader import Batch
from probekit.training.objectives import LABELED
from probekit.training.optimizers import plateau_factor
from probekit.training.schedules import Masks, Plateau
from probekit.training.train import train
from probekit.training.weak_labels import SoftLabels, WeakLabels, read_soft_labels, with_pooling

torch.set_num_threads(1)
SR = 16000
SMALL = {"recipe": "cmu2019", "epochs": 2, "steps": 2, "batch": 4, "device": "cpu"}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Clips of 1 s with one or two of three sounds."""
    folder = tmp_path_factory.mktemp("scenes")
    names, rows = ("bell", "rain", "kick"), [("clip_id", "path", "labels", "split")]
    for k in range(18):
        labels = [names[k % 3], names[(k + 1) % 3]][: 1 + k % 2]
        wave = sum(synthesize(label, seed=k, seconds=1.0, sr=SR) for label in labels)
        soundfile.write(folder / f"{k}.wav", 0.4 * wave, SR)
        split = "test" if k >= 12 else "valid" if k >= 9 else "train"
        rows.append((f"c{k}", f"{k}.wav", ";".join(labels), split))
    with (folder / "scenes.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "scenes.csv"


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBEKIT_HOME", str(tmp_path / "home"))
    return {"cache": tmp_path / "cache", "reports": tmp_path / "out"}


def test_loss_is_that_of_pooled_probabilities():
    torch.manual_seed(0)
    student = zoo.build_student("talnet:width=2", 3)
    levels, targets = 10 * torch.randn(4, 40, 64), torch.rand(4, 3).round()
    twin = copy.deepcopy(student)  # batch norm in training mode updates its averages
    loss = WeakLabels(student)({LABELED: Batch(levels, torch.arange(4), targets)})["loss"]
    embedding = twin.embed(twin.frontend(levels))
    p = twin.frame_logits(embedding).double().sigmoid().clamp(1e-7, 1 - 1e-7)
    pooled = p.square().sum(1) / p.sum(1)
    expected = functional.binary_cross_entropy(pooled, targets.double())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)  # float32


@pytest.mark.parametrize(("network", "frames"), [("talnet:width=2", 80), ("weanet:width=2", 200)])
def test_masks_are_of_bands_and_seconds(network, frames):
    student = zoo.build_student(network, 2)
    objective = WeakLabels(student, Masks(16, 2.0))
    torch.manual_seed(0)
    ones = torch.ones(300, 400, 64)
    masked, targets = objective.augment(ones, torch.zeros(300, 2))
    full_bands = (masked == 0).all(1).sum(1)  # masked at all times
    full_frames = (masked == 0).all(2).sum(1)
    assert full_bands.max() == 16 and full_bands.min() == 0
    assert full_frames.max() <= frames and full_frames.max() > 0.9 * frames
    assert full_frames.float().mean() == pytest.approx(frames / 2, rel=0.15)  # uniform from 0
    assert torch.equal(targets, torch.zeros(300, 2))


def test_mixed_clips_have_mixed_labels():
    objective = WeakLabels(zoo.build_student("talnet:width=2", 2), mixing=1.0)
    torch.manual_seed(0)
    features = torch.arange(8.0)[:, None, None].expand(8, 5, 64)
    targets = torch.arange(8.0)[:, None].expand(8, 2)
    mixed, labels = objective.augment(features, targets)
    torch.testing.assert_close(mixed[:, 0, 0], labels[:, 0])
    assert not torch.equal(labels, targets)


def test_recipes_are_those_of_the_papers():
    cmu = schedules.get_recipe("cmu2019", "pr-auc")
    assert (cmu.batch_size, cmu.steps, cmu.epochs, cmu.plateau) == (250, 1000, 30, Plateau(0.8, 3))
    assert cmu.batch_size * cmu.steps * cmu.epochs == 7_500_000
    assert cmu.weight_decay == 0 and cmu.masks is None and cmu.sampler == "rounds"
    kumar = schedules.get_recipe("kumar2021", "pr-auc")
    assert kumar.masks == Masks(16, 2.0) and kumar.epochs == 60
    panns = schedules.get_recipe("panns", "pr-auc")
    assert (panns.mixup, panns.masks, panns.amsgrad) == (1.0, Masks(8, 0.64, 2), True)
    assert panns.epochs * panns.steps == 600_000
    shorter = schedules.get_recipe("cmu2019", "pr-auc", epochs=3, steps=7)
    assert schedules.describe_changes(shorter, "pr-auc") == [
        "recipe cmu2019", "3 epochs", "7 steps an epoch",
    ]  # fmt: skip
    assert "sampler" not in schedules.get_recipe("default", "pr-auc").facts()


def test_plateau_is_that_of_the_published_rule():
    scores = [0.1, 0.2, 0.19, 0.18, 0.2, 0.2]  # three without a better one are tolerated, not four
    assert plateau_factor(Plateau(0.8, 3), scores[:5], rises=True) == 1
    assert plateau_factor(Plateau(0.8, 3), scores, rises=True) == pytest.approx(0.8)
    assert plateau_factor(Plateau(0.8, 3), [0.2, None, None, None, None], rises=True) < 1
    assert plateau_factor(Plateau(0.5, 0), [1.0, 2.0, 3.0], rises=False) == pytest.approx(0.25)


def test_soft_labels(tmp_path):
    values = np.array([[0.5, 0.25], [np.nan, np.nan]], np.float32)
    soft = SoftLabels(tmp_path / "o.h5", 0.3, values, "d")
    mixed = soft.mix(np.array([[1, 0], [1, 0]]))
    np.testing.assert_allclose(mixed, [[0.65, 0.175], [1, 0]], rtol=1e-6)


@pytest.mark.parametrize(
    "network",
    [
        "talnet:width=2",
        pytest.param("weanet:width=2", marks=pytest.mark.slow),
        "short-chunk:width=2",
    ],
)
def test_any_network_end_to_end(table, folders, network):
    [result] = train(str(table), network, objective="weak-labels", **SMALL, **folders)
    assert 0 <= result["score"] <= 1 and len(result["history"]) == 2
    [folder] = (folders["reports"] / "students").iterdir()
    card = json.loads((folder / "training.json").read_text())
    assert card["clips"] == {
        "listed": 18, "with_audio": 18, "trained": 9, "validated": 3, "scored": 6,
    }  # fmt: skip
    assert card["scores"]["mAP"] == pytest.approx(result["score"])
    assert card["note"].startswith("our training of ") and "on 6 clips of" in card["note"]
    assert sum(card["class_counts"]) == 9 + 4
    name = f"runs/{folder.name}"
    streams = ["frame_probabilities", "embedding"]
    probekit.extract(name, task=str(table), frames=True, streams=streams, device="cpu", **folders)
    [embeddings] = list_embeddings(folders["cache"])
    frames = embeddings.frames("c3", "frame_probabilities")
    assert frames.shape[1] == 3 and len(frames) > 1 and (frames >= 0).all() and (frames <= 1).all()
    assert any(card["note"] in note for note in embeddings.layout.provenance)
    drawn = timeline(str(table), "c3", f"{name}:stream=frame_probabilities", cache=folders["cache"])
    assert drawn.classes == ("bell", "kick", "rain") and np.array_equal(drawn.scores, frames)
    by_head = timeline(str(table), "c3", f"{name}:stream=embedding", cache=folders["cache"])
    if by_head.scores is not None:  # WEANet's reads another stream
        np.testing.assert_allclose(by_head.scores, frames, atol=1e-4)


def test_interrupted_and_resumed(table, folders, monkeypatch):
    [whole] = train(str(table), "talnet:width=2", **{**SMALL, "epochs": 4}, **folders)
    weights = next((folders["reports"] / "students").glob("*/weights.pt")).read_bytes()
    other = {**folders, "reports": folders["reports"].with_name("other")}

    def stop(what, done, total, note):
        if done == 2 and total == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(str(table), "talnet:width=2", **{**SMALL, "epochs": 4}, **other, progress=stop)
    [resumed] = train(str(table), "talnet:width=2", **{**SMALL, "epochs": 4}, **other)
    assert next((other["reports"] / "students").glob("*/weights.pt")).read_bytes() == weights
    assert resumed["score"] == whole["score"]
    log = next((other["reports"] / "students").glob("*/log.csv")).read_text()
    assert len(log.splitlines()) == 5


def test_stages(table, folders):
    notes = []
    results = train(
        str(table), "weanet:width=2", **{**SMALL, "recipe": "self-taught"}, stages=3,
        label_share=0.4, warn=notes.append, **folders,
    )  # fmt: skip
    assert 2 <= len(results) <= 3
    labels = [result["embedding"] for result in results]
    assert any("stage 1" in label for label in labels)
    first = next(r for r in results if "stage" not in r["embedding"])
    folder = folders["reports"] / "students" / first["run"][:12]
    outputs = read_targets(folder / "outputs.h5")
    assert len(outputs) == 9 and outputs.names == ("bell", "kick", "rain")
    taught = next(r for r in results if "stage 1" in r["embedding"])
    assert taught["settings"]["soft_labels"]["digest"] == outputs.digest()
    card = json.loads(
        (folders["reports"] / "students" / taught["run"][:12] / "training.json").read_text()
    )
    assert (
        "self-taught, stage 1: 40 % labels" in card["note"]
        and "its training is ours" in card["note"]
    )
    selected = [r["folds"][0]["selected_score"] for r in results]
    assert selected[-1] == max(selected)
    again = train(
        str(table), "weanet:width=2", **{**SMALL, "recipe": "self-taught"}, stages=3,
        label_share=0.4, **folders,
    )  # fmt: skip
    assert [r["run"] for r in again] == [r["run"] for r in results]
    assert store.load(next((folders["reports"] / "results").rglob("*.json")))["run"]


def test_outputs_of_another_task(table, folders, tmp_path):
    clips = resolve_clips(str(table), folders["cache"], None)[1]
    path, ids = tmp_path / "outputs.h5", np.array(clips.clip_ids[:2])
    write_targets(path, Targets(ids, np.full((2, 3), 0.5, np.float32), names=("a", "b", "rain")))
    with pytest.raises(ProbekitError, match=r"3 columns that are not the 3 classes.*'a', 'b'"):
        read_soft_labels(path, clips, 0.3)
    names = clips.class_names
    write_targets(path, Targets(ids, np.full((2, 3), 1.5, np.float32), names=names))
    with pytest.raises(ProbekitError, match=r"probabilities from 0 to 1, got 1\.5"):
        read_soft_labels(path, clips, 0.3)


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        ("cf-net", {}, "one embedding a crop"),
        ("talnet:width=2", {"pooling": "median"}, "unknown pooling 'median'"),
        (
            "talnet:width=2",
            {"objective": "contrastive", "unlabeled": "train"},
            "is for --objective",
        ),
        ("talnet:width=2", {"recipe": "default", "pooling": "max"}, "--pooling is for"),
        ("talnet:width=2", {"recipe": "default", "steps": 3}, "--steps is for recipes of weak"),
        ("talnet:width=2", {"steps": 0}, "--steps must be >= 1"),
        ("talnet:width=2", {"stages": 0}, "--stages must be >= 1"),
        ("talnet:width=2", {"label_share": 1.0}, "--label-share must be from 0"),
        ("talnet:width=2", {"recipe": "default", "stages": 2}, "--stages is for"),
        ("talnet:width=2", {"targets": "x.h5"}, "does not go with --targets"),
    ],
)
def test_options_that_do_not_fit(table, folders, network, options, message):
    with pytest.raises(ProbekitError, match=message):
        train(str(table), network, **{**SMALL, **options}, **folders)


def test_tasks_and_clips_that_do_not_fit(table, folders, tmp_path):
    rows = table.read_text().splitlines()
    single = table.with_name("single.csv")
    single.write_text("\n".join(["clip_id,path,label", *(f"c{k},{k}.wav,a" for k in range(4))]))
    with pytest.raises(ProbekitError, match="needs a task whose clips may have several labels"):
        train(str(single), "talnet:width=2", **SMALL, **folders)
    rows[1] = "c0,0.wav,,train"
    empty = table.with_name("empty.csv")
    empty.write_text("\n".join(rows) + "\n")
    with pytest.raises(ProbekitError, match="label"):
        train(str(empty), "talnet:width=2", **SMALL, **folders)


def test_classes_without_positives_are_named_and_left_out(table, folders):
    """Of two classes in validation and two in test, both means have the two."""
    rows = table.read_text().splitlines()
    for k in (*range(9, 18),):  # no rain in validation, no bell in test
        label = ("bell", "kick")[k % 2] if k < 12 else ("rain", "kick")[k % 2]
        rows[k + 1] = f"c{k},{k}.wav,{label},{'valid' if k < 12 else 'test'}"
    path = table.with_name("gaps.csv")
    path.write_text("\n".join(rows) + "\n")
    lines = []
    options = {**SMALL, **folders, "warn": lines.append}
    [result] = train(str(path), "talnet:width=2", **options)
    notes = [
        "never in validation, and not scored there: 1 of 3 tags (rain)",
        "never in test, and not scored there: 1 of 3 tags (bell)",
    ]
    for note in notes:
        assert note in result["provenance"]
        assert [line for line in lines if line.endswith(note)]
    [card] = (folders["reports"] / "students").glob("*/training.json")
    facts = json.loads(card.read_text())
    assert facts["unscored"] == notes and "gaps (2 of 3 classes), trained" in facts["note"]
    path = next((folders["reports"] / "results").rglob("*.json"))
    stored = load_predictions(path, result)
    truth, scores = stored.targets, stored.scores
    by_class = [average_precision_score(truth[:, k], scores[:, k]) for k in (1, 2)]
    assert not truth[:, 0].any() and result["score"] == pytest.approx(np.mean(by_class))
    assert result["history"][0]["valid_score"] is not None


def test_checkpoint_of_another_recipe(table, folders):
    """The folder of a run is named by its settings: a checkpoint in it was copied by hand."""
    calls = []

    def stop(what, done, total, note):
        calls.append(done)
        if total == 2 and done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(str(table), "talnet:width=2", **SMALL, **folders, progress=stop)
    path = next((folders["reports"] / "students").glob("*/last.ckpt"))
    content = torch.load(path, weights_only=True)
    content["history"][0]["lr"] = 0.01
    torch.save(content, path)
    with pytest.raises(ProbekitError, match="checkpoint of another recipe: epoch 1 had phase 1"):
        train(str(table), "talnet:width=2", **SMALL, **folders)
    content["history"][0]["lr"] = 1e-3
    content["weights"] = {"other": torch.zeros(1)}
    torch.save(content, path)
    with pytest.raises(ProbekitError, match="checkpoint of another network"):
        train(str(table), "talnet:width=2", **SMALL, **folders)


def test_own_and_other_pooling():
    assert with_pooling("talnet:width=2", "") == ("talnet:width=2", "")
    assert with_pooling("talnet:width=2", "max") == ("talnet:pooling=max,width=2", "")
    assert with_pooling("short-chunk:width=2", "") == ("short-chunk:width=2", "linear-softmax")
    assert with_pooling("short-chunk:width=2", "max") == ("short-chunk:width=2", "max")


def test_estimate_before_the_start(table, folders):
    notes = []
    options = {**SMALL, "epochs": 30, "steps": 1000}
    assert (
        train(str(table), "talnet:width=2", **options, dry_run=True, warn=notes.append, **folders)
        == []
    )
    [text] = notes
    # 18 clips of 1 s, each 40 spectra of 64 numbers of 2 bytes
    assert "spectra of 18 clips take 0.0922 MB" in text and "30,000 steps take about" in text
    assert "20 timed" in text and not (folders["cache"] / "levels").exists()
    with pytest.raises(ProbekitError, match="--dry-run is for"):
        train(str(table), "short-chunk:width=2", dry_run=True, **folders)


def first_loss(table, folders, name, **options):
    """The mean loss of an epoch at a rate of almost nothing: that of the initial weights."""
    folders = {**folders, "reports": folders["reports"].with_name(name)}
    options = {**SMALL, "epochs": 1, "steps": 4, "lr": 1e-12, **options}
    [result] = train(str(table), "talnet:width=2", **options, **folders)
    return result["history"][0]["loss"]


def test_half_precision_is_nearly_the_same(table, folders):
    exact = first_loss(table, folders, "exact")
    half = first_loss(table, folders, "half", precision="bf16-mixed")
    # convolutions with 8 bits of mantissa; pooling over time, GRU and loss stay float32
    assert half != exact and half == pytest.approx(exact, rel=0.01)


@pytest.mark.slow
def test_two_processes_share_the_rounds_over_classes(table, folders):
    """Two steps of two processes read the batches of four steps of one."""
    alone = first_loss(table, folders, "alone", steps=4)
    shared = first_loss(table, folders, "shared", steps=2, devices=2)
    assert shared == pytest.approx(alone, rel=1e-5)  # sums of float32
