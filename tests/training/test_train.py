"""``train``: objectives on real tables, resume with two streams, and what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from probekit.errors import DataError, ProbekitError, UnknownNameError
from probekit.extractors import load
from probekit.scores import verification
from probekit.training import trainer
from probekit.training.train import train
from probekit.training.unlabeled_clips import UnlabeledClips

NETWORK = "short-chunk:width=2"
QUICK = {"batch": 8, "device": "cpu", "objective": "contrastive"}


@pytest.fixture(scope="module")
def workspace(corpus, tmp_path_factory):
    """A table with folds, one with a split, and a folder of other recordings."""
    import soundfile

    base = tmp_path_factory.mktemp("train")
    paths = sorted(corpus.rglob("*.*"))
    tables = {"folds": ["clip_id,path,label,fold"], "split": ["clip_id,path,label,split"]}
    for k, path in enumerate(paths):
        first = f"{path.stem},{path.relative_to(corpus).as_posix()},{path.parent.name}"
        tables["folds"].append(f"{first},{k % 2 + 1}")
        tables["split"].append(f"{first},{('train', 'train', 'valid', 'test')[k % 4]}")
    for name, rows in tables.items():
        (base / f"{name}.csv").write_text("\n".join(rows) + "\n")
    (base / "more").mkdir()
    rng = np.random.default_rng(0)
    for k in range(11):
        soundfile.write(base / "more" / f"n{k}.wav", 0.1 * rng.normal(size=6000 + 200 * k), 16000)
    (base / "more" / "broken.wav").write_bytes(b"RIFF of nothing")
    return base


@pytest.fixture
def go(workspace, corpus, tmp_path):
    def call(task="split", **options):
        if options.get("objective", "contrastive") == "contrastive":
            options.setdefault("unlabeled", str(workspace / "more"))
        folders = {"cache": workspace / "cache", "root": corpus, "reports": tmp_path / "r"}
        return train(str(workspace / f"{task}.csv"), NETWORK, **{**QUICK, **folders, **options})

    return call


def test_a_contrastive_run_is_stored_and_is_an_extractor(go, tmp_path, monkeypatch):
    (result,) = go(epochs=2)
    assert result["probe"] == f"student:{NETWORK}"
    assert result["embedding"].startswith(f"{NETWORK}, contrastive, 2 epochs, batch 8 (")
    assert "11 of 12 unlabeled clips could be read" in result["provenance"]
    first = result["history"][0]
    assert first["loss"] > 0 and first["contrastive"] > 0 and "test_score" not in first
    assert result["settings"]["objective"]["temperature"] == 0.01
    assert result["folds"][0]["selected_on"] == "6 validation clips"
    (verified,) = verification.verify(tmp_path / "r")
    assert verified.faults == ()
    monkeypatch.setenv("PROBEKIT_REPORTS", str(tmp_path / "r"))
    extractor = load.build_extractor(load.resolve_spec(f"runs/{result['run'][:12]}"))
    clip = torch.zeros(16000)
    assert extractor([clip])[0]["embedding"].shape[-1] == 16
    assert "unlabeled clips" in extractor.card.caveat
    assert go(epochs=2)[0]["created"] == result["created"]  # nothing to do


def test_the_last_epoch_of_lee2021_and_its_test_scores(go):
    (result,) = go("folds", recipe="lee2021", epochs=3, warm_up=1)
    fold = result["folds"][0]
    assert fold["selected_on"] == "nothing: the last epoch" and fold["train"] == 12
    assert fold["params"] == {"epoch": 3} and fold["selected_score"] is None
    history = [epoch for epoch in result["history"] if epoch["fold"] == fold["fold"]]
    assert ["contrastive" in epoch for epoch in history] == [False, True, True]  # warm-up
    assert history[-1]["test_score"] == pytest.approx(fold["score"])
    assert all(epoch["valid_score"] is None for epoch in history)
    counts = [12 * epoch["train_score"] for epoch in history]  # of 12 training crops
    assert counts == pytest.approx(np.round(counts)) and 0 < max(counts) <= 12


class Killed(Exception):
    """Stands for a kill after an epoch's checkpoint."""


@pytest.mark.parametrize("epoch", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_a_run_with_two_streams_goes_on_to_the_same_weights(go, tmp_path, monkeypatch, epoch):
    def weights(folder):
        (path,) = (folder / "students").glob("*/weights.pt")
        return torch.load(path, weights_only=True)

    options = {"epochs": 4, "folds": ["1"], "recipe": "lee2021"}
    go("folds", **options)
    fit = trainer.fit

    def killed(job, folder, **others):
        def stop(done, total, line):
            if done == epoch:
                raise Killed

        return fit(job, folder, **{**others, "on_epoch_end": stop})

    again = {**options, "reports": tmp_path / "again"}
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "fit", killed)
        with pytest.raises(Killed):
            go("folds", **again)
    torch.manual_seed(epoch)
    go("folds", **again)
    expected, resumed = weights(tmp_path / "r"), weights(tmp_path / "again")
    assert expected.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in expected.items())


def test_test_clips_among_the_unlabeled_are_refused(go, workspace, corpus):
    table = str(workspace / "folds.csv")
    with pytest.raises(DataError, match=r"--unlabeled .*: 6 test clips of split are among"):
        go(unlabeled=table, unlabeled_root=corpus, epochs=1)
    (result,) = go(unlabeled=table, unlabeled_root=corpus, allow_overlap=True, epochs=1)
    assert "6 test clips are among the unlabeled clips" in result["provenance"]


def test_copies_of_test_clips_are_refused_and_silence_is_not(workspace, corpus, tmp_path):
    """Unlabeled files with other names and another format, but the samples of two test clips."""
    import soundfile

    rng = np.random.default_rng(3)
    lines = ["clip_id,path,label,split"]
    (tmp_path / "copies").mkdir()
    for k in range(12):
        wave = np.round(3000 * rng.normal(size=4000)).astype(np.int16) * (k != 11)
        soundfile.write(tmp_path / f"a{k}.wav", wave, 16000)
        lines.append(f"a{k},a{k}.wav,{'xy'[k % 2]},{('train', 'valid', 'test')[k % 3]}")
        if k > 3:
            wave = rng.permutation(wave) if k in (7, 9) else wave
            soundfile.write(tmp_path / "copies" / f"b{k}.flac", wave, 16000)
    (tmp_path / "mine.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"2 test clips of mine are among its clips: 'a5', 'a8'\."):
        train(str(tmp_path / "mine.csv"), NETWORK, unlabeled=str(tmp_path / "copies"), epochs=1,
              root=tmp_path, cache=tmp_path / "c", reports=tmp_path / "r", **QUICK)  # fmt: skip


@pytest.fixture
def freesound(tmp_path, corpus):
    """Clips of ESC-50, and slices, whole sounds and others, some of the same recordings."""
    import shutil

    paths = sorted(corpus.rglob("*.*"))[:24]
    names = [f"{k % 5 + 1}-{100000 + k}-A-{k % 2}" for k in range(20)]
    lines = ["clip_id,path,label,fold"]
    for name, path in zip(names, paths, strict=False):
        shutil.copy(path, tmp_path / f"{name}.wav")
        lines.append(f"{name},{name}.wav,{name[-1]},{name[0]}")
    (tmp_path / "esc.csv").write_text("\n".join(lines) + "\n")

    def call(files, **options):
        folder = tmp_path / "-".join(files)
        folder.mkdir(exist_ok=True)
        for file, path in zip(files, paths[20:], strict=False):
            shutil.copy(path, folder / file)
        places = {"root": tmp_path, "cache": tmp_path / "c", "reports": tmp_path / "r"}
        return train(str(tmp_path / "esc.csv"), NETWORK, unlabeled=str(folder), epochs=1,
                     folds=["1", "2"], **places, **QUICK, **options)  # fmt: skip

    return call


@pytest.mark.parametrize(
    ("files", "ids"),
    [
        (["100000-3-0-0.wav", "999999-3-0-0.wav", "100006-5-1-12.wav"],  # slices of UrbanSound8K
         "2 test clips of esc have .* in common with its clips: '1-100000-A-0', '2-100006-A-0'[.]"),
        (["100001.wav", "7.wav", "12.wav"], "1 test clips of esc .* clips: '2-100001-A-1'[.]"),
        (["4-100005-B-9.wav", "rain.wav", "x.wav"], "clips: '1-100005-A-1'[.]"),  # another take
    ],
)  # fmt: skip
def test_excerpts_of_freesound_recordings_of_test_clips_are_refused(freesound, files, ids):
    with pytest.raises(DataError, match=ids):
        freesound(files)


def test_what_only_looks_like_a_number_of_freesound_is_not_refused(freesound):
    """Neither recordings of training folds alone, nor plain numbers beside plain numbers."""
    (result,) = freesound(["100002-3-0-0.wav", "100003.wav", "1000011.wav", "1.wav"])
    assert not any("Freesound" in note for note in result["provenance"])


def test_excerpts_of_recordings_are_noted_where_they_are_allowed(freesound):
    (result,) = freesound(["100000-3-0-0.wav", "100001.wav", "a.wav", "b.wav"], allow_overlap=True)
    note = "2 test clips have Freesound recordings in common with unlabeled clips"
    assert note in result["provenance"]


def test_test_clips_of_groups_that_have_unlabeled_clips_are_counted():
    """Of four test clips two are of a group that unlabeled clips of the dataset are of, too."""

    def clips(groups):
        return SimpleNamespace(column=lambda name: np.array(groups))

    task = SimpleNamespace(
        card=SimpleNamespace(dataset="songs"), clips=clips(["a", "b", "b", "", "c"])
    )
    splits = [SimpleNamespace(test=np.array([0, 1])), SimpleNamespace(test=np.array([2, 3]))]
    audio = SimpleNamespace(lengths=np.array([5, 5, 0, 5]))
    groups = clips(["b", "x", "a", ""])
    own = UnlabeledClips("more", groups, audio, card=SimpleNamespace(dataset="songs"))
    assert own.shared_groups(task, splits) == 2  # the clip of a has no audio
    other = UnlabeledClips("other", groups, audio, card=SimpleNamespace(dataset="other"))
    assert other.shared_groups(task, splits) == 0  # other datasets have other names of groups


def test_the_training_clips_themselves(go):
    (result,) = go(unlabeled="train", epochs=1)
    assert result["settings"]["unlabeled"] is None
    assert result["history"][0]["contrastive"] > 0


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"objective": "contrastiv"}, UnknownNameError, "unknown objective 'contrastiv'"),
        ({"objective": "supervised", "unlabeled": "x"}, ProbekitError, "does not use --unlabeled"),
        ({"unlabeled": ""}, ProbekitError, "--objective contrastive needs --unlabeled"),
        ({"weight": 0.0}, ProbekitError, "--weight must be > 0, got 0"),
        ({"temperature": -1.0}, ProbekitError, "--temperature must be > 0, got -1"),
        ({"warm_up": 3}, ProbekitError, "recipe 'default' has no warm-up"),
        ({"recipe": "lee2021", "warm_up": 0}, ProbekitError, "--warm-up must be >= 1 epoch"),
        ({"batch": 1}, ProbekitError, "--batch must be >= 2, got 1"),
    ],
)
def test_mistakes_are_one_message(go, options, error, words):
    with pytest.raises(error, match=words):
        go(**options)


def test_supervised_is_the_task_alone(go):
    (result,) = go(objective="supervised", epochs=1)
    assert result["history"][0]["penalty"] == 0
    assert result["settings"]["objective"] == {"name": "supervised"}


@pytest.fixture
def odd(tmp_path):
    """Two classes in two folds, every third clip silent; other recordings at another rate."""
    import soundfile

    rng = np.random.default_rng(0)
    lines = ["clip_id,path,label,fold"]
    (tmp_path / "other").mkdir()
    for k in range(16):
        wave = 0.1 * rng.normal(size=8000) if k % 3 else np.zeros(8000)
        soundfile.write(tmp_path / f"c{k}.wav", wave, 16000)
        lines.append(f"c{k},c{k}.wav,{'ab'[k % 2]},{k // 2 % 2 + 1}")
    (tmp_path / "odd.csv").write_text("\n".join(lines) + "\n")
    for k in range(8):  # 0.5 s, one silent, one shorter than any window
        wave = np.zeros(4000) if k == 0 else 0.1 * rng.normal(size=100 if k == 1 else 4000)
        soundfile.write(tmp_path / "other" / f"o{k}.wav", wave, 8000)

    def call(warn=None, **options):
        given = {"cache": tmp_path / "cache", "root": tmp_path, "reports": tmp_path / "out",
                 "recipe": "lee2021", "epochs": 2, "objective": "contrastive",
                 "unlabeled": str(tmp_path / "other"), "device": "cpu", "warn": warn}  # fmt: skip
        return train(str(tmp_path / "odd.csv"), NETWORK, **{**given, **options})

    return call


def test_silent_clips_and_clips_of_another_rate_and_length(odd):
    (result,) = odd()
    names = [["loss"], ["loss", "contrastive"]]  # the warm-up, and what follows
    terms = [epoch[name] for epoch in result["history"] for name in names[epoch["epoch"] - 1]]
    assert np.isfinite(terms).all() and result["settings"]["unlabeled_clips"] == 8
    assert not any("could be read" in note for note in result["provenance"])


def test_a_tenth_of_the_labels_leaves_a_clip_of_each_class(odd):
    (result,) = odd(fractions=[0.1], unlabeled="train", batch=2)
    assert [fold["train"] for fold in result["folds"]] == [2, 2]


def test_a_loss_that_is_not_finite_and_a_run_with_another_objective(odd, tmp_path):
    with pytest.raises(DataError, match=r"the loss is not finite in epoch \d.* --lr"):
        odd(lr=1e30, reports=tmp_path / "infinite")

    class Stop(Exception):
        pass

    def stop(name, done, total, note):
        if done == 1 and name not in ("sound", "unlabeled sound"):
            raise Stop

    with pytest.raises(Stop):
        odd(progress=stop)
    warnings = []
    (result,) = odd(objective="supervised", unlabeled="", warn=warnings.append)
    (text,) = [text for text in warnings if "is not resumed" in text]
    assert "objective" in text and result["settings"]["objective"] == {"name": "supervised"}
    assert all(epoch.get("contrastive") is None for epoch in result["history"])


def test_a_step_of_too_few_clips_is_one_message(odd, tmp_path):
    import soundfile

    (tmp_path / "single").mkdir()
    soundfile.write(tmp_path / "single" / "x.wav", 0.1 * np.ones(4000), 16000)
    with pytest.raises(DataError, match=r"a step must have at least 4 clips .* got 3"):
        odd(unlabeled=str(tmp_path / "single"), batch=2)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "x.wav").write_bytes(b"RIFF of nothing")
    with pytest.raises(DataError, match=r"none of the 1 recordings .* can be decoded"):
        odd(unlabeled=str(tmp_path / "damaged"))
    with pytest.raises(ProbekitError, match=r"a crop must be >= 0\.25 s"):
        odd(crop=0.01)
