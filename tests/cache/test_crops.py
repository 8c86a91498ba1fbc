import gc
import pickle

import numpy as np
import pytest

from probekit.cache import crops, embeddings, part
from probekit.errors import CacheError


def ids(numbers):
    return [f"clip-{n:02d}-ö" for n in numbers]


def frames(number):
    return number + 0.25 * np.arange(number + 1)[:, None] + 0.125 * np.arange(3)


@pytest.fixture
def songs(tmp_path, put):
    return embeddings.Embeddings(put(tmp_path, range(20), failed=[30]))


def test_a_crop_is_a_stretch_of_the_clip_s_frames(songs):
    numbers = [7, 19, 0, 12, 7]
    reader = songs.crops(ids(numbers), 4.0)  # 4 / 0.96 s
    assert (reader.frames, reader.hop, len(reader)) == (4, 0.96, 5)
    np.testing.assert_array_equal(reader.counts, [8, 20, 1, 13, 8])
    crops_read, first = reader.random([4, 1, 3, 2], np.random.default_rng(0))
    assert (crops_read.shape, crops_read.dtype) == ((4, 4, 3), np.float32)
    for crop, start, number in zip(crops_read, first, [7, 19, 12, 0], strict=True):
        expected = frames(number)[start : start + 4]
        np.testing.assert_array_equal(crop[: len(expected)], expected)
        assert not crop[len(expected) :].any()
    assert first[3] == 0


def test_every_place_is_drawn_and_none_outside(songs):
    reader = songs.crops(ids([7]), 5 * 0.96)
    rng = np.random.default_rng(0)
    firsts = np.concatenate([reader.random([0] * 100, rng)[1] for _ in range(4)])
    counts = np.bincount(firsts)
    assert len(counts) == 4  # 8 frames, 5 wanted
    assert counts.min() > 60


def test_the_same_seed_gives_the_same_crops(songs):
    reader = songs.crops(ids(range(20)), 3.0)
    a, b = (reader.random(range(20), np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(a[0], b[0])
    np.testing.assert_array_equal(a[1], b[1])


def test_parts_are_closed_with_their_reader_and_nobody_warns(songs, recwarn):
    reader = songs.crops(ids(range(20)), 2.0)
    reader.read(range(20), [0] * 20)
    files = list(reader._open.values())
    assert files and not any(file.closed for file in files)
    reader.itself = reader  # found by the collector only, which finalizes in any order
    del reader
    gc.collect()
    assert all(file.closed for file in files)
    del files
    gc.collect()
    assert not [w for w in recwarn if issubclass(w.category, ResourceWarning)]


def test_a_reader_travels_to_other_processes(songs):
    reader = songs.crops(ids(range(20)), 2.0)
    expected = reader.read(range(20), [0] * 20)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(reader)).read(range(20), [0] * 20),  # noqa: S301
        expected,
    )


def test_few_parts_are_held_open(songs, monkeypatch):
    monkeypatch.setattr(crops, "_MAX_OPEN", 1)
    reader = songs.crops(ids(range(20)), 2.0)
    expected = [frames(n)[:2] for n in range(1, 20)]
    np.testing.assert_array_equal(reader.read(range(1, 20), [0] * 19), expected)
    assert len(reader._open) == 1


def test_half_precision(tmp_path, put, toy_layout):
    songs = embeddings.Embeddings(put(tmp_path, info=toy_layout(dtype="float16"), dtype="float16"))
    for dtype, expected in (("stored", "f2"), ("float32", "f4")):
        crops_read = songs.crops(ids([9]), 2.0, dtype=dtype).read([0], [3])
        assert crops_read.dtype == expected
        np.testing.assert_array_equal(crops_read, [np.float16(frames(9))[3:5]])


@pytest.mark.parametrize("when", ["before", "between"])
def test_parts_that_are_written_anew_meanwhile(songs, put, tmp_path, when):
    if when == "before":
        assert songs.index.parts
        put(tmp_path, [*range(20), *range(40, 60)])
    reader = songs.crops(ids(range(20)), 2.0)
    if when == "between":
        put(tmp_path, [*range(20), *range(40, 60)])
    np.testing.assert_array_equal(
        reader.read(range(1, 20), [0] * 19), [frames(n)[:2] for n in range(1, 20)]
    )
    if when == "between":
        reader = songs.crops(ids(range(20)), 2.0)
        put(tmp_path, range(40, 60))
        with pytest.raises(CacheError, match="open the cache again"):
            reader.read(range(20), [0] * 20)


def test_a_part_of_failures_only(tmp_path, put, toy):
    folder = put(tmp_path, range(4))
    part.write_part(folder / "part-00099.h5", toy([], failed=[90]))
    reader = embeddings.Embeddings(folder).crops(ids(range(4)), 1.0)
    assert reader.frames == 1


def test_what_cannot_be_cropped(songs, tmp_path, put):
    with pytest.raises(CacheError, match=r"crop length must be > 0 s, got 0"):
        songs.crops(ids([1]), 0.0)
    with pytest.raises(CacheError, match="never extracted"):
        songs.crops(["x"], 1.0)
    with pytest.raises(CacheError, match="--frames"):
        songs.crops(ids([1]), 1.0, "vec")
    without = embeddings.Embeddings(put(tmp_path / "other", frames=False))
    with pytest.raises(CacheError, match="--frames"):
        without.crops(ids([1]), 1.0)
