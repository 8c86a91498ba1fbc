"""Extended Ballroom from its real metadata, and from what a user may have instead."""

import csv
import shutil
from collections import Counter, defaultdict
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from probekit.errors import DataError, UnknownNameError
from probekit.tasks import splits
from probekit.tasks.standin import writer
from probekit.tasks.task import load_task

FILE = "extendedballroom_v1.1.xml"
RANDOM, GROUPED = TASKS = ("extended-ballroom", "extended-ballroom-grouped")
STANDIN = (RANDOM, 40)


@pytest.fixture(scope="module")
def official(shared, tmp_path_factory):
    root = tmp_path_factory.mktemp("ballroom")
    shutil.copy(shared / "data/meta" / FILE, root)
    return root


@pytest.fixture(scope="module")
def real(official):
    return {name: load_task(name).manifest(official) for name in TASKS}


def replace(root, old, new):
    path = root / FILE
    content = path.read_text(encoding="utf-8")
    assert old in content
    path.write_text(content.replace(old, new, 1), encoding="utf-8")


def crossing(found, sides):
    """Groups with songs on more than one side."""
    seen = defaultdict(set)
    for group, side in zip(found.column("group"), sides, strict=True):
        if group:
            seen[group].add(side)
    return sum(len(both) > 1 for both in seen.values())


def test_songs_have_the_published_counts(real):
    found = real[RANDOM]
    assert len(found) == 4180 and found.provenance == ()  # as the card says
    counts = Counter(row[0] for row in found.table["labels"])
    expected = (455, 507, 350, 53, 497, 470, 47, 468, 65, 464, 252, 529, 23)
    assert found.class_names == tuple(sorted(found.class_names)) and len(found.class_names) == 13
    assert [counts[name] for name in found.class_names] == list(expected)


def test_labels_are_those_of_another_list(real, shared):
    """Choi et al. number the dances in an order of their own; their paths name them."""
    with (shared / "data/meta/kchoi_ballroom_extended.csv").open(newline="") as stream:
        listed = {row["id"]: row["filepath"].split("/")[-2] for row in csv.DictReader(stream)}
    table = real[RANDOM].table
    assert {i: row[0] for i, row in zip(table["clip_id"], table["labels"], strict=True)} == listed


def test_groups_are_the_connected_songs(real, official):
    """The same by scipy, from the file itself."""
    songs = [song for dance in ElementTree.parse(official / FILE).getroot() for song in dance]
    place = {song.get("id"): k for k, song in enumerate(songs)}
    links = np.array([(place[s.get("id")], place[c.get("id")]) for s in songs for c in s])
    assert len(links) == 1057
    graph = coo_array((np.ones(len(links)), links.T), shape=(len(songs), len(songs)))
    _, parts = connected_components(graph, directed=False)
    expected = defaultdict(set)
    for song, part in zip(songs, parts, strict=True):
        expected[part].add(song.get("id"))
    own = defaultdict(set)
    for clip_id, group in real[RANDOM].table[["clip_id", "group"]].itertuples(index=False):
        own[group].add(clip_id)
    own.pop("")
    assert sorted(map(sorted, own.values())) == sorted(
        sorted(part) for part in expected.values() if len(part) > 1
    )
    assert all(group == min(members) for group, members in own.items())
    assert len(own) == 370 and sum(map(len, own.values())) == 823


def test_a_group_is_of_one_dance(real):
    dances = defaultdict(set)
    for group, row in real[RANDOM].table[["group", "labels"]].itertuples(index=False):
        dances[group].add(row)
    dances.pop("")
    assert all(len(both) == 1 for both in dances.values())


def test_only_the_grouped_folds_keep_duplicates_together(real):
    sides = {
        name: splits.split_assignments(load_task(name).card.protocol, real[name]) for name in TASKS
    }
    assert crossing(real[GROUPED], sides[GROUPED]) == 0
    assert crossing(real[RANDOM], sides[RANDOM]) > 300  # of 370: nine in ten pairs are parted
    for name in TASKS:
        sizes = Counter(sides[name])
        assert set(sizes) == {str(k + 1) for k in range(10)}
        assert max(sizes.values()) - min(sizes.values()) <= 10
    rare = real[RANDOM].targets() == real[RANDOM].class_names.index("Wcswing")
    assert set(Counter(sides[RANDOM][rare]).values()) == {2, 3}


def test_one_cache_serves_both_tasks(real):
    assert {load_task(name).card.dataset for name in TASKS} == {"extended-ballroom"}
    assert real[RANDOM].clip_ids == real[GROUPED].clip_ids


def test_stand_in_has_the_official_layout(editable_standin):
    root = ElementTree.parse(editable_standin / FILE).getroot()
    assert [dance.tag for dance in root] == load_task(RANDOM).card.labels
    attributes = {"album", "artist", "bpm", "hash", "id", "title"}
    assert all(set(song.attrib) == attributes for dance in root for song in dance)
    assert {link.tag for song in root.iter("song") for link in song} >= {"version", "exact"}
    for name in TASKS:
        found = load_task(name).manifest(editable_standin)
        assert found.provenance == ("stand-in data",)
        assert all((editable_standin / path).is_file() for path in found.column("path"))
        assert len(splits.make_splits(load_task(name).card.protocol, found)) == 10


def test_a_copy_with_seven_dances_is_noticed(official, tmp_path):
    tree = ElementTree.parse(official / FILE)
    for dance in tree.getroot()[7:]:
        tree.getroot().remove(dance)
    tree.write(tmp_path / FILE)
    found = load_task(RANDOM).manifest(tmp_path)
    assert found.provenance == (f"{len(found):,} of 4,180 clips",)


def test_a_missing_file_is_named(editable_standin):
    (editable_standin / FILE).unlink()
    with pytest.raises(DataError, match=f"expected {FILE}"):
        load_task(RANDOM).manifest(editable_standin)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</ballroom>", "", "not XML"),
        ("<ballroom>", '<!DOCTYPE x [<!ENTITY a "b">]><ballroom>&a;&c;', "not XML"),
        ('id="100603"', 'id="100601"', "song 100601 is listed twice"),
        ('id="100603"', 'id="../../secret"', "leaves the root"),
        (' id="100603"', "", "a <song> without an id"),
        ("<version ", "<likeness ", "has a <likeness>"),
        ('<version id="100601"', '<version id="999999"', "not list: '999999'"),
    ],
)
def test_a_file_that_is_not_as_published_is_refused(editable_standin, old, new, message):
    (editable_standin / writer.MARKER).unlink()
    replace(editable_standin, old, new)
    with pytest.raises(DataError, match=message):
        load_task(RANDOM).manifest(editable_standin)


def test_another_xml_is_refused(editable_standin):
    (editable_standin / FILE).write_text("<dances></dances>", encoding="utf-8")
    with pytest.raises(DataError, match="its root is <dances>"):
        load_task(RANDOM).manifest(editable_standin)


def test_an_unknown_dance_is_named(editable_standin):
    content = (editable_standin / FILE).read_text(encoding="utf-8")
    (editable_standin / FILE).write_text(content.replace("Chacha>", "ChaCha>"), encoding="utf-8")
    with pytest.raises(UnknownNameError, match=r"'ChaCha'.*Did you mean 'Chacha'"):
        load_task(RANDOM).manifest(editable_standin)
