import numpy as np
import pytest

from probekit.cache import embeddings, part
from probekit.errors import CacheError, UnknownNameError


def ids(numbers):
    return [f"clip-{n:02d}-ö" for n in numbers]


@pytest.fixture
def songs(tmp_path, put):
    return embeddings.Embeddings(put(tmp_path, range(12), failed=[20, 21]))


def mean(number):
    return number + 0.125 * number + 0.125 * np.arange(3)


def test_vectors_come_in_the_order_asked_for(songs):
    wanted = [7, 0, 11, 7, 3]
    vectors = songs.vectors(ids(wanted))
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, [mean(n) for n in wanted])


def test_poolings_stand_side_by_side(songs):
    vectors = songs.vectors(ids([4, 2]), "seq", ["max", "mean"])
    np.testing.assert_array_equal(vectors[:, 3:], [mean(4), mean(2)])
    np.testing.assert_array_equal(vectors[:, :3], [mean(n) + 0.125 * n for n in (4, 2)])
    np.testing.assert_array_equal(
        songs.vectors(ids([5]), "vec", ["std"]),
        [np.arange(4) - 5],  # one vector already
    )


def test_frames_of_a_clip(songs):
    for number in (0, 5, 11):
        vectors = songs.frames(ids([number])[0])
        time = np.arange(number + 1)[:, None]
        np.testing.assert_array_equal(vectors, number + 0.25 * time + 0.125 * np.arange(3))


def test_times_of_frames(songs):
    """Of toy frames: one every 24/25 s, the first centered at the clip's start."""
    for number in (0, 11):
        expected = np.arange(number + 1) * 0.96
        np.testing.assert_allclose(songs.times(ids([number])[0]), expected, rtol=1e-15)
    with pytest.raises(CacheError, match="frames of 'vec' are not in the cache"):
        songs.times(ids([1])[0], "vec")


def test_what_is_kept_can_be_asked(songs):
    assert sorted(songs.clip_ids) == ids(range(12))
    assert songs.failures == {"clip-20-ö": "née 20", "clip-21-ö": "née 21"}
    assert songs.default_stream == "seq"
    assert songs.stream_info["seq"]["hop"] == "24/25"
    assert songs.meta["card"]["name"] == "toy"


def test_clips_that_are_not_there_are_named_with_the_reason(songs):
    with pytest.raises(CacheError, match=r"1 of 2 clips .*'clip-20-ö' \(née 20\)"):
        songs.vectors(ids([1, 20]))
    with pytest.raises(CacheError, match=r"'x' \(never extracted\)"):
        songs.vectors(["x"])
    with pytest.raises(CacheError, match="never extracted"):
        songs.frames("x")


def test_unknown_streams_and_poolings_bring_the_near_ones(songs):
    with pytest.raises(UnknownNameError, match=r"'sek'. Did you mean 'seq'.*--streams"):
        songs.vectors(ids([1]), "sek")
    with pytest.raises(UnknownNameError, match=r"toy/seq 'men'. Did you mean 'mean'") as caught:
        songs.vectors(ids([1]), "seq", ["men"])
    assert "frames" not in str(caught.value)


def test_frames_that_were_not_kept(tmp_path, put):
    songs = embeddings.Embeddings(put(tmp_path, frames=False))
    with pytest.raises(CacheError, match=r"probekit extract -e \S+ --frames"):
        songs.frames(ids([1])[0])


def test_half_precision_is_read_as_single(tmp_path, put, toy_layout):
    info = toy_layout(dtype="float16")
    songs = embeddings.Embeddings(put(tmp_path, info=info, dtype="float16"))
    vectors = songs.vectors(ids([3]))
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, [np.float16(mean(3))])
    assert songs.frames(ids([3])[0]).dtype == np.float32


def test_a_part_of_failures_does_not_hide_the_others(tmp_path, put, toy):
    folder = put(tmp_path, range(4))
    for name in ("part-00000.h5", "part-00099.h5"):  # as the first one and as the last
        part.write_part(folder / name, toy([], failed=[90]))
        songs = embeddings.Embeddings(folder)
        held = sorted(songs.clip_ids)
        assert len(songs.vectors(held)) == len(held) > 0


def test_parts_that_are_written_anew_meanwhile_give_the_right_rows(songs, put, tmp_path):
    before = songs.vectors(ids(range(12)))
    numbers = [*range(12), *range(30, 60)]
    put(tmp_path, numbers)  # rows move
    np.testing.assert_array_equal(songs.vectors(ids(range(12))), before)
    assert len(songs.frames(ids([11])[0])) == 12
    put(tmp_path, range(30, 60))
    with pytest.raises(CacheError, match="open the cache again"):
        songs.vectors(ids(range(12)))


def test_finding(tmp_path, put, toy_layout):
    put(tmp_path)
    assert embeddings.find_embeddings(tmp_path, "toy", "songs").layout == toy_layout()
    assert embeddings.find_embeddings(tmp_path, "toy@ffff:size=3", "songs").folder.name == "songs"


@pytest.mark.parametrize(
    "selection, dataset, reason",
    [
        (
            "tony",
            "songs",
            r"'tony' for 'songs'. Available: toy\. Did you mean 'toy'\? Compute them",
        ),
        (
            "toy",
            "films",
            r"'toy' for 'films'. toy is available for: songs\. Compute them with: probekit",
        ),
        ("toy", "song", r"Did you mean 'songs'\?"),
        ("toy@eeee", "songs", r"no toy@eeee for songs, only:\n  toy-ffffffff   size=3, float32"),
        ("toy:size=4", "songs", r"no toy:size=4 for songs, only"),
        ("toy:width=3", "songs", r"unknown parameter of toy 'width'\. Known: layer, pool, size,"),
    ],
)
def test_finding_what_is_not_there(tmp_path, put, selection, dataset, reason):
    put(tmp_path)
    with pytest.raises(CacheError, match=reason):
        embeddings.find_embeddings(tmp_path, selection, dataset)


def test_several_that_fit_are_listed(tmp_path, put, toy_layout):
    put(tmp_path)
    identity = {"extractor": "toy", "params": {"size": 4}, "weights": {"main": "random:0"}}
    put(tmp_path, info=toy_layout(fingerprint="a" * 64, identity=identity))
    with pytest.raises(CacheError) as caught:
        embeddings.find_embeddings(tmp_path, "toy", "songs")
    assert "-e toy@aaaaaaaa   size=4, main random:0" in str(caught.value)
    assert "-e toy@ffffffff   size=3, float32" in str(caught.value)
    assert embeddings.find_embeddings(tmp_path, "toy@a", "songs").layout.fingerprint == "a" * 64
    assert (
        embeddings.find_embeddings(tmp_path, "toy:size=3", "songs").layout.fingerprint == "f" * 64
    )


def test_an_empty_cache(tmp_path, put):
    assert embeddings.list_embeddings(tmp_path / "gone") == []
    songs = embeddings.Embeddings(put(tmp_path, []))
    assert (songs.clip_ids, songs.failures, songs.stream_info) == ([], {}, {})
    with pytest.raises(CacheError, match="no parts in this folder"):
        _ = songs.meta
    with pytest.raises(CacheError):
        songs.vectors(["a"])
    with pytest.raises(CacheError, match="not the description of a cache"):
        embeddings.Embeddings(tmp_path / "gone")


def test_a_parameter_that_nothing_has_brings_the_near_ones(tmp_path, put, toy_layout):
    put(tmp_path, range(3))
    with pytest.raises(CacheError, match=r"parameter of toy 'pol'\. Did you mean 'pool'"):
        embeddings.find_embeddings(tmp_path, "toy:pol=mean", "songs")
    identity = {"extractor": "vggish", "params": {}}  # of a time when its card had no parameter
    put(tmp_path, info=toy_layout(extractor="vggish", identity=identity))
    with pytest.raises(CacheError, match="no vggish:quantize=round for songs, only"):
        embeddings.find_embeddings(tmp_path, "vggish:quantize=round", "songs")
