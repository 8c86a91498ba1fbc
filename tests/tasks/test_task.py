"""Tasks: what their datasets' real metadata give, and what a person is told who errs."""

import pkgutil
import re
import shutil
from collections import Counter
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from probekit import cards
from probekit.data import manifest as manifests
from probekit.data import readers
from probekit.errors import CardError, DataError, UnknownNameError
from probekit.tasks import datasets
from probekit.tasks.task import infer_card, load_task, tasks_with_same_corpus

FOLD_SIZES = [873, 888, 925, 990, 936, 823, 838, 806, 816, 837]
GENRES = [
    "blues",
    "classical",
    "country",
    "disco",
    "hiphop",
    "jazz",
    "metal",
    "pop",
    "reggae",
    "rock",
]
GTZAN_TABLE = (  # train / valid / test, as counted in the published lists
    "46/23/31 48/20/31 45/23/30 42/22/29 47/18/27 43/17/27 44/20/27 41/13/30 43/17/26 44/24/32"
)
CARD = """
name: mine
title: a task of my own
dataset: mine
module: table
options: {csv: clips.csv}
labels: [owl, cat]
counts: {clips: 5}
protocol: {kind: split}
metric: accuracy
"""


def write_csv(path: Path, header: str, *lines: str) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def by_split(clips: manifests.Manifest) -> dict[str, set[str]]:
    splits = clips.column("split")
    ids = np.array(clips.clip_ids)
    return {split: set(ids[splits == split]) for split in ("train", "valid", "test")}


@pytest.fixture
def urban_root(shared, tmp_path) -> Path:
    (tmp_path / "metadata").mkdir()
    shutil.copy(shared / "data/meta/UrbanSound8K.csv", tmp_path / "metadata")
    return tmp_path


# ---- the tasks that come with probekit


@pytest.mark.parametrize("name", sorted(cards.card_paths("tasks")))
def test_every_card_loads_and_says_what_a_reader_needs(name):
    card = load_task(name).card
    assert card.protocol.description and card.source and card.licence
    # large label sets are in a file of the dataset's, which a note names
    assert card.labels or any(
        word in note.lower() for note in card.notes for word in ("classes", "tags")
    )
    assert name in [task.name for task in tasks_with_same_corpus(card.dataset)]


def test_fsdd_has_3000_recordings_with_speakers_as_folds(shared):
    clips = load_task("fsdd").manifest(shared / "data/fsdd")
    assert len(clips) == clips.expected == 3000
    assert Counter(clips.column("fold")) == dict.fromkeys(
        ["george", "jackson", "lucas", "nicolas", "theo", "yweweler"], 500
    )
    assert (clips.column("fold") == clips.column("group")).all()
    assert Counter(clips.targets()) == dict.fromkeys(range(10), 300)
    for clip_id, digit in zip(clips.clip_ids, clips.targets(), strict=True):
        assert int(clip_id[0]) == digit


def test_fsdd_speaker_has_the_official_split(shared):
    clips = load_task("fsdd-speaker").manifest(shared / "data/fsdd")
    split = by_split(clips)
    assert [len(split[name]) for name in ("train", "valid", "test")] == [2700, 0, 300]
    assert {int(clip_id.rsplit("_")[-1]) for clip_id in split["test"]} == set(range(5))
    assert Counter(clips.targets()) == dict.fromkeys(range(6), 500)
    assert not clips.column("group").any()


def test_gtzan_is_the_published_fault_filtered_split(shared):
    clips = load_task("gtzan").manifest()
    found = by_split(clips)
    assert [len(found[name]) for name in ("train", "valid", "test")] == [443, 197, 290]
    for split, ids in found.items():
        lines = (shared / f"data/meta/gtzan_{split}_filtered.txt").read_text().split()
        assert {Path(line).stem for line in lines} == ids


def test_gtzan_has_the_published_counts_of_each_genre():
    clips = load_task("gtzan").manifest()
    counts = Counter(zip(clips.targets(), clips.column("split"), strict=True))
    table = [tuple(map(int, cell.split("/"))) for cell in GTZAN_TABLE.split()]
    assert clips.class_names == tuple(GENRES)
    assert [
        tuple(counts[k, split] for split in ("train", "valid", "test")) for k in range(10)
    ] == table


def test_gtzan_10fold_has_all_thousand():
    clips = load_task("gtzan-10fold").manifest()
    assert len(clips) == 1000
    assert Counter(clips.targets()) == dict.fromkeys(range(10), 100)
    assert "jazz.00054" in load_task("gtzan-10fold").card.known_bad
    assert "jazz.00054" in clips.clip_ids  # it counts as missing, not as absent


@pytest.mark.parametrize("folder", ["", "genres", "genres_original", "Data/genres_original"])
def test_gtzan_finds_each_published_layout(tmp_path, folder):
    for genre in GENRES:
        (tmp_path / folder / genre).mkdir(parents=True)
    (tmp_path / folder / "rock/rock.00010.wav").touch()
    clips = load_task("gtzan").manifest(tmp_path).table.set_index("clip_id")
    inside = f"{folder}/" if folder else ""
    assert clips.loc["rock.00010", "path"] == f"{inside}rock/rock.00010.wav"
    assert clips.loc["rock.00011", "path"] == f"{inside}rock/rock.00011.au"


def test_urbansound8k_has_the_official_folds(urban_root):
    clips = load_task("urbansound8k").manifest(urban_root)
    assert len(clips) == clips.expected == 8732
    counts = Counter(clips.column("fold"))
    assert [counts[str(k)] for k in range(1, 11)] == FOLD_SIZES
    assert len(set(clips.column("group"))) == 1297
    first = clips.table.iloc[0]
    assert (first.clip_id, first.path) == ("100032-3-0-0", "audio/fold5/100032-3-0-0.wav")
    assert first["labels"] == ("dog_bark",)


def test_urbansound8k_recordings_in_two_folds_are_those_of_the_card(urban_root):
    clips = load_task("urbansound8k").manifest(urban_root)
    folds = clips.table.groupby("group")["fold"].nunique()
    card = load_task("urbansound8k").card
    assert set(folds[folds > 1].index) == {"106905", "132016", "176638", "180937", "77751"}
    assert all(any(group in note for note in card.notes) for group in folds[folds > 1].index)


def test_urbansound8k_with_another_header_says_so(tmp_path):
    (tmp_path / "metadata").mkdir()
    write_csv(tmp_path / "metadata/UrbanSound8K.csv", "slice_file_name,fold", "a.wav,1")
    with pytest.raises(DataError, match=r"no column fsID, class; the header is"):
        load_task("urbansound8k").manifest(tmp_path)


# ---- a wrong folder


def test_missing_root_and_no_root_say_so(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        load_task("fsdd").manifest(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file: is not a folder"):
        load_task("fsdd").manifest(tmp_path / "file")
    with pytest.raises(DataError, match="fsdd: give the dataset's folder with --root DIR"):
        load_task("fsdd").manifest()


def test_fsdd_file_with_another_name_is_named(tmp_path):
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings/seven.wav").touch()
    with pytest.raises(DataError, match=r"seven\.wav: file names are DIGIT_SPEAKER_INDEX\.wav"):
        load_task("fsdd").manifest(tmp_path)


def test_unknown_label_is_named_with_its_nearest(tmp_path):
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings/1_teo_0.wav").touch()
    with pytest.raises(UnknownNameError, match=r"'teo'.*Did you mean 'theo'"):
        load_task("fsdd-speaker").manifest(tmp_path)


def test_unknown_task_is_answered_with_near_names():
    with pytest.raises(UnknownNameError, match=r"unknown task 'gtzn'.*Did you mean 'gtzan'"):
        load_task("gtzn")


# ---- tasks of a user's own


def test_table_with_a_split(tmp_path):
    table = write_csv(
        tmp_path / "Dogs and cats.csv",
        "clip_id,path,label,split",
        'a,a.wav,"Domestic animals, pets",train',
        "b,b.wav,wild,test",
        "c,c.wav,wild,valid",
    )
    task = load_task(str(table))
    clips = task.manifest()
    assert (task.name, clips.name) == ("Dogs and cats", "Dogs and cats")
    assert clips.class_names == ("Domestic animals, pets", "wild")
    assert list(clips.targets()) == [0, 1, 1]
    assert (task.card.protocol.kind, task.card.metric) == ("split", "accuracy")


@pytest.mark.parametrize(
    ("columns", "values", "kind", "grouped"),
    [
        ("fold", ["1", "2"], "folds", False),
        ("fold,split", ["1,", "2,"], "folds", False),
        ("fold,split", [",train", ",test"], "split", False),
        ("fold", ["1", ""], "folds", False),  # and making the folds then says what is missing
        ("split", ["train", ""], "split", False),
        ("group", ["g", "h"], "made-folds", True),
        ("group", ["g", ""], "made-folds", True),
        ("extra:other", ["a", "b"], "made-folds", False),
    ],
)
def test_protocol_follows_from_the_columns(tmp_path, columns, values, kind, grouped):
    lines = [f"c{k},c{k}.wav,x,{value}" for k, value in enumerate(values)]
    table = write_csv(tmp_path / "t.csv", f"clip_id,path,label,{columns}", *lines)
    protocol = load_task(str(table)).card.protocol
    assert (protocol.kind, protocol.grouped) == (kind, grouped)


def test_splits_beside_folds_are_refused(tmp_path):
    table = write_csv(tmp_path / "t.csv", "clip_id,path,label,split,fold", "a,a.wav,x,train,1")
    with pytest.raises(DataError, match=r"t\.csv: columns 'split' and 'fold': only one"):
        load_task(str(table))


@pytest.mark.parametrize(
    ("column", "value", "target", "metric"),
    [("labels", "x;y", "multi", "pr-auc"), ("target:valence", "3.5", "regression", "r2")],
)
def test_metric_follows_from_the_labels(tmp_path, column, value, target, metric):
    table = write_csv(tmp_path / "t.csv", f"clip_id,path,{column}", f"a,a.wav,{value}")
    card = load_task(str(table)).card
    assert (card.target, card.metric) == (target, metric)


def test_folder_of_folders_is_a_task(tmp_path):
    for label in ("kick", "snare"):
        (tmp_path / label).mkdir()
        for k in range(3):
            (tmp_path / label / f"{k}.wav").touch()
    clips = readers.from_folder(tmp_path)
    card = infer_card(clips)
    assert (card.protocol.kind, card.protocol.folds, card.metric) == ("made-folds", 5, "accuracy")
    assert clips.class_names == ("kick", "snare")
    assert list(clips.targets()) == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("place", [".", "tasks"])
def test_own_card_is_found_by_its_name(tmp_path, monkeypatch, place):
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / place / "mine.yaml").write_text(CARD)
    (tmp_path / "data").mkdir()
    write_csv(
        tmp_path / "data/clips.csv",
        "clip_id,path,label,split",
        "a,a.wav,cat,train",
        "b,b.wav,cat,test",
    )
    monkeypatch.setenv("PROBEKIT_CARDS", str(tmp_path))
    task = load_task("mine")
    clips = task.manifest(tmp_path / "data")
    assert (clips.name, len(clips), clips.expected) == ("mine", 2, 5)
    assert clips.class_names == ("owl", "cat")  # the card's classes, in the card's order
    assert list(clips.targets()) == [1, 1]
    assert load_task(str(tmp_path / place / "mine.yaml")).card == task.card


def test_own_card_refuses_a_label_that_it_does_not_list(tmp_path):
    (tmp_path / "mine.yaml").write_text(CARD)
    write_csv(tmp_path / "clips.csv", "clip_id,path,label", "a,a.wav,cats")
    with pytest.raises(UnknownNameError, match=r"'cats'.*Did you mean 'cat'"):
        load_task(str(tmp_path / "mine.yaml")).manifest(tmp_path)


def test_own_card_goes_before_the_one_that_comes_along(tmp_path, monkeypatch):
    (tmp_path / "fsdd.yaml").write_text(CARD.replace("name: mine", "name: fsdd"))
    monkeypatch.setenv("PROBEKIT_CARDS", str(tmp_path))
    assert load_task("fsdd").card.title == "a task of my own"


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("metrik: accuracy", r"metrik: unknown field \(misspelt\?\)"),
        ("protocol: {kind: made-folds}", r"protocol: .*made-folds needs folds"),
        ("protocol: {kind: split, inner_folds: 1}", r"protocol\.inner_folds: .*got 1"),
    ],
)
def test_faulty_card_names_file_and_field(tmp_path, line, fault):
    key = line.split(":")[0]
    kept = [own for own in CARD.strip().splitlines() if not own.startswith(f"{key}:")]
    (tmp_path / "mine.yaml").write_text("\n".join([*kept, line]))
    with pytest.raises(CardError, match=rf"(?s)mine\.yaml: not a valid card:.*{fault}"):
        load_task(str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("mine", "not a dataset of probekit.* For a table of your own: module: table"),
        ("splits", "not a dataset of probekit.* For a table of your own: module: table"),
        ("_tables", "not a dataset of probekit.* For a table of your own: module: table"),
        ("ecs50", "not a dataset of probekit. Did you mean 'esc50'"),
        ("../evil", r"\.\./evil cannot be imported"),
        ("a.b", "no module named 'a'. Install its package"),
    ],
)
def test_card_with_an_unknown_module_is_refused(tmp_path, module, reason):
    (tmp_path / "mine.yaml").write_text(CARD.replace("module: table", f"module: {module}"))
    expected = rf"^task mine: module '{re.escape(module)}' of its card: {reason}"
    with pytest.raises(CardError, match=expected):
        load_task(str(tmp_path / "mine.yaml")).manifest(tmp_path)


def test_table_module_without_a_table_says_what_it_needs(tmp_path):
    (tmp_path / "mine.yaml").write_text(CARD.replace("options: {csv: clips.csv}", ""))
    with pytest.raises(CardError, match="needs options"):
        load_task(str(tmp_path / "mine.yaml")).manifest(tmp_path)


MODULES = [m.name for m in pkgutil.iter_modules(datasets.__path__) if m.name[0] != "_"]


@pytest.mark.parametrize("name", MODULES)
def test_a_card_without_an_option_that_its_module_needs_is_refused(tmp_path, name):
    module = import_module(f"{datasets.__name__}.{name}")
    source, needed = (
        Path(module.__file__).read_text(encoding="utf-8"),
        getattr(module, "NEEDED", ()),
    )
    read = set(re.findall(r"options\[['\"](\w+)['\"]\]", source))
    tested = set(re.findall(r"['\"](\w+)['\"] (?:not )?in (?:card\.)?options", source))
    with_default = set(re.findall(r"options\.get\(['\"](\w+)['\"]", source))
    assert read - tested - with_default - {"standin"} == set(needed) & read
    for missing in needed:
        options = ", ".join(f"{option}: x" for option in needed if option != missing)
        card = CARD.replace("module: table", f"module: {name}")
        (tmp_path / "mine.yaml").write_text(card.replace("csv: clips.csv", options))
        expected = (
            rf"^mine: a task of module '{name}' needs option '{missing}'\. "
            rf"Write it into its card: options: {{{missing}: …}}$"
        )
        with pytest.raises(CardError, match=expected):
            load_task(str(tmp_path / "mine.yaml")).manifest(tmp_path)


@pytest.mark.parametrize("name", MODULES)
def test_each_module_knows_the_options_that_it_reads(tmp_path, name):
    module = import_module(f"{datasets.__name__}.{name}")
    source = Path(module.__file__).read_text(encoding="utf-8")
    pattern = r"options(?:\.get\(|\[)(['\"])(\w+)\1"
    assert {match[2] for match in re.finditer(pattern, source)} <= set(module.OPTIONS)
    card = CARD.replace("module: table", f"module: {name}").replace("csv: clips.csv", "sved: 1")
    (tmp_path / "mine.yaml").write_text(card)
    task = load_task(str(tmp_path / "mine.yaml"))
    known = re.escape(", ".join(sorted(module.OPTIONS)) or "none")
    expected = rf"^unknown option of mine \(module {name}\) 'sved'\..* Known: {known}\.$"
    with pytest.raises(UnknownNameError, match=expected) as error:
        task.manifest(tmp_path)
    assert ("Did you mean 'seed'" in str(error.value)) == ("seed" in module.OPTIONS)
    with pytest.raises(UnknownNameError, match=expected):
        task.write_standin(tmp_path / "standin")


def test_options_of_a_users_module_are_checked_where_it_lists_them(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBEKIT_CARDS", str(tmp_path))
    code = (
        "from probekit.data.manifest import from_rows\n\n"
        "def load(card, root):\n"
        "    rows = [{'clip_id': card.options['id'], 'path': 'a.wav', 'split': 'train'}]\n"
        "    return from_rows(card.dataset, rows)\n"
    )
    for name, lines in (("free", ""), ("strict", "OPTIONS = ('id',)\n")):
        (tmp_path / f"{name}.py").write_text(f"{lines}{code}")
        text = CARD.replace("name: mine", f"name: {name}").replace("csv: clips.csv", "id: a, x: 1")
        (tmp_path / f"{name}.yaml").write_text(text.replace(": table", f": {name}.py"))
    assert load_task("free").manifest(tmp_path).clip_ids == ["a"]
    expected = r"^unknown option of strict \(module strict.py\) 'x'\..* Known: id\.$"
    with pytest.raises(UnknownNameError, match=expected):
        load_task("strict").manifest(tmp_path)
