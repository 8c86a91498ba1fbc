"""Whole runs on a tiny corpus: what is kept, what is computed once, what goes on, what is said."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import probekit
from probekit.distillation import distillation_task
from probekit.distillation.distill import distill, resolve_clips
from probekit.errors import DataError, ProbekitError
from probekit.extraction.extract import extract
from probekit.metrics import metrics
from probekit.scores import groups, predictions, store, verification
from probekit.training import trainer

STUDENT = "short-chunk:width=2"
QUICK = {"epochs": 2, "batch": 8, "device": "cpu"}


@pytest.fixture(scope="module")
def workspace(corpus, tmp_path_factory):
    """Tables of the tiny corpus's clips, and their embeddings with and without frames."""
    base = tmp_path_factory.mktemp("distill")
    lines = {"single": ["clip_id,path,label,split"], "multi": ["clip_id,path,labels,split"],
             "numbers": ["clip_id,path,target:a,target:b,split"],
             "folds": ["clip_id,path,label,fold"]}  # fmt: skip
    for k, path in enumerate(sorted(corpus.rglob("*.*"))):
        part = ("train", "train", "valid", "test")[k % 4]
        label = path.parent.name
        several = f"{label};loud" if k % 3 == 0 else label
        first = f"{path.stem},{path.relative_to(corpus).as_posix()}"
        lines["single"].append(f"{first},{label},{part}")
        lines["multi"].append(f"{first},{several},{part}")
        lines["numbers"].append(f"{first},{k / 10},{-k},{part}")
        lines["folds"].append(f"{first},{label},{k % 3 + 1}")
    for name, rows in lines.items():
        (base / f"{name}.csv").write_text("\n".join(rows) + "\n")
    for name in lines:
        extract(["melstats"], task=str(base / f"{name}.csv"), root=corpus, cache=base / "cache",
                frames=True)  # fmt: skip
    extract(["mfcc"], task=str(base / "single.csv"), root=corpus, cache=base / "cache")
    return base


@pytest.fixture
def go(workspace, corpus, tmp_path):
    def call(task="single", student=STUDENT, teachers=(), **given):
        options = {**QUICK, "cache": workspace / "cache", "root": corpus, "reports": tmp_path / "r"}
        return distill(str(workspace / f"{task}.csv"), student, teachers, **{**options, **given})

    return call


def test_a_result_follows_from_its_predictions(go, tmp_path):
    (result,) = go(method="con-reg", teachers="melstats")
    assert result["probe"] == f"student:{STUDENT}"
    assert result["embedding"] == "con-reg, 2 epochs, batch 8 (melstats, vectors)"
    assert "teacher melstats: one vector a clip (stats)" in result["provenance"]
    assert result["settings"]["method"] == "con-reg" and result["settings"]["alpha"] == 5
    assert [s["extractor"] for s in result["sources"]] == ["melstats"]
    assert result["target"] == "single" and result["probabilities"] and result["dim"] == 16
    (fold,) = result["folds"]
    assert (fold["train"], fold["test"]) == (12, 6)
    assert fold["selected_on"] == "6 validation clips"
    assert [h["epoch"] for h in result["history"]] == [1, 2] and result["history"][0]["penalty"] > 0
    assert fold["selected_score"] == result["history"][fold["params"]["epoch"] - 1]["valid_score"]
    (verified,) = verification.verify(tmp_path / "r")
    assert verified.faults == ()
    (path,) = (tmp_path / "r").rglob("results/*/*.h5")
    kept = predictions.load_predictions(path, result)
    np.testing.assert_allclose(kept.scores.sum(1), 1, rtol=1e-6)
    metric = metrics.get_metric("accuracy")
    assert metric.score(kept.targets, kept.scores) == result["score"]
    # the student alone is as large as one that had no teacher; f is 1 x 1 from 512 to 16
    (plain,) = go()
    assert plain["sources"] == [] and plain["settings"]["alpha"] is None
    own, taught = plain["settings"]["parameters"], result["settings"]["parameters"]
    features = result["settings"]["features"]
    assert own["trained"] == own["student"] == taught["student"]
    assert taught["trained"] - own["trained"] == features * 16 + 16


@pytest.mark.parametrize(
    "method", ["dis-reg", "l1", "l2", "cf-reg", "feature-only", "concat", "film"]
)
def test_every_method_runs(go, method, tmp_path):
    (result,) = go(method=method, teachers=["melstats"], epochs=1)
    assert 0 <= result["score"] <= 1
    alone = method in ("feature-only", "concat", "film")
    assert bool(list((tmp_path / "r").rglob("card.yaml"))) is not alone  # these need the teacher


@pytest.mark.parametrize(
    ("task", "loss"), [("multi", "pr-auc"), ("numbers", "r2"), ("single", "accuracy")]
)
def test_every_kind_of_target(go, task, loss):
    (result,) = go(task, method="con-reg", teachers="melstats", epochs=1)
    assert result["metric"] == loss and np.isfinite(result["score"])
    assert result["probabilities"] is (task != "numbers")


def test_nothing_is_trained_twice_unless_asked(go, monkeypatch):
    first = go()
    monkeypatch.setattr(trainer, "fit", lambda *a, **k: pytest.fail("trained again"))
    assert go() == first
    monkeypatch.undo()
    again = go(again=True)
    assert again[0]["created"] >= first[0]["created"]
    assert again[0]["score"] == first[0]["score"] and again[0]["history"] == first[0]["history"]


def test_a_run_has_one_name(go, tmp_path, monkeypatch):
    taught = {"method": "l2", "epochs": 1}
    first = go(teachers="melstats", name="mine", **taught)
    monkeypatch.setattr(trainer, "fit", lambda *a, **k: pytest.fail("trained again"))
    warned = []
    for other in ({"name": "yours"}, {"name": ""}):
        assert go(teachers="melstats", warn=warned.append, **other, **taught) == first
    short = first[0]["run"][:12]
    assert warned == [f"run {short} already exists, and keeps its name 'mine'"] * 2
    assert groups.resolve_run(short, reports=tmp_path / "r").results == tuple(first)
    monkeypatch.undo()
    (again,) = go(teachers="melstats", name="yours", again=True, **taught)
    assert [r for _, r in store.list_results(tmp_path / "r")] == [again]
    assert again["embedding"] == "yours" and again["run"] == first[0]["run"]
    assert len(list((tmp_path / "r").rglob("results/*/*.h5"))) == 1


def test_recordings_that_moved_are_the_same_run(go, workspace, corpus, tmp_path, monkeypatch):
    root = shutil.copytree(corpus, tmp_path / "copy", copy_function=shutil.copyfile)
    first = go(root=root)
    monkeypatch.setattr(trainer, "fit", lambda *a, **k: pytest.fail("trained again"))
    os.utime(next(root.rglob("*.wav")), (1, 1))
    assert go(root=root) == first
    assert go(root=corpus) == first


def test_what_differs_is_another_run(go, workspace, corpus, tmp_path):
    extract(["mfcc"], task=str(workspace / "single.csv"), root=corpus, cache=tmp_path / "c",
            frames=True)  # fmt: skip
    runs = [
        go(epochs=1),
        go(epochs=1, seeds=2),
        go(epochs=1, lr=1e-2),
        go(epochs=1, crop=0.3),
        go(epochs=1, student="short-chunk:width=1"),
        go(epochs=1, fractions=[0.5]),
        go(epochs=1, precision="bf16-mixed"),
        *(go(epochs=1, method="l2", teachers="melstats", alpha=a) for a in (1, 2)),
        go(epochs=1, method="l2", teachers="mfcc", alignment="paper", cache=tmp_path / "c"),
    ]
    ids = [one["run"] for found in runs for one in found]
    assert ids.count(ids[0]) == 2 and len(set(ids)) == len(ids) - 1  # seed 0 of the second
    labels = [groups.run_label(one) for found in runs for one in found]
    assert labels[0] == f"none, 1 epoch, batch 8 / student:{STUDENT}"
    assert labels[3] == f"none, 1 epoch, batch 8, lr 0.01 / student:{STUDENT}"
    assert labels[4] == f"none, 1 epoch, batch 8, crop 0.3 s / student:{STUDENT}"
    assert labels[5] == "none, 1 epoch, batch 8 / student:short-chunk:width=1"
    assert labels[9] == (f"l2, alpha 2, 1 epoch, batch 8 (melstats, vectors) / student:{STUDENT}")
    words = "l2, 1 epoch, batch 8, alignment paper (mfcc)"
    assert labels[10] == f"{words} / student:{STUDENT}"
    # seeds and arithmetic apart, no two look the same
    assert len(set(labels)) == len(labels) - 3


def test_a_name_hides_no_recipe(go):
    (result,) = go(recipe="won", epochs=4, name="mine")
    assert groups.run_label(result) == f"mine / student:{STUDENT} / won"


def test_folds_in_turn_choose_inside_the_training_folds(go, tmp_path):
    (result,) = go("folds", epochs=1)
    assert [f["fold"] for f in result["folds"]] == ["1", "2", "3"]
    assert all(f["selected_on"] == "8 held-out validation clips" for f in result["folds"])
    assert all((f["train"], f["test"]) == (8, 8) for f in result["folds"])
    assert result["spread"] == pytest.approx(np.std([f["score"] for f in result["folds"]]))
    names = {p.parent.name for p in (tmp_path / "r").rglob("card.yaml")}
    assert names == {f"{result['run'][:12]}-{k}" for k in (1, 2, 3)}
    (some,) = go("folds", epochs=1, folds=["2"])
    assert some["run"] != result["run"] and "fold 2 only" in some["provenance"]
    (second,) = [f for f in result["folds"] if f["fold"] == "2"]
    assert some["folds"][0]["score"] == second["score"]  # the same student


def test_folds_and_groups_stay_whole(go, workspace, corpus):
    card, clips = resolve_clips(str(workspace / "folds.csv"), workspace / "cache", corpus)
    given = distillation_task.prepare_task(card, clips, STUDENT, (), cache=workspace / "cache")
    fold = clips.column("fold")
    for split in given.make_splits(1.0, 0, ()):
        rows = [set(part) for part in (split.train, split.valid, split.test)]
        assert sum(map(len, rows)) == len(set.union(*rows)) == 24
        sides = [set(fold[list(part)]) for part in rows]
        assert [len(one) for one in sides] == [1, 1, 1] and len(set.union(*sides)) == 3


def test_a_trained_student_is_an_extractor(go, workspace, corpus, tmp_path, monkeypatch):
    (result,) = go(method="dis-reg", teachers="melstats")
    monkeypatch.setenv("PROBEKIT_REPORTS", str(tmp_path / "r"))
    name = f"runs/{result['run'][:12]}"
    card, clips = resolve_clips(str(workspace / "single.csv"), workspace / "cache", corpus)
    built = probekit.load_extractor(name, streams=["probabilities"], device="cpu")
    (path,) = (tmp_path / "r").rglob("results/*/*.h5")
    kept = predictions.load_predictions(path, result)
    sound = distillation_task.prepare_task(
        card, clips, STUDENT, (), cache=workspace / "cache"
    ).audio
    places = [sound.clip_ids.index(i) for i in kept.clip_ids]
    crop = int(built.facts.crop * sound.sr)
    waves = torch.as_tensor(sound.crops(places, [0] * len(places), crop))
    # clips are no longer than the crop, so that one chunk is all that was scored
    found = np.stack([one["probabilities"].mean(0).numpy() for one in built(list(waves))])
    np.testing.assert_allclose(found, kept.scores, atol=1e-5)
    (taught,) = go(method="l2", teachers="melstats", name="mine", epochs=1)
    assert taught["embedding"] == "mine"


def test_a_student_can_teach(go, workspace, corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("PROBEKIT_REPORTS", str(tmp_path / "r"))
    (teacher,) = go()
    name = f"runs/{teacher['run'][:12]}"
    extract([name], task=str(workspace / "single.csv"), root=corpus, cache=tmp_path / "c",
            streams=["embedding", "logits", "probabilities"], frames=True)  # fmt: skip
    for stream in ("embedding", "logits", "probabilities"):
        method = "con-reg" if stream == "embedding" else "soft-targets"
        (taught,) = go(method=method, teachers=f"{name}:stream={stream}", cache=tmp_path / "c",
                       epochs=1)  # fmt: skip
        assert taught["history"][0]["penalty"] > 0
    (begun,) = go(method="init", init=name, epochs=1)
    (kept,) = go(method="fix", init=name, epochs=1)
    assert begun["settings"]["init"] == kept["settings"]["init"] == name
    assert kept["settings"]["parameters"]["trained"] == 16 * 3 + 3  # one linear layer


def test_a_killed_run_goes_on_and_is_the_same(go, workspace, corpus, tmp_path):
    options = {"method": "con-reg", "teachers": ["melstats"], "epochs": 30}
    (whole,) = go(**options)
    code = (
        "from probekit.distillation.distill import distill; "
        f"distill({str(workspace / 'single.csv')!r}, {STUDENT!r}, ['melstats'], method='con-reg', "
        f"epochs=30, batch=8, device='cpu', cache={str(workspace / 'cache')!r}, "
        f"root={str(corpus)!r}, reports={str(tmp_path / 'k')!r})"
    )
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}  # sums are rounded by thread
    process = subprocess.Popen([sys.executable, "-c", code], env=os.environ | threads)
    folder = tmp_path / "k" / "students" / whole["run"][:12]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (folder / "log.csv").exists():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = len(torch.load(folder / "last.ckpt", weights_only=True)["history"])
    assert 1 <= done < 30 and not (folder / "card.yaml").exists()
    calls = []
    (again,) = go(**options, reports=tmp_path / "k", progress=lambda *given: calls.append(given))
    assert next(k for _, k, of, _ in calls if of == 30) == done + 1
    assert again["run"] == whole["run"] and again["history"] == whole["history"]
    own = [torch.load(tmp_path / r / "students" / folder.name / "weights.pt", weights_only=True)
           for r in ("r", "k")]  # fmt: skip
    assert own[0].keys() == own[1].keys()
    assert all(torch.equal(own[0][name], own[1][name]) for name in own[0])
    assert sorted(p.name for p in folder.iterdir()) == [
        ".lock", "card.yaml", "clips.csv", "log.csv", "weights.pt",
    ]  # fmt: skip


class Stop(Exception):
    """Ends a run from inside."""


def stopped(*given):
    """End when the first epoch is done."""
    if given[2] != 24:  # clips of the sound
        raise Stop


def test_other_teachers_under_the_same_name_do_not_go_on_unasked(go, workspace, corpus, tmp_path):
    # arithmetic is part of a fingerprint, as weights are; a name alone does not say which
    for k, precision in enumerate(("float32", "bf16")):
        extract(
            ["melstats"],
            task=str(workspace / "single.csv"),
            root=corpus,
            cache=tmp_path / f"c{k}",
            precision=precision,
            frames=True,
        )
    options = {"method": "l2", "teachers": ["melstats"]}
    with pytest.raises(Stop):
        go(**options, cache=tmp_path / "c0", progress=stopped)
    with pytest.raises(
        DataError,
        match=r"an interrupted run of the same settings had the teachers melstats@\w{8}:stream=",
    ) as e:
        go(**options, cache=tmp_path / "c1")
    assert str(e.value).count("melstats@") == 2
    # other settings are another run, and whoever says which teacher means it
    go(**options, cache=tmp_path / "c1", alpha=3, epochs=1)
    (calls,) = (tmp_path / "c1").glob("melstats-*")
    named = f"melstats@{calls.name.removeprefix('melstats-')}"
    (other,) = go(method="l2", teachers=[named], cache=tmp_path / "c1")
    (first,) = go(**options, cache=tmp_path / "c0")
    assert other["run"] != first["run"]


def test_a_run_that_is_not_gone_on_with_is_said_once(go, workspace, tmp_path):
    def third(*given):
        if given[1:3] == (3, 12):
            raise Stop

    with pytest.raises(Stop):
        go(epochs=12, name="mine", progress=third)
    (folder,) = (tmp_path / "r" / "students").iterdir()
    warned = []
    go(epochs=2, seeds=2, warn=warned.append)
    assert warned == [
        "an interrupted run (epoch 3) has different settings (epochs 12 → 2) and is not resumed: "
        f"{folder}"
    ]
    # the nearest, and what does not show in numbers is named alone
    go(epochs=2, method="l1", teachers="melstats", warn=warned.append)  # another method
    go(epochs=12, batch=4, crop=0.3, warn=warned.append)
    assert (
        "different settings (samples 8800 → 4800, batch 8 → 4) and" in warned[1]
        and len(warned) == 2
    )
    calls = []
    go(epochs=12, warn=calls.append)  # this very one
    assert calls == []


def test_two_processes_do_not_train_the_same_run(go, tmp_path):
    def again(*given):
        if given[2] != 24:
            go()

    with pytest.raises(DataError, match="another process is training this run"):
        go(progress=again)


def test_a_share_of_the_labels_that_lacks_a_class_is_said(go, workspace, corpus):
    warned = []
    (result,) = go(fractions=[0.2], epochs=1, task="multi", warn=warned.append)
    assert result["folds"][0]["train"] < 3
    assert (
        warned
        and "classes with no training clips" in warned[0]
        and "20 % of the labels" in warned[0]
    )
    missing = warned[0].rpartition(": ")[2].split(", ")
    assert [p for p in result["provenance"] if p.startswith("never in training")] == [
        f"never in training: {', '.join(missing)}"
    ]


def test_loss_chooses_where_the_metric_is_not_defined(go, workspace, tmp_path, monkeypatch):
    seen = []
    fit = trainer.fit
    monkeypatch.setattr(
        trainer, "fit", lambda job, *a, **k: (seen.append(job), fit(job, *a, **k))[1]
    )
    head, *rows = (workspace / "multi.csv").read_text().splitlines()
    first = next(row for row in rows if row.endswith(",valid"))
    kept = [row if row == first else row.replace(",valid", ",train") for row in rows]
    (tmp_path / "one.csv").write_text("\n".join([head, *kept]) + "\n")
    go(tmp_path / "one", epochs=1)
    assert len(seen[0].valid.clips) == 1 and seen[0].select == "loss"


def test_a_share_is_of_the_training_clips(workspace, corpus):
    for task in ("multi", "folds"):  # with validation clips of its own, and without
        card, clips = resolve_clips(str(workspace / f"{task}.csv"), workspace / "cache", corpus)
        given = distillation_task.prepare_task(card, clips, STUDENT, (), cache=workspace / "cache")
        for split, whole in zip(
            given.make_splits(0.5, 1, ()), given.make_splits(1, 1, ()), strict=True
        ):
            if task == "multi":
                assert (len(split.train), len(split.valid), len(whole.valid)) == (6, 6, 6)
                assert set(clips.column("split")[split.valid]) == {"valid"}
            else:
                left = {*split.train, *split.valid}
                assert len(left) < 10 and left < {*whole.train, *whole.valid}


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (
            "multi",
            r"multi, split 'test': 1 training clip at --fraction 0\.01 of 12: 1 left for training",
        ),
        (
            "folds",
            r"folds, fold '1': \d training clips at --fraction 0\.01 of 16: too few to hold",
        ),
    ],
)
def test_too_small_a_share_is_said_with_its_clips(go, task, words):
    with pytest.raises(DataError, match=words) as error:
        go(task, fractions=[0.01])
    assert "hyper" not in str(error.value) and "larger fraction" in str(error.value)


def test_recordings_that_cannot_be_read_are_counted(workspace, corpus, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(corpus, root)
    (root / "tone" / "tone1.flac").write_bytes(b"no sound")
    (result,) = distill(str(workspace / "single.csv"), STUDENT, root=root, cache=tmp_path / "c",
                        reports=tmp_path / "r", **QUICK)  # fmt: skip
    assert result["clips"]["missing_count"] == 1 and "tone1" in result["clips"]["missing"]
    assert "23 of 24 clips" in result["provenance"]


def test_long_clips_are_scored_by_chunks_that_cover_them(go):
    (short,) = go(crop=0.26, epochs=1)
    (whole,) = go(epochs=1)
    assert short["settings"]["crop"] == "13/50" and whole["settings"]["crop"] == "11/20"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"method": "con-regg"}, "Did you mean 'con-reg'"),
        ({"method": "con-reg"}, "--method con-reg needs --teacher, an embedding in the cache"),
        (
            {"teachers": ["melstats"]},
            "--method none does not use --teacher, an embedding in the cache",
        ),
        ({"method": "l1", "teachers": ["melstats"], "alpha": 0}, "--alpha must be > 0, got 0"),
        ({"alpha": 1}, "--method none does not use --alpha, the weight of a regularizer"),
        ({"method": "init"}, "--method init needs --init, the extractor of the first weights"),
        (
            {"init": "vggish"},
            "--method none does not use --init, the extractor of the first weights",
        ),
        ({"method": "con-reg", "teachers": ["mfcc"]}, "--frames"),
        ({"method": "con-reg", "teachers": ["openl3"]}, "openl3"),
        ({"student": "short-chunkk"}, "Did you mean 'short-chunk'"),
        ({"crop": 0.1}, "a crop must be >= 0.25 s"),
        ({"crop": -1}, "--crop must be > 0 s, got -1"),
        ({"alignment": "tim"}, "Did you mean 'time'"),
        (
            {"alignment": "paper"},
            "--method none does not use --alignment, for the teachers' frames",
        ),
        (
            {"alignment": "paper", "method": "l1", "teachers": ["melstats:pool=mean"]},
            "--alignment paper is for frames, but melstats:pool=mean has one vector per clip",
        ),
        ({"weights": ["vggish=random:0"]}, "--weights vggish: --init names no extractor"),
        ({"method": "l1", "teachers": ["melstats"] * 2}, "melstats is the same teacher twice"),
        (
            {"method": "l1", "teachers": ["melstats", "melstats:stream=stats"]},
            "melstats and melstats:stream=stats are the same teacher twice",
        ),
        ({"folds": ["7"]}, "unknown fold"),
        ({"fractions": [0]}, "--fraction must be > 0 and <= 1, got 0"),
        ({"seeds": 0}, "--seeds must be >= 1, got 0"),
        ({"devices": 0}, "--devices must be >= 1, got 0"),
        ({"precision": "64"}, "unknown precision"),
        ({"device": "gpu9"}, "gpu9"),
        ({"recipe": "wonn"}, "Did you mean 'won'"),
        ({"task": "numbers", "method": "soft-targets", "teachers": ["melstats"]}, "classes"),
        ({"method": "soft-targets", "teachers": ["melstats"]}, "classes"),
        ({"method": "init", "init": "melstats"}, "init"),
    ],
)
def test_mistakes_are_said(go, given, words):
    with pytest.raises(ProbekitError, match=words):
        go(**given)


def test_a_teacher_that_lacks_clips_is_said_before_training(go, workspace, corpus, tmp_path):
    extract(["melstats"], task=str(workspace / "single.csv"), root=corpus, cache=tmp_path / "c",
            frames=True, limit=10)  # fmt: skip
    with pytest.raises(ProbekitError, match=r"lacks \d+ of 12 clips"):
        go(method="con-reg", teachers="melstats", cache=tmp_path / "c")
    with pytest.raises(ProbekitError, match=r"lacks 14 of 24 clips"):
        go(method="film", teachers="melstats", cache=tmp_path / "c")  # also where it scores


def test_won_runs_through_its_phases(go):
    (result,) = go(recipe="won", epochs=4, batch=8)
    assert result["embedding"] == "none, recipe won, 4 epochs, batch 8" and not result["preset"]
    assert [h["phase"] for h in result["history"]] == [1, 2, 3, 4]
    assert result["settings"]["recipe"]["chunks"] == "won"


def test_distill_is_of_the_public_api(workspace, corpus, tmp_path):
    folders = {"root": corpus, "cache": workspace / "cache", "reports": tmp_path / "r"}
    (result,) = probekit.distill(str(workspace / "single.csv"), STUDENT, **folders, **QUICK)
    assert store.list_results(tmp_path / "r")[0][1] == result
    assert json.loads(json.dumps(result)) == result
