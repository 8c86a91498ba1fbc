"""MagnaTagATune from copies of its metadata, and from what a user may have instead.

The official annotations_final.csv was not at hand. The real tables are rebuilt here from jukemir's
copy, which has every annotated clip with all its tags; so the rules, counts, labels and artists are
checked against real facts, but not the official file's order of columns.
"""

import csv
import gzip
import json
from collections import Counter, defaultdict

import pytest

from probekit.errors import DataError
from probekit.tasks.standin import writer as writer_module
from probekit.tasks.task import load_task

TASKS = ("magnatagatune", "magnatagatune-full")
STANDIN = ("magnatagatune", 48)
TABS = {"delimiter": "\t", "quoting": csv.QUOTE_ALL, "lineterminator": "\n"}


def write(path, header, rows, **how):
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, **(how or TABS))
        writer.writerow(header)
        writer.writerows(rows)


def read(path):
    with path.open(newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream, delimiter="\t")
    return header, rows


@pytest.fixture(scope="module")
def published(shared):
    with gzip.open(shared / "data/meta/jukemir_magnatagatune.json.gz") as stream:
        return json.load(stream)


@pytest.fixture(scope="module")
def official(published, tmp_path_factory):
    """The two tables in the official format."""
    root = tmp_path_factory.mktemp("magnatagatune")
    tagged = [clip for clip in published.values() if clip["y_all"] is not None]
    tags = sorted({tag for clip in tagged for tag in clip["y_all"]})
    rows = (
        [c["extra"]["clip_id"], *(int(t in own) for t in tags), c["extra"]["mp3_path"]]
        for c, own in ((clip, set(clip["y_all"])) for clip in tagged)
    )
    write(root / "annotations_final.csv", ["clip_id", *tags, "mp3_path"], rows)
    columns = list(next(iter(published.values()))["extra"])
    info = ([clip["extra"][name] for name in columns] for clip in published.values())
    write(root / "clip_info_final.csv", columns, info)
    return root


@pytest.fixture(scope="module")
def manifests(official):
    return {name: load_task(name).manifest(official) for name in TASKS}


def edit(path, change):
    """Let ``change`` alter the header and rows of a table."""
    header, rows = read(path)
    change(header, rows)
    write(path, header, rows)


@pytest.mark.slow
def test_the_splits_have_the_sizes_of_the_papers(manifests):
    clean, full = (Counter(manifests[name].column("split")) for name in TASKS)
    assert clean == {"train": 15247, "valid": 1529, "test": 4332}
    assert full == {"train": 18706, "valid": 1825, "test": 5329}
    assert all(found.provenance == () for found in manifests.values())  # as the cards say


@pytest.mark.slow
def test_the_split_is_the_published_list(manifests, shared):
    """The list lacks three clips that its makers call too short; nothing else differs."""
    table = manifests["magnatagatune"].table
    for split in ("train", "valid", "test"):
        lines = (shared / f"data/meta/mtat_jongpillee_{split}.txt").read_text().split()
        own = table[table["split"] == split].set_index("path")["clip_id"]
        assert len(lines) == {"train": 15244, "valid": 1529, "test": 4332}[split]
        assert set(lines) <= set(own.index)
        more = own.drop(lines)
        assert sorted(more, key=int) == (["29", "11268", "11269"] if split == "train" else [])


def test_the_tags_are_the_fifty_most_frequent(published):
    counts = Counter(tag for clip in published.values() for tag in clip["y_all"] or ())
    labels = load_task("magnatagatune").card.labels
    assert labels == load_task("magnatagatune-full").card.labels
    assert len(set(labels)) == len(labels) == 50
    frequencies = [counts[tag] for tag in labels]
    assert frequencies == sorted(counts.values(), reverse=True)[:50]  # ties in any order
    assert frequencies[-1] == 490 and sorted(counts.values())[-51] == 474


@pytest.mark.slow
def test_each_clip_has_its_published_tags(manifests, published):
    labels = set(load_task("magnatagatune").card.labels)
    tags = {
        clip["extra"]["clip_id"]: set(clip["y_all"]) & labels
        for clip in published.values()
        if clip["y_all"] is not None
    }
    full = manifests["magnatagatune-full"]
    assert {i: set(row) for i, row in zip(full.clip_ids, full.table["labels"], strict=True)} == {
        i: row for i, row in tags.items() if i not in ("35644", "55753", "57881")
    }
    assert full.targets().shape == (25860, 50)
    assert sum(not row for row in full.table["labels"]) == 25860 - 21108


@pytest.mark.slow
def test_artists_cross_the_split_and_songs_do_not(manifests, published):
    full = manifests["magnatagatune-full"]
    url = {c["extra"]["clip_id"]: c["extra"]["original_url"] for c in published.values()}
    artists, songs = defaultdict(set), defaultdict(set)
    for clip_id, split, artist in full.table[["clip_id", "split", "group"]].itertuples(index=False):
        artists[artist].add(split)
        songs[url[clip_id]].add(split)
    assert len(artists) == 230
    assert sum(len(sides) > 1 for sides in artists.values()) == 56
    assert sum(len(sides) > 1 for sides in songs.values()) == 0


@pytest.mark.slow
def test_one_cache_serves_both_tasks(manifests):
    clean, full = (manifests[name].table.set_index("clip_id") for name in TASKS)
    assert {load_task(name).card.dataset for name in TASKS} == {"magnatagatune"}
    for column in ("path", "split", "group", "labels"):
        assert (full.loc[clean.index, column] == clean[column]).all()


def test_stand_in_has_the_official_layout(editable_standin):
    header, rows = read(editable_standin / "annotations_final.csv")
    assert header[0] == "clip_id" and header[-1] == "mp3_path" and len(set(header)) == 190
    assert (editable_standin / "annotations_final.csv").read_text().startswith('"clip_id"\t"')
    assert {row[-1][0] for row in rows} == set("0123456789abcdef")
    assert all((editable_standin / row[-1]).is_file() for row in rows)
    info, songs = read(editable_standin / "clip_info_final.csv")
    assert info[0] == "clip_id" and info[-1] == "mp3_path" and "" in {row[-1] for row in songs}
    for name in TASKS:
        found = load_task(name).manifest(editable_standin)
        assert found.provenance == ("stand-in data",)
        assert set(found.column("split")) == {"train", "valid", "test"}
        assert "35644" not in found.clip_ids and set(found.column("group")) != {""}
    assert len(load_task("magnatagatune").manifest(editable_standin)) < len(found)


def test_stand_in_knows_all_other_tags(editable_standin, published):
    header, _ = read(editable_standin / "annotations_final.csv")
    tags = {tag for clip in published.values() for tag in clip["y_all"] or ()}
    assert set(header) == tags | {"clip_id", "mp3_path"}


def test_recordings_may_lie_in_a_folder_of_their_own(editable_standin):
    (editable_standin / "mp3").mkdir()
    for folder in "0123456789abcdef":
        (editable_standin / folder).rename(editable_standin / "mp3" / folder)
    found = load_task("magnatagatune").manifest(editable_standin)
    assert all((editable_standin / path).is_file() for path in found.column("path"))


def test_a_count_that_differs_is_said(editable_standin):
    (editable_standin / writer_module.MARKER).unlink()
    found = load_task("magnatagatune-full").manifest(editable_standin)
    assert found.provenance == (
        "train: 36 of 18,706 clips",
        "valid: 3 of 1,825 clips",
        "test: 9 of 5,329 clips",
    )
    assert found.expected == 25860


@pytest.mark.parametrize("name", ["annotations_final.csv", "clip_info_final.csv"])
def test_a_missing_table_is_named(editable_standin, name):
    (editable_standin / name).unlink()
    with pytest.raises(DataError, match=f"expected {name}"):
        load_task("magnatagatune").manifest(editable_standin)


def test_another_separator_is_named(editable_standin):
    path = editable_standin / "annotations_final.csv"
    write(path, *read(path), delimiter=",")
    with pytest.raises(DataError, match=r"annotations_final\.csv.*separated by commas.*tabs"):
        load_task("magnatagatune").manifest(editable_standin)


def test_a_tag_that_the_table_lacks_is_named(editable_standin):
    def rename(header, rows):
        header[header.index("no vocals")] = "noVocals"

    edit(editable_standin / "annotations_final.csv", rename)
    with pytest.raises(DataError, match="no column no vocals"):
        load_task("magnatagatune").manifest(editable_standin)


def test_a_tag_that_is_neither_0_nor_1_is_named(editable_standin):
    def count(header, rows):
        rows[3][header.index("rock")] = "2"

    edit(editable_standin / "annotations_final.csv", count)
    with pytest.raises(DataError, match="clip 14, column 'rock' must be 0 or 1, got '2'"):
        load_task("magnatagatune").manifest(editable_standin)


def test_a_duplicated_clip_is_named(editable_standin):
    edit(editable_standin / "annotations_final.csv", lambda header, rows: rows.append(rows[0]))
    with pytest.raises(DataError, match="more than once: '2'"):
        load_task("magnatagatune").manifest(editable_standin)


@pytest.mark.parametrize("path", ["../secret.mp3", "g/some.mp3", "f/../../secret.mp3", ""])
def test_paths_stay_in_the_sixteen_folders(editable_standin, path):
    def move(header, rows):
        rows[0][-1] = path

    edit(editable_standin / "annotations_final.csv", move)
    with pytest.raises(DataError, match=r"must be in a folder 0-9 or a-f|leaves the root"):
        load_task("magnatagatune").manifest(editable_standin)


def test_a_clip_without_an_artist_is_named(editable_standin):
    edit(editable_standin / "clip_info_final.csv", lambda header, rows: rows.pop(5))
    with pytest.raises(DataError, match="no row for clip 22"):
        load_task("magnatagatune").manifest(editable_standin)


def test_ids_changed_by_a_spreadsheet_are_refused(editable_standin):
    def mangle(header, rows):
        rows[0][0] = "1.23E+05"

    edit(editable_standin / "annotations_final.csv", mangle)
    with pytest.raises(DataError, match="spreadsheet"):
        load_task("magnatagatune").manifest(editable_standin)
