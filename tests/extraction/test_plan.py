import numpy as np
import pandas as pd
import pytest

from probekit.cache.index import Index
from probekit.data import manifest
from probekit.extraction import plan

NAN = float("nan")


@pytest.fixture
def world(tmp_path):
    """Recordings, and an index that knows them."""
    names = ["same", "touched", "longer", "gone", "new"]
    for name in ("same", "touched", "longer", "new", "returned", "failed"):
        (tmp_path / f"{name}.wav").write_bytes(name.encode())
    stat = {p.stem: p.stat() for p in tmp_path.glob("*.wav")}
    rows = [
        # id, failed, start, size, mtime, sha256
        ("same", False, NAN, stat["same"].st_size, stat["same"].st_mtime_ns, "same"),
        ("touched", False, NAN, stat["touched"].st_size, 1, "touched"),
        ("longer", False, NAN, 1, stat["longer"].st_mtime_ns, "longer"),
        ("gone", False, NAN, 9, 9, "gone"),
        ("stretch", False, 1.0, stat["same"].st_size, stat["same"].st_mtime_ns, "same"),
        ("imported", False, NAN, -1, -1, ""),
        ("failed", True, NAN, stat["failed"].st_size, stat["failed"].st_mtime_ns, ""),
        ("returned", True, NAN, -1, -1, ""),
        ("away", True, NAN, -1, -1, ""),
        ("gone-failed", True, NAN, 9, 9, ""),
    ]
    columns = ("clip_id", "failed", "start", "size", "mtime", "sha256")
    table = pd.DataFrame(rows, columns=columns).assign(end=NAN, part="part-00000.h5")
    table.loc[table["clip_id"] == "same", "part"] = "part-00001.h5"
    assert len(names) == 5
    return tmp_path, Index(table, {})


def digest(path, size, mtime):
    assert size == path.stat().st_size
    return path.stem


def found(world, clips, **choice):
    root, index = world
    rows = [{"clip_id": i, "path": f"{path}.wav", **more} for i, path, more in clips]
    table = manifest.from_rows("x", rows, root=root)
    choice = {"lacking": set(), "digest": digest, **choice}
    there = plan.find_up_to_date(
        table, index, choice.pop("lacking"), choice.pop("digest"), **choice
    )
    return [None if row < 0 else index.table["clip_id"][row] for row in there]


@pytest.mark.parametrize(
    "clip, path, more, there",
    [
        ("same", "same", {}, True),
        ("touched", "touched", {}, True),  # by its hash
        ("touched", "longer", {}, False),  # now another recording
        ("longer", "longer", {}, False),
        ("gone", "gone", {}, True),  # what was computed stays
        ("new", "new", {}, False),
        ("stretch", "same", {"start": 1.0}, True),
        ("stretch", "same", {"start": 1.5}, False),
        ("stretch", "same", {}, False),
        ("same", "same", {"end": 3.0}, False),
        ("imported", "same", {}, True),
        ("imported", "nowhere", {}, True),
        ("failed", "failed", {}, True),
        ("failed", "same", {}, False),  # another recording: try it
        ("returned", "returned", {}, False),  # was not there, now is
        ("away", "away", {}, True),  # was not there, is not now
        ("gone-failed", "gone-failed", {}, False),  # gone since: the reason changes
    ],
)
def test_which_clips_need_no_embedding(world, clip, path, more, there):
    assert found(world, [(clip, path, more)]) == [clip if there else None]


def test_many_at_once_give_the_same(world):
    clips = [
        (i, i, {}) for i in ("new", "gone", "same", "longer", "touched", "imported", "returned")
    ]
    assert found(world, clips) == [None, "gone", "same", None, "touched", "imported", None]
    big = [(f"x{k}", "new", {}) for k in range(1500)]  # looked up another way
    assert found(world, [*big, *clips])[1500:] == found(world, clips)


def test_hashes_decide_where_they_are_asked(world):
    clips = [("same", "same", {})]
    assert found(world, clips, verify_audio=True) == ["same"]
    assert found(world, clips, verify_audio=True, digest=lambda *_: "other") == [None]

    def vanish(*_):
        raise FileNotFoundError

    assert found(world, clips, verify_audio=True, digest=vanish) == ["same"]


def test_parts_that_lack_something_do_not_count(world):
    clips = [("same", "same", {}), ("gone", "gone", {})]
    assert found(world, clips, lacking={"part-00001.h5"}) == [None, "gone"]


def test_each_recording_is_looked_at_once(world, monkeypatch):
    import os

    looked = []
    stat = os.stat
    root, _ = world
    rows = [{"clip_id": f"c{k}", "path": "same.wav", "start": k, "end": k + 1} for k in range(5)]
    table = pd.DataFrame(
        [(f"c{k}", False, k, k + 1.0, 4, 1, "same", "part-00000.h5") for k in range(5)],
        columns=["clip_id", "failed", "start", "end", "size", "mtime", "sha256", "part"],
    )

    def watch(path, *rest, **more):
        looked.append(path)
        return stat(path, *rest, **more)

    clips = manifest.from_rows("x", rows, root=root)
    monkeypatch.setattr(plan.os, "stat", watch)
    there = plan.find_up_to_date(clips, Index(table, {}), set(), lambda *_: "same")
    monkeypatch.undo()
    np.testing.assert_array_equal(there, np.arange(5))
    assert len(looked) == 1


def test_an_empty_cache_has_nothing(world):
    root, _ = world
    clips = manifest.from_rows("x", [{"clip_id": "a", "path": "a"}], root=root)
    assert list(plan.find_up_to_date(clips, Index(pd.DataFrame(), {}), set(), digest)) == [-1]
