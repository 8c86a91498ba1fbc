"""EmoMusic from copies of its metadata, and from what a user may have instead.

The tables are rebuilt from jukemir's copy of all their cells, with stray tabs as in the official
files, whose order of columns is that of the reference; columns are read by name.
"""

import csv
import gzip
import json
from collections import Counter, defaultdict

import numpy as np
import pytest

from probekit.errors import DataError, UnknownNameError
from probekit.tasks.task import load_task

TASKS = ("emomusic", "emomusic-genre")
STANDIN = ("emomusic-genre", 36)


def write(path, table, delimiter=","):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, delimiter=delimiter, lineterminator="\n").writerows(table)


def read(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


@pytest.fixture(scope="module")
def published(shared):
    with gzip.open(shared / "data/meta/jukemir_emomusic.json.gz") as stream:
        return [clip["extra"] for clip in json.load(stream).values()]


@pytest.fixture(scope="module")
def official(published, tmp_path_factory):
    root = tmp_path_factory.mktemp("emomusic")
    songs = list(published[0]["songs_info"])
    means = list(published[0]["static_annotations"])
    info = [[f"\t{one['songs_info'][name]}\t" for name in songs] for one in published]
    static = [[one["static_annotations"][name] for name in means] for one in published]
    write(root / "annotations/songs_info.csv", [songs, *info])
    write(root / "annotations/static_annotations.csv", [means, *static])
    return root


@pytest.fixture(scope="module")
def manifests(official):
    return {name: load_task(name).manifest(official) for name in TASKS}


def change(editable_standin, name, row, column, text):
    """Change one cell of a table."""
    path = editable_standin / "annotations" / name
    table = read(path)
    table[row][table[0].index(column)] = text
    write(path, table)


def test_the_split_is_that_of_mediaeval(manifests):
    for found in manifests.values():
        assert Counter(found.column("split")) == {"train": 619, "test": 125}
        assert found.provenance == ()  # as the card says


def test_the_means_are_the_published_ones(manifests, shared):
    """Choi et al. list the means divided by nine, to twelve digits."""
    with (shared / "data/meta/kchoi_emoMusic.csv").open(newline="") as stream:
        listed = {
            row["id"]: (float(row["label_arousal"]), float(row["label_valence"]))
            for row in csv.DictReader(stream)
        }
    found = manifests["emomusic"]
    assert found.class_names == ("arousal", "valence") and len(listed) == 744
    expected = 9 * np.array([listed[clip_id] for clip_id in found.clip_ids])
    np.testing.assert_allclose(found.targets(), expected, atol=1e-10)  # twelve digits, times nine
    low, high = found.targets().min(axis=0), found.targets().max(axis=0)
    assert low.tolist() == [1.6, 1.6] and high.tolist() == [8.4, 8.1]


def test_genres_have_the_published_counts(manifests):
    counts = Counter(row[0] for row in manifests["emomusic-genre"].table["labels"])
    names = ("Blues", "Classical", "Country", "Electronic", "Folk", "Jazz", "Pop", "Rock")
    assert counts == dict(zip(names, (100, 116, 105, 92, 71, 105, 78, 77), strict=True))
    assert manifests["emomusic-genre"].class_names == names


def test_artists_are_in_both_sets(manifests):
    for found in manifests.values():
        sides = defaultdict(set)
        for artist, split in found.table[["group", "split"]].itertuples(index=False):
            sides[artist].add(split)
        assert len(sides) == 411
        assert sum(len(both) > 1 for both in sides.values()) == 52
        assert not any(artist != artist.strip() for artist in sides)


def test_one_cache_serves_both_tasks(manifests):
    first, second = (manifests[name] for name in TASKS)
    assert {load_task(name).card.dataset for name in TASKS} == {"emomusic"}
    assert first.clip_ids == second.clip_ids
    assert list(first.column("path")) == list(second.column("path"))


def test_stand_in_has_the_official_layout(editable_standin):
    table = read(editable_standin / "annotations/songs_info.csv")
    assert table[0][4:6] == ["start of the segment (min.sec)", "end of the segment (min.sec)"]
    assert any("\t" in cell for cell in table[1])
    for name in TASKS:
        found = load_task(name).manifest(editable_standin)
        assert found.provenance == ("stand-in data",)
        assert all((editable_standin / path).is_file() for path in found.column("path"))
        assert set(found.column("split")) == {"train", "test"}


def test_tables_may_lie_beside_the_clips(editable_standin):
    for path in (editable_standin / "annotations").iterdir():
        path.rename(editable_standin / path.name)
    assert len(load_task("emomusic").manifest(editable_standin)) == 36


@pytest.mark.parametrize("name", ["songs_info.csv", "static_annotations.csv"])
def test_a_missing_table_is_named(editable_standin, name):
    (editable_standin / "annotations" / name).unlink()
    with pytest.raises(DataError, match=f"expected annotations/{name}"):
        load_task("emomusic").manifest(editable_standin)


def test_another_separator_is_named(editable_standin):
    path = editable_standin / "annotations/songs_info.csv"
    write(path, read(path), delimiter=";")
    with pytest.raises(DataError, match=r"songs_info\.csv.*separated by semicolons.*commas"):
        load_task("emomusic").manifest(editable_standin)


def test_values_of_another_scale_are_refused(editable_standin):
    """The continuous annotations run from -1 to 1."""
    change(editable_standin, "static_annotations.csv", 1, "mean_arousal", "-0.2")
    with pytest.raises(
        DataError, match=r"song 2, column mean_arousal must be a number from 1 to 9, got '-0\.2'"
    ):
        load_task("emomusic").manifest(editable_standin)


@pytest.mark.parametrize("text", ["", "n/a", "nan", "inf"])
def test_values_that_are_no_numbers_are_refused(editable_standin, text):
    change(editable_standin, "static_annotations.csv", 2, "mean_valence", text)
    with pytest.raises(DataError, match="song 3, column mean_valence"):
        load_task("emomusic").manifest(editable_standin)


def test_an_unknown_genre_is_named(editable_standin):
    change(editable_standin, "songs_info.csv", 1, "Genre", "Blus")
    with pytest.raises(UnknownNameError, match=r"'Blus'.*Did you mean 'Blues'"):
        load_task("emomusic-genre").manifest(editable_standin)


def test_an_unknown_set_is_named(editable_standin):
    change(editable_standin, "songs_info.csv", 1, "Mediaeval 2013 set", "training")
    with pytest.raises(
        DataError,
        match="song 2: Mediaeval 2013 set must be development or evaluation, got 'training'",
    ):
        load_task("emomusic").manifest(editable_standin)


def test_paths_stay_in_the_folder(editable_standin):
    change(editable_standin, "songs_info.csv", 1, "file_name", "../../secret.mp3")
    with pytest.raises(DataError, match="leaves the root"):
        load_task("emomusic").manifest(editable_standin)


def test_a_duplicated_clip_is_named(editable_standin):
    for name, message in (("songs_info", "more than once: '2'"), ("static_annotations", "twice")):
        path = editable_standin / f"annotations/{name}.csv"
        table = read(path)
        write(path, [*table, table[1]])
        with pytest.raises(DataError, match=message):
            load_task("emomusic").manifest(editable_standin)
        write(path, table)


def test_an_annotated_song_without_a_row_is_named(editable_standin):
    path = editable_standin / "annotations/songs_info.csv"
    write(path, read(path)[:-1])
    with pytest.raises(DataError, match="no row for annotated songs: '37'"):
        load_task("emomusic").manifest(editable_standin)


def test_songs_without_annotations_are_not_of_the_dataset(editable_standin):
    path = editable_standin / "annotations/static_annotations.csv"
    write(path, read(path)[:-1])
    assert len(load_task("emomusic").manifest(editable_standin)) == 35
