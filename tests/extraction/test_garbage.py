import os
import subprocess
import sys
import time

import numpy as np
import pytest

from probekit import cards, extract
from probekit.cache import embeddings, import_export, training_clips
from probekit.data import readers
from probekit.errors import CacheError, UnknownNameError
from probekit.extraction import garbage
from probekit.utils import atomic


@pytest.fixture
def cache(corpus, tmp_path):
    extract("melstats", audio=corpus, cache=tmp_path / "cache", limit=3)
    return tmp_path / "cache"


@pytest.fixture
def folder(cache):
    return next(cache.glob("melstats-*/tiny"))


@pytest.fixture
def later(monkeypatch):
    """Pretend that a card changed."""
    original = cards.load_extractor_card

    def change(**facts):
        monkeypatch.setattr(
            cards, "load_extractor_card", lambda name: original(name).model_copy(update=facts)
        )

    return change


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def aside(folder, pid, monkeypatch, age=0.0, host=None):
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: pid)
        if host:
            patch.setattr("socket.gethostname", lambda: host)
        path = atomic.temp_path(folder / "part-00000.h5")
    path.write_bytes(b"half")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_what_stands_beside_the_last_dataset_goes_with_it(cache, folder):
    training_clips.save(folder.parent, training_clips.TrainingClips())
    for item in garbage.find_garbage(cache, ["melstats"]):
        garbage.remove_garbage(item)
    assert not folder.parent.exists()


def test_nothing_is_left_over(cache):
    assert garbage.find_garbage(cache) == []


def test_unfinished_files_whose_writer_is_gone(cache, folder, monkeypatch):
    gone = aside(folder, dead_process(), monkeypatch)
    aside(folder, os.getpid(), monkeypatch)  # is being written
    aside(folder, dead_process(), monkeypatch, host="another")  # may be being written
    old = aside(cache / "manifests", 1, monkeypatch, age=4000, host="another")
    reasons = {item.path: item.reason for item in garbage.find_garbage(cache)}
    assert reasons == {gone: "unfinished; its process has ended", old: "unfinished for 1 h"}
    for item in garbage.find_garbage(cache):
        garbage.remove_garbage(item)
    assert not gone.exists()
    assert len(list(folder.glob(".part*.tmp"))) == 2
    assert len(embeddings.find_embeddings(cache, "melstats", "tiny").clip_ids) == 3


@pytest.mark.parametrize(
    "facts, reason",
    [
        ({"version": 2}, "version 1 in the cache, 2 in the card"),
        (
            {"resampler": "kaiser_best"},
            "resampler 'soxr_hq' in the cache, 'kaiser_best' in the card",
        ),
        ({"padding": "none"}, "in the card"),
    ],
)
def test_embeddings_of_a_former_card(cache, folder, later, facts, reason):
    later(**facts)
    [item] = garbage.find_garbage(cache)
    assert (item.path, item.clips) == (folder, 3)
    assert reason in item.reason
    assert item.bytes == sum(p.stat().st_size for p in folder.iterdir())
    garbage.remove_garbage(item)
    assert not folder.parent.exists()
    assert (cache / "manifests").is_dir()


def test_weights_and_parameters_may_be_any_that_the_card_takes(corpus, tmp_path, monkeypatch):
    extract("openl3:size=512", audio=corpus, cache=tmp_path, weights=["openl3=random:1"], limit=1)
    extract("openl3", audio=corpus, cache=tmp_path, weights=["openl3=random:2"], limit=1)
    assert garbage.find_garbage(tmp_path) == []
    monkeypatch.setattr(garbage, "INITIALIZATION", 2)
    assert all(
        "seeds give other weights now" in item.reason for item in garbage.find_garbage(tmp_path)
    )
    assert len(garbage.find_garbage(tmp_path)) == 2


def test_a_parameter_that_is_no_more(cache, folder):
    import json

    facts = json.loads((folder / "dataset.json").read_text())
    facts["identity"]["params"] = {"size": 3}
    (folder / "dataset.json").write_text(json.dumps(facts))
    for path in folder.glob("part-*.h5"):
        path.unlink()
    [item] = garbage.find_garbage(cache)
    assert "unknown parameter of melstats 'size'" in item.reason


def test_imports_and_unknown_cards_go_only_if_named(cache, folder, tmp_path, monkeypatch):
    (tmp_path / "clips.csv").write_text("clip_id\na\nb\n")
    np.save(tmp_path / "x.npy", np.eye(2))
    clips = readers.from_csv(tmp_path / "clips.csv", name="songs", need_path=False)
    imported = import_export.import_arrays(
        "mine", clips, [tmp_path / "x.npy"], cache=cache, dataset="s"
    )
    monkeypatch.setattr(garbage.cards, "card_paths", lambda kind: {})
    assert garbage.find_garbage(cache) == []
    assert [item.path for item in garbage.find_garbage(cache, ["mine"])] == [imported.folder]
    name = f"melstats@{folder.parent.name[-8:]}"
    assert [(item.path, item.reason) for item in garbage.find_garbage(cache, [name])] == [
        (folder, "named")
    ]
    with pytest.raises(UnknownNameError, match="Did you mean 'mine'"):
        garbage.find_garbage(cache, ["mime"])
    with pytest.raises(UnknownNameError):
        garbage.find_garbage(cache, ["melstats@00000000"])


def test_other_datasets_of_the_same_extractor_stay(corpus, cache, folder):
    extract("melstats", audio=corpus, cache=cache, name="other", limit=2)
    for item in garbage.find_garbage(cache, ["melstats"]):
        if item.path == folder:
            garbage.remove_garbage(item)
    assert [entry.layout.dataset for entry in embeddings.list_embeddings(cache)] == ["other"]


def test_a_removal_that_was_stopped_is_no_cache_and_goes_on(cache, folder, monkeypatch):
    [item] = garbage.find_garbage(cache, ["melstats"])

    def stop(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", stop)
        with pytest.raises(KeyboardInterrupt):
            garbage.remove_garbage(item)
    assert embeddings.list_embeddings(cache) == []
    [rest] = garbage.find_garbage(cache)
    assert rest.reason == "its removal was interrupted"
    garbage.remove_garbage(rest)
    assert not folder.parent.exists()


def test_damaged_parts_that_were_replaced(cache, folder):
    path = next(folder.glob("part-*.h5"))
    (folder / f".damaged-{path.name}").write_bytes(b"x")
    (folder / ".damaged-part-00077.h5").write_bytes(b"x")  # not replaced yet
    [item] = garbage.find_garbage(cache)
    assert item.path.name == f".damaged-{path.name}"


def test_a_cache_that_is_not_there(tmp_path):
    with pytest.raises(CacheError, match="no such folder"):
        garbage.find_garbage(tmp_path / "gone")
