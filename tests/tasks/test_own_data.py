"""The commands of docs/own-data.md, in their order, on recordings made for its table."""

import csv
import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from probekit.cache.manifests import save_manifest
from probekit.data import readers
from probekit.errors import ProbekitError
from probekit.probes.features import find_features
from probekit.tasks.standin.writer import StandInWriter
from probekit.tasks.task_clips import resolve_clips

pytestmark = pytest.mark.usefixtures("small_grid")

TEXT = (Path(__file__).parents[2] / "docs/own-data.md").read_text("utf-8")
BIRDS = ("blackbird", "wren")


def blocks(kind):
    return re.findall(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def garden(tmp_path, monkeypatch):
    """The recordings that the page speaks of; each is as long as its table says."""
    stage = StandInWriter(tmp_path, 10)
    for bird, label in enumerate(BIRDS):
        for k in range(10):
            stage.write_audio(f"birdsong/{label}/{k}.wav", [bird], seconds=0.3, sr=16000)
    [table] = blocks("csv")
    stage.write_text("clips.csv", table)
    for row in csv.DictReader(table.splitlines()):
        bird = [BIRDS.index(row["label"])]
        if not (tmp_path / row["path"]).exists():
            stage.write_audio(row["path"], bird, seconds=3, sr=16000)
    card, _ = blocks("yaml")
    stage.write_text("my-cards/birds.yaml", card)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands_of_the_page_run_in_their_order(garden, main, monkeypatch):
    said = {}
    for line in "".join(blocks("sh")).splitlines():
        monkeypatch.setenv("PROBEKIT_CARDS", "")  # --cards adds to it, a command at a time
        done = main(*shlex.split(line)[1:])
        assert done.returncode == 0, (line, done.stderr)
        said[line] = done.stdout
    [last] = [text for line, text in said.items() if "evaluate --task birds " in line]
    assert "balanced-accuracy" in last
    assert "5 stratified random folds" in said["probekit evaluate --task birdsong -e melstats"]
    assert "blackbird 5, wren 5\n3 groups\n" in said["probekit data check clips.csv --decode"]
    assert "\nfold 3  " in said["probekit --cards my-cards data check birds --root ."]


def test_table_without_paths_is_evaluated_but_not_extracted(garden, main):
    extract = ("extract", "-e", "melstats", "--task")
    assert main(*extract, "clips.csv").returncode == 0
    with (garden / "clips.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    lines = ["clip_id,label,split", *(f"{r['clip_id']},{r['label']},{r['split']}" for r in rows)]
    (garden / "other").mkdir()
    (garden / "other/clips.csv").write_text("\n".join(lines))
    done = main("evaluate", "--task", "other/clips.csv", "-e", "melstats", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["clips"]["used"] == 10
    done = main(*extract, "other/clips.csv")
    assert done.returncode == 2
    assert "no column 'path'" in done.stderr


def test_tables_of_one_name_do_not_overwrite_each_other(tmp_path, main, monkeypatch):
    for number, folder in enumerate(("pa", "pb")):
        stage = StandInWriter(tmp_path / folder, 8, seed=number)
        rows = [(f"c{k}", f"{k}.wav", BIRDS[k % 2]) for k in range(10)]
        for k in range(10):
            stage.write_audio(f"{k}.wav", [k % 2 + 5 * number], seconds=0.3, sr=16000)
        stage.write_table("clips.csv", rows, header=("clip_id", "path", "label"))

    def extract(folder, *more):
        monkeypatch.chdir(tmp_path / folder)
        return main("extract", "-e", "melstats", "--task", "clips.csv", *more)

    def evaluate(task):
        done = main("evaluate", "--task", task, "-e", "melstats", "--probe", "knn", "--json")
        return json.loads(done.stdout)[0]["run"] if done.returncode == 0 else done.stderr

    assert extract("pa").returncode == 0
    before = evaluate(tmp_path / "pa/clips.csv")
    done = extract("pb")
    assert done.returncode == 2
    for said in (tmp_path / "pa/0.wav", tmp_path / "pb/0.wav", "--name NAME", "10 of 10"):
        assert str(said) in done.stderr
    assert evaluate(tmp_path / "pa/clips.csv") == before
    assert "clip 'c0' was" in evaluate(tmp_path / "pb/clips.csv")
    assert extract("pb", "--name", "pb").returncode == 0
    assert extract("pb", "--name", "not/a name").returncode == 2
    assert evaluate("pb") != before
    assert evaluate(tmp_path / "pb/clips.csv") == evaluate("pb")  # known by where it is
    assert evaluate(tmp_path / "pa/clips.csv") == before
    done = main("extract", "-e", "melstats", "--audio", tmp_path / "pb", "--name", "clips")
    assert (done.returncode, "of which none is in" in done.stderr) == (2, True)


def test_table_whose_folder_moved_goes_on(garden, main):
    assert main("extract", "-e", "melstats", "--task", "clips.csv").returncode == 0
    new = garden / "new"
    new.mkdir()
    for name in ("clips.csv", "day1", "day2", "day3"):
        (garden / name).rename(new / name)
    done = main("extract", "-e", "melstats", "--task", new / "clips.csv")
    assert (done.returncode, "nothing to do, 10 of 10" in done.stdout) == (0, True)


def test_folder_of_folders_is_a_task_for_every_command(garden, main, monkeypatch):
    assert (
        main("extract", "-e", "melstats", "--audio", "birdsong", "--name", "song").returncode == 0
    )
    for task in ("song", "birdsong", "./birdsong"):  # as it was kept; the folder itself
        done = main("data", "check", task)
        assert (done.returncode, done.stderr) == (0, "")
        assert "blackbird 10, wren 10" in done.stdout
        done = main("data", "leaks", task, "--identical")
        assert (done.returncode, "identical recordings: none" in done.stdout) == (0, True)
        shown = main("tasks", "show", task).stdout
        assert "5 stratified random folds" in shown
        assert "None" not in shown
    first, *_, last = sorted((garden / "birdsong").rglob("*.wav"))
    last.write_bytes(first.read_bytes())
    monkeypatch.chdir("/")  # a kept table knows where its recordings are
    assert main("data", "leaks", "song", "--identical").returncode == 1
    first.unlink()
    done = main("data", "check", "song")
    assert (done.returncode, "1 of 20 recordings are missing" in done.stdout) == (1, True)
    assert main("data", "check", "song", "--cache", garden / "none").returncode == 2


def test_misspelt_name_of_what_was_extracted_is_answered_with_it(garden, main):
    main("extract", "-e", "melstats", "--audio", "birdsong")
    for command in (("evaluate", "-e", "melstats", "--task"), ("data", "check"), ("tasks", "show")):
        done = main(*command, "birdson")
        assert done.returncode == 2
        assert "unknown task 'birdson'. Did you mean 'birdsong'" in done.stderr


def test_folder_as_a_task_is_extracted_and_evaluated(garden, main):
    assert main("extract", "-e", "melstats", "--task", "birdsong").returncode == 0
    done = main("evaluate", "--task", "birdsong", "-e", "melstats", "--probe", "knn")
    assert done.returncode == 0
    done = main("extract", "-e", "melstats", "--task", "birdsong", "--root", "day1")
    assert (done.returncode, "leave out --root" in done.stderr) == (2, True)


def test_folder_called_like_a_task_does_not_hide_it(garden, main):
    (garden / "birdsong").rename(garden / "fsdd")
    done = main("extract", "-e", "melstats", "--task", "fsdd")
    assert (done.returncode, "needs --root" in done.stderr) == (2, True)


# ---- one name, two folders


@pytest.fixture
def sounds(tmp_path, monkeypatch):
    """Write ``sounds(folder, number)``: a folder with two labels of five recordings each."""
    monkeypatch.chdir(tmp_path)

    def write(folder, number=0, labels=("p", "q")):
        stage = StandInWriter(tmp_path / folder, 8, seed=number)
        for k, label in enumerate(labels):
            for take in range(5):
                name = f"{label}/{take}.wav"
                stage.write_audio(name, [k + 3 * number], seconds=0.3 + 0.01 * number, sr=8000)
        return tmp_path / folder

    return write


@pytest.fixture
def run_of(main):
    """Run a command with mfcc; returns its exit code and what it printed."""

    def call(*arguments):
        done = main(*arguments, "-e", "mfcc", "--cache", "cache")
        return (done.returncode, done.stdout + done.stderr)

    return call


def identify(task):
    """Return the dataset and the digest of the clips that evaluate would score."""
    card, clips = resolve_clips(str(task), Path("cache"), None)
    find_features(Path("cache"), "mfcc", card.dataset, clips)
    return card.dataset, clips.digest()


def refusal(task):
    with pytest.raises(ProbekitError) as caught:
        identify(task)
    return str(caught.value)


@pytest.mark.parametrize("labels", [("p", "q"), ("r", "s")])  # the same clip ids, and others
def test_two_folders_of_one_name_are_told_apart(sounds, run_of, labels):
    sounds("x/train"), sounds("y/train", 1, labels)
    assert run_of("extract", "--audio", "x/train")[0] == 0
    first = identify("x/train")
    code, said = run_of("extract", "--audio", "y/train")
    assert (code, "'train' belongs to other recordings" in said, "--name NAME" in said) == (
        2,
        True,
        True,
    )
    assert identify("x/train") == identify("train") == first
    assert "belongs to other recordings" in refusal("y/train")
    assert run_of("extract", "--audio", "y/train", "--name", "y")[0] == 0
    assert identify("y/train") == identify("y") != first
    assert identify("x/train") == first
    code, said = run_of("extract", "--audio", "y/train")
    assert (code, "nothing to do, 10 of 10" in said) == (0, True)  # under the name that it has


@pytest.mark.parametrize(
    "names",
    [
        ("鳥", "犬"),
        ("Birds", "birds"),
        pytest.param(("a b", "a-b"), marks=pytest.mark.slow),
        pytest.param(("a_b", "a-b"), marks=pytest.mark.slow),
    ],
)
def test_names_that_differ_stay_different(sounds, run_of, names):
    for number, name in enumerate(names):
        if Path(name).exists():
            pytest.skip("this file system does not tell the names apart")
        sounds(name, number)
        assert run_of("extract", "--audio", name)[0] == 0
    assert [identify(name)[0] for name in names] == list(names)
    assert [identify(f"./{name}") for name in names] == [identify(name) for name in names]
    folders = sorted(path.name for path in Path("cache").glob("mfcc-*/*/"))
    assert folders == sorted(names)


def test_folder_that_was_replaced_by_another_one_is_noticed_by_its_content(sounds, run_of):
    sounds("x/train")
    assert run_of("extract", "--audio", "x/train")[0] == 0
    Path("x").rename("moved")
    assert run_of("extract", "--audio", "moved/train")[1].startswith(
        "mfcc: nothing to do, 10 of 10"
    )
    shutil.rmtree("moved")
    sounds("y/train", 1)
    code, said = run_of("extract", "--audio", "y/train")
    assert (code, "(10 of 10 clips differ)" in said) == (2, True)


def test_name_of_a_folder_here_and_of_clips_from_elsewhere_is_ambiguous(sounds, run_of):
    sounds("x/train")
    assert run_of("extract", "--audio", "x/train")[0] == 0
    first = identify("train")
    sounds("train", 1, ("r", "s"))
    said = refusal("train")
    assert "a folder here with other recordings" in said
    assert f"--task {Path('x/train').absolute()}" in said
    assert "belongs to other recordings" in refusal("./train")
    shutil.rmtree("train")
    Path("train").mkdir()  # without recordings it is no task
    assert identify("train") == first


@pytest.mark.parametrize("name", ["gtzan", "ESC50", "fsdd"])
def test_folder_called_like_a_task_is_refused_at_extraction(sounds, run_of, name):
    sounds(name)
    code, said = run_of("extract", "--audio", name)
    assert (code, f"{name!r} is the name of the task" in said) == (2, True)
    assert not Path("cache").exists()
    assert run_of("extract", "--audio", name, "--name", "Mine")[0] == 0
    assert identify(f"./{name}")[0] == "Mine"


def test_cache_of_an_earlier_version_goes_on(sounds, run_of):
    """It had names in lower case ASCII, and manifests without the place they were read from."""
    folder = sounds("Birds of 2024")
    old = readers.from_folder(folder, "birds-of-2024")
    assert run_of("extract", "--audio", "Birds of 2024", "--name", "birds-of-2024")[0] == 0
    shutil.rmtree("cache/manifests")
    save_manifest(Path("cache"), replace(old, source=None))
    code, said = run_of("extract", "--audio", "Birds of 2024")
    assert (code, "nothing to do, 10 of 10" in said) == (0, True)
    assert identify("Birds of 2024") == identify("birds-of-2024")


def test_mixed_cache_of_an_earlier_version_is_not_used_by_name(sounds, run_of):
    """Two folders could share a name as long as their clip ids differed."""
    for number, (folder, labels) in enumerate((("x/train", "pq"), ("y/train", "rs"))):
        sounds(folder, number, tuple(labels))
        shutil.rmtree("cache/manifests", ignore_errors=True)
        assert run_of("extract", "--audio", folder)[0] == 0
    for folder in ("x/train", "y/train"):
        save_manifest(Path("cache"), replace(readers.from_folder(Path(folder)), source=None))
    assert "stands for two sets of recordings" in refusal("train")
    assert identify("x/train")[0] == identify("y/train")[0] == "train"
    assert identify("x/train") != identify("y/train")


# ---- tables of recordings that are extracted already


def test_groups_of_copies_make_the_next_evaluation_clean(sounds, main, run_of):
    sounds("d")
    for take in range(5):
        shutil.copy(f"d/p/{take}.wav", f"d/p/copy{take}.wav")
    assert run_of("extract", "--audio", "d")[0] == 0
    arguments = ("-e", "mfcc", "--cache", "cache", "--probe", "knn", "--json")
    [result] = json.loads(main("evaluate", "--task", "d", *arguments).stdout)
    assert "10 of 15 test clips are byte-identical to training clips" in result["provenance"]
    done = main("data", "check", "d", "--cache", "cache")
    assert (done.returncode, "leak: 10 of 15 test clips are byte-identical" in done.stdout) == (
        1,
        True,
    )
    done = main("data", "leaks", "d", "--all", "--write-groups", "groups.csv", "--cache", "cache")
    assert done.returncode == 0, done.stderr
    assert "groups.csv: 15 clips, 5 groups of several clips" in done.stdout
    [result] = json.loads(main("evaluate", "--task", "groups.csv", *arguments).stdout)
    assert result["clips"]["used"] == 15  # from the embeddings of d
    assert not [note for note in result["provenance"] if "identical" in note]
    assert main("data", "check", "groups.csv", "--cache", "cache").returncode == 0
    code, said = run_of("extract", "--task", "groups.csv")
    assert (code, "nothing to do, 15 of 15" in said) == (0, True)


def test_segments_on_both_sides_are_said_everywhere(tmp_path, main, monkeypatch):
    """Labels are arbitrary: what is above one half is recordings recognized."""
    monkeypatch.chdir(tmp_path)
    stage = StandInWriter(tmp_path, 8)
    rows = []
    for k in range(10):
        stage.write_audio(f"{k}.wav", [k], seconds=2.0, sr=8000)
        rows += [
            (f"{k}.wav", n / 2, n / 2 + 0.5, "ab"[k % 2], "test" if n else "train")
            for n in range(4)
        ]
    stage.write_table(
        "made.csv", [row[:4] for row in rows], header=("path", "start", "end", "label")
    )
    stage.write_table("split.csv", rows, header=("path", "start", "end", "label", "split"))
    where = ("--cache", "cache")
    for table, protocol, leak in (
        ("made.csv", "5 stratified random folds that keep recordings together", False),
        ("split.csv", "the split of the table", True),
    ):
        note = "30 of 30 test clips come from recordings that training clips come from"
        done = main("data", "check", table, *where)
        assert (done.returncode, f"leak: {note}" in done.stdout) == (int(leak), leak)
        done = main("data", "leaks", table, *where)
        assert done.returncode == int(leak)
        assert ("recordings in several splits: 10, with 40 clips" in done.stdout) == leak
        main("extract", "-e", "mfcc", "--task", table, *where)
        done = main("evaluate", "-e", "mfcc", "--task", table, "--probe", "knn", "--json", *where)
        [result] = json.loads(done.stdout)
        assert result["protocol"] == protocol
        assert (note in result["provenance"]) == leak
        if not leak:
            assert result["score"] < 0.8


def test_embedding_of_other_seconds_is_not_used(tmp_path, main, monkeypatch):
    """A table whose onsets were not understood was extracted as whole recordings."""
    monkeypatch.chdir(tmp_path)
    stage = StandInWriter(tmp_path, 8)
    names = [f"{k}.wav" for k in range(10)]
    for k, name in enumerate(names):
        stage.write_audio(name, [k % 2], seconds=1.0, sr=8000)
    rows = [(f"c{k}", name, "ab"[k % 2], 0.0, 0.5) for k, name in enumerate(names)]
    stage.write_table("clips.csv", [row[:3] for row in rows], header=("clip_id", "path", "label"))
    arguments = ("-e", "mfcc", "--task", "clips.csv", "--cache", "cache")
    assert main("extract", *arguments).returncode == 0
    stage.write_table("clips.csv", rows, header=("clip_id", "path", "label", "onset", "offset"))
    done = main("evaluate", *arguments)
    assert (done.returncode, "another segment: extract it again" in done.stderr) == (2, True)
    assert main("extract", *arguments).returncode == 0
    assert main("evaluate", *arguments, "--probe", "knn").returncode == 0
