"""The Python interface: what a task's clips and vectors are, and messages that name arguments."""

import inspect
import shutil

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

import probekit
from probekit.errors import DataError, ProbekitError, name_arguments
from probekit.tasks.standin.corpus import write_corpus


@pytest.fixture(scope="module")
def place(tmp_path_factory, corpus):
    """A folder of recordings, one of them broken, extracted."""
    root = tmp_path_factory.mktemp("api")
    shutil.copytree(corpus, root / "sounds")
    (root / "sounds/tone/broken.wav").write_bytes(b"RIFF no sound")
    probekit.extract("mfcc", audio=root / "sounds", cache=root / "cache")
    return root


def test_vectors_targets_and_groups_go_into_scikit_learn(place):
    with pytest.warns(UserWarning, match=r"sounds: 1 of 25 clips have no embedding mfcc.*broken"):
        data = probekit.load_xy("sounds", "mfcc:pool=mean+std", cache=place / "cache")
    X, y, groups = data
    assert (X.shape, y.shape, groups.shape) == ((24, 40), (24,), (24,))
    ids = data.clips.clip_ids
    stored = probekit.open_cache("mfcc", "sounds", place / "cache")
    assert np.array_equal(X, stored.vectors(ids, pool=("mean", "std")))
    assert [data.clips.class_names[k] for k in y] == [clip_id.split("/")[0] for clip_id in ids]
    assert list(groups) == ids  # none has a group: each is one of its own
    assert list(data.missing) == ["tone/broken"]
    scores = cross_val_score(KNeighborsClassifier(3), X, y, groups=groups, cv=GroupKFold(4))
    assert scores.mean() > 0.6


def test_a_missing_clip_is_an_error_if_asked_for(place):
    with pytest.raises(DataError, match="1 of 25 clips have no embedding mfcc"):
        probekit.load_xy("sounds", "mfcc", cache=place / "cache", strict=True)


def test_groups_of_the_table_are_those_of_the_rows(place, tmp_path):
    lines = ["path,label,group"]
    for label in ("click", "tone"):
        lines += [f"{label}/{label}{k}.{s},{label},g{k}" for k, s in ((0, "wav"), (1, "flac"))]
    table = place / "sounds" / "pairs.csv"
    table.write_text("\n".join(lines))
    probekit.extract("mfcc", manifest=table, cache=tmp_path)
    data = probekit.load_xy(table, "mfcc", cache=tmp_path)
    assert sorted(data.groups) == ["g0", "g0", "g1", "g1"]
    table.unlink()


def test_tasks_are_found_as_on_the_command_line(place, monkeypatch, tmp_path):
    monkeypatch.setenv("PROBEKIT_CACHE", str(place / "cache"))
    assert len(probekit.load_task("sounds").manifest()) == 25  # an extracted dataset
    monkeypatch.chdir(place)
    assert len(probekit.load_task("sounds/").manifest()) == 25  # a folder
    with pytest.raises(ProbekitError, match="Did you mean 'sounds'"):
        probekit.load_task("sound")
    corpus = tmp_path / "corpus"
    write_corpus(corpus, clips=24)
    probekit.extract("mfcc", task="synth", root=corpus, cache=tmp_path / "cache")
    saved = probekit.load_task("synth", cache=tmp_path / "cache").manifest()
    assert len(saved) == 24 and saved.root == corpus


def test_reprs_are_short_and_say_what_it_is(place):
    task = probekit.load_task("sounds", cache=place / "cache")
    assert repr(task) == "Task('sounds', metric='accuracy', protocol='5 stratified random folds')"
    clips = task.manifest()
    assert repr(clips).startswith("Manifest('sounds', 25 clips, 3 classes, target='single', root=")
    assert repr(clips).count("\n") == 0
    stored = probekit.open_cache("mfcc", "sounds", place / "cache")
    digits = stored.layout.fingerprint[:8]
    assert repr(stored) == f"Embeddings(mfcc@{digits}, 'sounds', 24 clips, 1 failed, mfcc: 20)"


@pytest.mark.parametrize(
    ("option", "argument"),
    [
        ("--seeds must be >= 1, got 0", "seeds must be >= 1, got 0"),
        ("Choose another folder with --cache", "Choose another folder with cache="),
        ("use --dtype float16, or another --cache", "use dtype=float16, or another cache="),
        ("--allow-truncated must be from 0", "allow_truncated must be from 0"),
        ("--fraction must be > 0", "fractions must be > 0"),
        ("Make them: probekit cache gc --yes. Or --jobs 2", "Make them: probekit cache gc --yes. "
         "Or jobs=2"),
        ("a - b -- c, ---, --", "a - b -- c, ---, --"),
        ("--name NAME; --root DIR", "name=NAME; root=DIR"),
    ],
)  # fmt: skip
def test_options_in_messages_become_arguments(option, argument):
    assert name_arguments(option) == argument


def test_errors_name_arguments_in_python_and_options_on_the_command_line(place, main):
    with pytest.raises(ProbekitError, match=r"^seeds must be >= 1, got 0$"):
        probekit.evaluate("sounds", "mfcc", cache=place / "cache", seeds=0)
    with pytest.raises(ProbekitError, match=r"^give exactly one of task=TASK root=DIR, audio=DIR"):
        probekit.extract("mfcc")
    with pytest.raises(ProbekitError, match=r"^root=nowhere: no such folder$"):
        probekit.load_task("fsdd").manifest("nowhere")
    done = main("extract", "-e", "mfcc", "--cache", place / "cache")
    assert "--task TASK --root DIR, --audio DIR" in done.stderr
    done = main("data", "check", "fsdd", "--root", "nowhere")
    assert done.stderr == "error: --root nowhere: no such folder\n"


def test_public_functions_keep_their_signatures_and_docstrings():
    from probekit.probes.evaluate import evaluate

    assert inspect.signature(probekit.evaluate) == inspect.signature(evaluate)
    assert probekit.evaluate.__doc__ == evaluate.__doc__
    assert probekit.evaluate is probekit.evaluate
