"""FMA from tables that pandas writes as the dataset's makers did; the real one was not at hand.

So the layout, the rules and the sizes that follow from the counts of the documentation are checked
here, not those counts themselves.
"""

import csv
from collections import Counter, defaultdict

import numpy as np
import pandas as pd
import pytest

from probekit.errors import DataError, UnknownNameError
from probekit.tasks import splits
from probekit.tasks.standin import writer
from probekit.tasks.task import load_task

MEDIUM, OFFICIAL, SMALL = TASKS = ("fma-medium", "fma-medium-official", "fma-small")
STANDIN = (MEDIUM, 36)
TABLE = "fma_metadata/tracks.csv"
KEYS = [("set", "split"), ("set", "subset"), ("track", "genre_top"), ("artist", "id")]


def edit(root, change):
    path = root / TABLE
    with path.open(newline="", encoding="utf-8") as stream:
        table = list(csv.reader(stream))
    change(table)
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows(table)


def cell(table, row, key, text):
    table[row][list(zip(table[0], table[1], strict=True)).index(key)] = text


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A table of 25,000 clips of the medium subset, among others, with the official sizes."""
    rng = np.random.default_rng(0)
    small = load_task(SMALL).card.labels
    genres = load_task(MEDIUM).card.labels
    sides = [("small", 6400, 800, 800), ("medium", 13522, 1705, 1773), ("large", 30, 10, 10)]
    rows = []
    for subset, *sizes in sides:
        for side, size in zip(("training", "validation", "test"), sizes, strict=True):
            names = small if subset == "small" else genres
            drawn = rng.choice(names, size) if subset != "large" else [np.nan] * size
            rows += [(side, subset, genre, int(rng.integers(1000))) for genre in drawn]
    order = rng.permutation(len(rows))
    table = pd.DataFrame(
        [rows[k] for k in order],
        columns=pd.MultiIndex.from_tuples(KEYS),
        index=pd.Index(rng.choice(155321, len(rows), replace=False), name="track_id"),
    )
    table.insert(0, ("album", "information"), '<p>Two lines,\nand a "quote", \'n, more é</p>')
    root = tmp_path_factory.mktemp("fma")
    (root / "fma_metadata").mkdir()
    table.to_csv(root / TABLE)
    return root, table


@pytest.fixture(scope="module")
def manifests(whole):
    """The clips of each task in it."""
    return {name: load_task(name).manifest(whole[0]) for name in TASKS}


def test_the_table_has_three_header_rows(whole):
    """What pandas writes is what the dataset's makers describe."""
    first, second, third = (whole[0] / TABLE).read_text(encoding="utf-8").split("\n")[:3]
    assert first.startswith(",album,set,set") and second.startswith(",information,split")
    assert third.split(",")[0] == "track_id" and set(third) == set("track_id,")


@pytest.mark.parametrize("name", TASKS)
def test_clips_are_those_of_the_table(whole, manifests, name):
    table, found = whole[1], manifests[name]
    assert found.provenance == ()  # as many on each side as the card says
    subsets = ["small"] if name == SMALL else ["small", "medium"]
    rows = table[table["set", "subset"].isin(subsets)]
    assert found.clip_ids == [f"{track:06d}" for track in rows.index]
    assert [row[0] for row in found.table["labels"]] == list(rows["track", "genre_top"])
    assert list(found.column("group")) == [str(artist) for artist in rows["artist", "id"]]
    if name != MEDIUM:
        sides = {"training": "train", "validation": "valid", "test": "test"}
        assert list(found.column("split")) == [sides[s] for s in rows["set", "split"]]


def test_the_random_split_is_that_of_the_paper(manifests):
    """Stratified 85/15: 21,250 and 3,750 clips, each genre within a clip of its share."""
    task, found = load_task(MEDIUM), manifests[MEDIUM]
    side = splits.split_assignments(task.card.protocol, found)
    assert Counter(side) == {"train": 21250, "test": 3750}
    genres = found.targets()
    share = np.bincount(genres[side == "test"]) - 0.15 * np.bincount(genres)
    assert abs(share).max() < 1
    assert (splits.split_assignments(task.card.protocol, found) == side).all()


def test_one_cache_serves_all_tasks(manifests):
    small, medium = manifests[SMALL], manifests[MEDIUM]
    assert {load_task(name).card.dataset for name in TASKS} == {"fma"}
    assert set(small.clip_ids) <= set(medium.clip_ids)
    assert set(small.class_names) < set(medium.class_names) and len(small.class_names) == 8
    assert len(medium.class_names) == 16


def test_bad_recordings_are_clips_of_the_medium_subset():
    """The challenge's lists: 15 without audio, 6 shorter than 30 s; some are in the small one."""
    medium, small = (load_task(name).card.known_bad for name in (MEDIUM, SMALL))
    assert Counter(medium.values()) == {"no audio in the file": 15, "shorter than 30 s": 6}
    assert small.items() <= medium.items()
    assert load_task(OFFICIAL).card.known_bad == medium
    assert all(len(name) == 6 and name.isdecimal() for name in medium)


def test_stand_in_has_the_official_layout(editable_standin):
    """Read as the dataset's makers read it."""
    table = pd.read_csv(editable_standin / TABLE, index_col=0, header=[0, 1])
    assert table.shape == (37, 52) and table.index.name == "track_id"
    assert set(KEYS) <= set(table.columns)
    for name in TASKS:
        found = load_task(name).manifest(editable_standin)
        assert found.provenance == ("stand-in data",)
        assert all((editable_standin / path).is_file() for path in found.column("path"))
        assert found.column("path")[0] == "fma_medium/000/000002.mp3"
        sides = set(splits.split_assignments(load_task(name).card.protocol, found))
        assert {"train", "test"} <= sides


def test_no_artist_of_stand_in_data_crosses_the_official_split(editable_standin):
    found = load_task(OFFICIAL).manifest(editable_standin)
    sides = defaultdict(set)
    for artist, split in zip(found.column("group"), found.column("split"), strict=True):
        sides[artist].add(split)
    assert all(len(both) == 1 for both in sides.values()) and len(sides) > 10


def test_clips_may_lie_in_the_folder_of_a_larger_subset(editable_standin):
    assert load_task(SMALL).manifest(editable_standin).column("path")[0].startswith("fma_medium/")
    (editable_standin / "fma_medium").rename(editable_standin / "fma_small")
    assert load_task(SMALL).manifest(editable_standin).column("path")[0].startswith("fma_small/")
    (editable_standin / "fma_small").rename(editable_standin / "fma_large")
    assert load_task(MEDIUM).manifest(editable_standin).column("path")[0].startswith("fma_large/")


def test_a_count_that_differs_is_said(editable_standin):
    (editable_standin / writer.MARKER).unlink()
    found = load_task(OFFICIAL).manifest(editable_standin)
    assert found.provenance[0] == "train: 24 of 19,922 clips"


def test_a_missing_table_is_named(editable_standin):
    (editable_standin / TABLE).unlink()
    with pytest.raises(DataError, match=f"expected {TABLE}"):
        load_task(MEDIUM).manifest(editable_standin)


def test_another_separator_is_refused(editable_standin):
    content = (editable_standin / TABLE).read_text(encoding="utf-8")
    (editable_standin / TABLE).write_text(content.replace(",", ";"), encoding="utf-8")
    with pytest.raises(DataError, match=r"three header rows separated by commas.*set / split"):
        load_task(MEDIUM).manifest(editable_standin)


def test_a_table_without_the_third_header_row_is_refused(editable_standin):
    edit(editable_standin, lambda table: table.pop(2))
    with pytest.raises(DataError, match="begins with track_id; the third is another"):
        load_task(MEDIUM).manifest(editable_standin)


def test_a_row_that_is_cut_off_is_named(editable_standin):
    edit(editable_standin, lambda table: table[5].pop())
    with pytest.raises(DataError, match="line 9: expected 53 fields, got 52"):
        load_task(MEDIUM).manifest(editable_standin)  # two of the rows before it run over two lines


def test_text_that_is_not_utf8_is_refused(editable_standin):
    with (editable_standin / TABLE).open("ab") as stream:
        stream.write("é".encode("latin-1"))
    with pytest.raises(DataError, match="not a CSV file in UTF-8"):
        load_task(MEDIUM).manifest(editable_standin)


@pytest.mark.parametrize("track", ["../../2", "1.2E+05", "", "²"])
def test_a_track_id_is_a_number(editable_standin, track):
    def rename(table):
        table[3][0] = track

    edit(editable_standin, rename)
    with pytest.raises(DataError, match="track id must be an integer, got"):
        load_task(MEDIUM).manifest(editable_standin)


def test_an_unknown_genre_is_named(editable_standin):
    edit(editable_standin, lambda table: cell(table, 3, ("track", "genre_top"), "Electronics"))
    with pytest.raises(UnknownNameError, match=r"'Electronics'.*Did you mean 'Electronic'"):
        load_task(MEDIUM).manifest(editable_standin)


def test_an_unknown_split_is_named(editable_standin):
    edit(editable_standin, lambda table: cell(table, 3, ("set", "split"), "train"))
    with pytest.raises(
        DataError, match="split must be one of training, validation, test, got 'train'"
    ):
        load_task(OFFICIAL).manifest(editable_standin)


def test_a_duplicated_clip_is_named(editable_standin):
    edit(editable_standin, lambda table: table.append(table[3]))
    with pytest.raises(DataError, match="more than once: '000002'"):
        load_task(MEDIUM).manifest(editable_standin)


def test_an_unknown_subset_is_named(tmp_path):
    card = load_task(MEDIUM).card.model_copy(update={"options": {"subset": "tiny"}})
    task = type(load_task(MEDIUM))(card)
    with pytest.raises(UnknownNameError, match="subset of fma-medium 'tiny'"):
        task.write_standin(tmp_path / "new")
