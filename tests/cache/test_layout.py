import json
import random

import pytest

from probekit.cache import layout
from probekit.errors import CacheError


def test_a_clip_s_part_follows_from_its_id_alone():
    known = {"a": 10, "clip-1": 1, "jazz/jazz.00054": 15, "é": 3}
    assert {
        i: layout.assign_bucket(i, 16) for i in known
    } == known  # written down: it must never change


def test_clips_spread_evenly():
    counts = [0] * 16
    for k in range(3200):
        counts[layout.assign_bucket(f"clip-{k}", 16)] += 1
    assert min(counts) > 140
    assert max(counts) < 260


@pytest.mark.parametrize(
    "clips, each, buckets",
    [
        (1, 100, 1),
        (64, 100, 1),
        (65, 100, 2),
        (1000, 100, 16),
        (16 * 1024, 100, 16),
        (2_000_000, 100, 1954),
        (1000, 1 << 20, 16),
        (10_000, 4 << 20, 157),
        (100, 1e12, 2),
    ],
)
def test_number_of_parts(clips, each, buckets):
    assert layout.choose_buckets(clips, each) == buckets


def test_the_first_extraction_settles_the_layout(tmp_path, toy_layout):
    folder = layout.dataset_folder(tmp_path, "toy", "f" * 64, "songs")
    first = layout.create_or_load_layout(folder, toy_layout(buckets=4))
    assert layout.create_or_load_layout(folder, toy_layout(buckets=9, dtype="float16")) == first
    assert layout.load_layout(folder) == first == toy_layout(buckets=4)
    assert [path.name for path in folder.iterdir()] == ["dataset.json"]


def test_two_fingerprints_never_mix(tmp_path, toy_layout):
    folder = tmp_path / "toy-ffffffff" / "songs"
    layout.create_or_load_layout(folder, toy_layout())
    other = toy_layout(
        fingerprint="f" * 8 + "0" * 56,
        identity={"extractor": "toy", "version": 2, "params": {"size": 3}, "extra": True},
    )
    with pytest.raises(CacheError) as caught:
        layout.create_or_load_layout(folder, other)
    text = str(caught.value)
    assert str(folder) in text
    assert "f" * 16 in text
    assert "f" * 8 + "0" * 8 in text
    assert "version: 1 in the cache, 2 requested" in text
    assert "extra: None in the cache, True requested" in text
    assert "size" not in text


@pytest.mark.parametrize("content", ["", "{", "[]", '{"extractor": "toy"}'])
def test_a_damaged_description_is_named(tmp_path, content):
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(CacheError, match=r"dataset\.json: not the description of a cache"):
        layout.load_layout(tmp_path)


def test_a_description_is_plain_json(tmp_path, toy_layout):
    layout.create_or_load_layout(tmp_path, toy_layout())
    stored = json.loads((tmp_path / "dataset.json").read_text())
    assert stored["buckets"] == 4
    assert stored["fingerprint"] == "f" * 64


@pytest.mark.parametrize("dataset", ["../up", "a/b", "..", ".", "", "a\\b", "a\0"])
def test_datasets_stay_inside_the_cache(tmp_path, dataset):
    with pytest.raises(CacheError, match="a name without slashes"):
        layout.dataset_folder(tmp_path, "toy", "f" * 64, dataset)


def test_a_cache_that_is_a_file_is_named(tmp_path, toy_layout):
    (tmp_path / "cache").write_text("")
    folder = layout.dataset_folder(tmp_path / "cache", "toy", "f" * 64, "songs")
    with pytest.raises(CacheError, match=r"cannot be written \(not a directory\).*--cache"):
        layout.create_or_load_layout(folder, toy_layout())


def test_the_cache_is_where_it_is_said(tmp_path, monkeypatch):
    assert layout.cache_root(tmp_path) == tmp_path
    monkeypatch.setenv("PROBEKIT_CACHE", str(tmp_path / "env"))
    assert layout.cache_root() == tmp_path / "env"
    monkeypatch.delenv("PROBEKIT_CACHE")
    assert str(layout.cache_root()) == "cache"


def test_parts_do_not_depend_on_the_order(put, tmp_path):
    numbers = list(range(20))
    first = put(tmp_path / "a", numbers)
    random.Random(0).shuffle(numbers)
    second = put(tmp_path / "b", numbers)
    contents = [{p.name: p.read_bytes() for p in folder.glob("*.h5")} for folder in (first, second)]
    assert len(contents[0]) == 4
    assert contents[0] == contents[1]
