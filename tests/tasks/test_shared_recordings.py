"""Recordings that two tasks share."""

import pytest

from probekit import cards
from probekit.data import manifest as manifests
from probekit.errors import DataError
from probekit.tasks.shared_recordings import BYTES, FREESOUND, YOUTUBE, find_task_overlap


def task(name, ids, **changes):
    card = cards.load_task_card(name).model_copy(update=changes)
    rows = [{"clip_id": i, "path": f"{i}.wav", "labels": ("a",)} for i in ids]
    return card, manifests.from_rows(card.dataset, rows)


def test_numbers_of_freesound():
    first = task("esc50", ["1-100032-A-0", "1-17124-A-43", "5-9032-A-0"])
    second = task("urbansound8k", ["100032-3-0-0", "100032-3-0-1", "7061-6-0-0"])
    overlap = find_task_overlap(first, second, {})
    assert (overlap.sources, overlap.unknown, overlap.compared) == (["Freesound"], [], [FREESOUND])
    [shared] = overlap.shared
    assert shared.first == ["1-100032-A-0"]
    assert shared.second == ["100032-3-0-0", "100032-3-0-1"]


def test_names_of_youtube_videos():
    first = task("audioset", ["-_ab0000001", "abcdefghijk"])
    second = task("dcase2017-4", ["abcdefghijk_30.000_40.000", "zzzzzzzzzzz_0.000_10.000"])
    overlap = find_task_overlap(first, second, {})
    assert overlap.sources == ["AudioSet", "YouTube"] and overlap.compared == [YOUTUBE]
    [shared] = overlap.shared
    assert (shared.first, shared.second) == (["abcdefghijk"], ["abcdefghijk_30.000_40.000"])


def test_bytes_of_recordings():
    first, second = task("gtzan", ["a", "b"]), task("fma-small", ["x", "y"])
    hashes = {"gtzan": {"a": "1" * 64, "b": "2" * 64}, "fma": {"x": "2" * 64, "y": "3" * 64}}
    overlap = find_task_overlap(first, second, hashes)
    assert overlap.compared == [BYTES] and overlap.sources == []
    assert [(s.kind, s.first, s.second) for s in overlap.shared] == [(BYTES, ["b"], ["x"])]
    assert find_task_overlap(first, second, {"gtzan": hashes["gtzan"]}).compared == []


def test_sources_that_are_not_known_are_named():
    first = task("esc50", ["1-100032-A-0"])
    second = task("urbansound8k", ["100032-3-0-0"], sources=None, dataset="mine")
    overlap = find_task_overlap(first, second, {})
    assert overlap.unknown == ["urbansound8k"] and overlap.sources == []
    assert [s.kind for s in overlap.shared] == [FREESOUND]  # names tell all the same


def test_tasks_of_one_dataset():
    with pytest.raises(DataError, match="esc10 and esc50 are of one dataset, esc50"):
        find_task_overlap(task("esc10", ["a"]), task("esc50", ["b"]), {})
