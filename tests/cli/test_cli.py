import json
import shutil

import numpy as np
import pytest
import typer

from probekit import cli as command_line
from probekit.cache import embeddings, part


def leaves(command, path=()):
    """All commands that do something, with the words that call them."""
    inner = getattr(command, "commands", {})
    if not inner or command.invoke_without_command:
        yield path
    for name, child in sorted(inner.items()):
        yield from leaves(child, (*path, name))


if not command_line.app.registered_commands:
    command_line._register()
COMMANDS = [path for path in leaves(typer.main.get_command(command_line.app)) if path]


@pytest.fixture
def extracted(main, corpus, tmp_path):
    cache = tmp_path / "cache"
    done = main("extract", "-e", "melstats", "--audio", corpus, "--cache", cache, "--limit", 4)
    assert done.returncode == 0, done.stderr
    return cache


def assert_error(done, *words):
    """One line on standard error, nothing else, and exit code 2."""
    assert done.returncode == 2
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


def test_all_commands_are_found():
    assert len(COMMANDS) >= 12
    assert {("extract",), ("tasks",), ("tasks", "show"), ("cache", "import")} <= set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_has_an_example(main, path):
    done = main(*path, "--help")
    assert done.returncode == 0
    assert done.stderr == ""
    assert f"Usage: probekit {' '.join(path)} " in done.stdout
    before, _, examples = done.stdout.partition("Example")
    assert before.strip().count("\n") >= 2  # a description too
    assert f"probekit {' '.join(path)}" in examples


@pytest.mark.parametrize("path", [(), ("data",)])
def test_without_arguments_the_help_is_shown(main, path):
    done = main(*path)
    assert done.returncode == 2
    assert "Commands" in done.stdout
    assert "error" not in done.stderr


@pytest.mark.parametrize(
    ("group", "command"), [("results", "ls"), ("cache", "ls"), ("weights", "list")]
)
def test_a_group_alone_lists(main, extracted, monkeypatch, group, command):
    monkeypatch.setenv("PROBEKIT_CACHE", str(extracted))
    for more in ((), ("--json",)):
        alone, whole = main(group, *more), main(group, command, *more)
        assert (alone.returncode, alone.stderr) == (0, "")
        assert alone.stdout == whole.stdout
    assert_error(
        main(group, "--json", command), f"follow the command: probekit {group} {command} …"
    )


def test_the_options_of_a_group_reach_its_list(main, extracted, tmp_path):
    assert "melstats" in main("cache", "--cache", extracted).stdout
    assert str(tmp_path) in main("results", "--reports", tmp_path).stdout


def test_a_process_speaks_the_same_way(cli, tmp_path):
    done = cli("tasks", "show", "fsdd")
    assert (done.returncode, done.stderr) == (0, "")
    assert "title: " in done.stdout
    assert_error(cli("tasks", "show", "fsd"), "Did you mean 'fsdd'")
    assert_error(cli("extract"), "Missing option '-e'", "See probekit extract --help")


@pytest.mark.parametrize(
    "arguments, words",
    [
        ("extrct", ["No such command 'extrct'", "Did you mean", "'extract'"]),
        ("cache verfy", ["Did you mean", "'verify'", "See probekit cache --help"]),
        ("extract -e melstats --audoi .", ["--audoi", "See probekit extract --help"]),
        ("extract -e melstats --audio . --limit some", ["--limit", "integer"]),
        ("extract -e melstats --audio . --limit 0", ["--limit", "1"]),
        ("cache import x", ["Missing option '--", "See probekit cache import --help"]),
        ("tasks show", ["Missing argument"]),
        ("extract .", ["Missing option '-e'", "Did you mean --audio .?"]),
        ("extract -e melstats .", ["unexpected extra argument", "Did you mean --audio .?"]),
        ("extract --frames clips.csv", ["Missing option '-e'", "See probekit extract --help"]),
        ("evaluate -e melstats .", ["Missing option '--task'", "Did you mean --task .?"]),
        ("extract -e melstats --audio", ["'--audio' requires", "See probekit extract --help"]),
    ],
)
def test_wrong_arguments(main, arguments, words):
    assert_error(main(*arguments.split()), *words)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ("extract -e melstat --audio CORPUS", ["unknown extractor 'melstat'", "'melstats'"]),
        ("extract -e melstats:pool=mean --audio CORPUS", ["its stream stats is one vector"]),
        ("extract -e mfcc:pool=maen --audio CORPUS", ["unknown pooling of mfcc", "'mean'"]),
        ("extract -e melstats --task fsd --root CORPUS", ["unknown task 'fsd'", "'fsdd'"]),
        ("extract -e melstats:streem=a --audio CORPUS", ["unknown parameter of melstats"]),
        ("extract -e melstats --streams stat --audio CORPUS", ["Did you mean 'stats'"]),
        ("extract -e melstats --audio CORPUS --precision fp8", ["Did you mean", "'fp16'"]),
        ("extract -e melstats --audio gone", ["gone: no such folder"]),
        ("extract -e melstats --audio EMPTY", ["no recordings found", ".flac", ".wav"]),
        ("extract -e melstats --task fsdd --root EMPTY", ["not the folder of fsdd", "recordings"]),
        ("extract -e melstats --manifest gone.csv", ["gone.csv: no such file"]),
        ("extract -e melstats", ["--task TASK --root DIR, --audio DIR, or --manifest FILE"]),
        ("extract -e melstats --task fsdd --audio CORPUS", ["exactly one of --task TASK"]),
        (
            "extract -e melstats --audio CORPUS --device gpu",
            ["--device must be auto, cpu or a torch device", "got 'gpu'"],
        ),
        ("extract -e melstats --audio CORPUS --root CORPUS", ["leave it out with --audio"]),
        ("extract -e melstats --audio CORPUS --cache FILE", ["file", "cannot be written"]),
        ("tasks show gtzn", ["Did you mean 'gtzan'"]),
        ("extractors show vgish", ["Did you mean 'vggish'"]),
        ("--cards gone tasks", ["--cards gone: no such folder"]),
        ("cache info melstats tiny --cache EMPTY", ["no embeddings of 'melstats' for 'tiny'"]),
        ("cache verify --cache gone", ["gone: no such folder", "--cache DIR"]),
        ("cache import Mine --manifest TABLE --array ARRAY --dataset x", ["got 'Mine'", "'mine'"]),
        ("cache import mine --manifest TABLE --array gone.npy --dataset x", ["gone.npy: no such"]),
        ("cache import mine --manifest TABLE --array ARRAY --dataset ../x", ["got '../x'"]),
    ],
)
def test_what_cannot_be_done(main, corpus, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "table.csv").write_text("clip_id\na\n")
    np.save(tmp_path / "a.npy", np.ones((1, 2)))
    places = {
        "CORPUS": corpus,
        "EMPTY": "empty",
        "FILE": "file",
        "TABLE": "table.csv",
        "ARRAY": "a.npy",
    }
    assert_error(main(*(places.get(word, word) for word in arguments.split())), *words)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        "cache ls",
        "cache info melstats tiny",
        "cache verify",
        "tasks",
        "tasks show fsdd",
        "extractors",
        "extractors show vggish",
        "results ls",
    ],
)
def test_json_is_json(main, extracted, monkeypatch, arguments):
    monkeypatch.setenv("PROBEKIT_CACHE", str(extracted))
    done = main(*arguments.split(), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    json.loads(done.stdout)
    plain = main(*arguments.split())
    assert plain.returncode == 0
    with pytest.raises(json.JSONDecodeError):
        json.loads(plain.stdout)


def test_lists_as_json_hold_numbers(main):
    found = {row["extractor"]: row for row in json.loads(main("extractors", "--json").stdout)}
    assert found["vggish"]["parameters"] == 72141184
    assert found["melstats"]["parameters"] is None
    assert (found["vggish"]["rate"], found["vggish"]["streams"]["relu"]) == (16000, 128)
    tasks = {row["task"]: row for row in json.loads(main("tasks", "--json").stdout)}
    assert (tasks["fsdd"]["classes"], tasks["fsdd"]["clips"]) == (10, 3000)
    assert {type(row["clips"]) for row in tasks.values()} <= {int, type(None)}
    table = main("extractors").stdout
    assert "72,141,184" in table
    assert "16,000 Hz" in table
    assert "relu (128), prerelu (128)" in table


@pytest.mark.parametrize("path", ["tasks show gtzan", "extractors show mfcc"])
def test_what_is_empty_is_not_shown(main, path):
    done = main(*path.split())
    assert done.returncode == 0
    assert "None" not in done.stdout


def test_the_cache_is_listed(main, extracted):
    [row] = json.loads(main("cache", "ls", "--cache", extracted, "--json").stdout)
    assert (row["extractor"], row["dataset"], row["clips"], row["failed"]) == (
        "melstats",
        "tiny",
        4,
        0,
    )
    assert row["fingerprint"] in main("cache", "ls", "--cache", extracted).stdout
    info = json.loads(
        main("cache", "info", "melstats", "tiny", "--cache", extracted, "--json").stdout
    )
    assert (info["clips"], info["failures"]) == (4, {})
    assert info["streams"]["stats"] == {"kind": "clip", "dim": 336, "kept": ["clip"]}
    assert_error(
        main("cache", "info", "melstat", "tiny", "--cache", extracted), "Did you mean 'melstats'?"
    )
    assert_error(
        main("cache", "info", "melstats", "tini", "--cache", extracted), "Did you mean 'tiny'?"
    )


def test_an_empty_cache_says_what_to_do(main, tmp_path):
    done = main("cache", "ls", "--cache", tmp_path)
    assert done.returncode == 0
    assert "no embeddings in" in done.stdout
    assert "probekit extract" in done.stdout


def test_damage_is_listed_with_exit_code_1(main, extracted):
    assert "1 of 1 parts" in main("cache", "verify", "--cache", extracted).stdout
    [path] = extracted.glob("*/*/part-*.h5")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    done = main("cache", "verify", "--cache", extracted)
    assert (done.returncode, done.stderr) == (1, "")
    assert "0 of 1 parts" in done.stdout
    assert f"{path}: its bytes are not those that were written" in done.stdout
    assert "probekit cache repair melstats@" in done.stdout
    found = json.loads(main("cache", "verify", "--cache", extracted, "--json").stdout)
    assert list(found["damaged"]) == [str(path)]


@pytest.mark.parametrize(
    "name, weights, words",
    [
        ("vggish", "vgish=random:0", "among the extractors of -e: vggish. Did you mean 'vggish'?"),
        ("melstats", "vggish=random:0", "among the extractors of -e: melstats"),
        ("melstats", "melstats=random:0", "takes no weights file"),
        ("vggish", "vggish.pac=random:0", "Did you mean 'pca'?"),
    ],
)
def test_weights_that_nothing_would_use_are_an_error(main, corpus, tmp_path, name, weights, words):
    done = main("extract", "-e", name, "--audio", corpus, "--weights", weights,
                "--cache", tmp_path / "cache")  # fmt: skip
    assert_error(done, f"--weights {weights.partition('=')[0]}", words)
    assert not (tmp_path / "cache").exists()


def test_failures_are_exit_code_1(main, corpus, tmp_path):
    audio = shutil.copytree(corpus, tmp_path / "audio")
    (audio / "tone/tone0.wav").write_text("no")
    arguments = ["extract", "-e", "melstats", "--audio", audio, "--limit", 24]
    done = main(*arguments)
    assert (done.returncode, done.stderr) == (1, "")
    assert "tone/tone0: not audio, or damaged" in done.stdout
    dry = main(*arguments, "--dry-run", "--json")
    [summary] = json.loads(dry.stdout)
    assert (dry.returncode, summary["dry"], summary["cached"]) == (1, True, 23)


@pytest.mark.parametrize("form", ["--reports FILE", "--reports=FILE"])
def test_results_that_cannot_be_written_say_where_else(main, tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").touch()
    for folder, said in (("FILE", True), ("gone", False)):
        place = tmp_path / folder / "results"
        monkeypatch.setattr("probekit.doctor.run_checks", lambda place=place, **_: place.mkdir())
        done = main("doctor", *form.split())
        assert_error(done, str(place))
        assert done.stderr.endswith("directory. Choose another folder with --reports\n") == said


def test_arrays_from_elsewhere(main, tmp_path):
    ids = [f"clip{k}" for k in range(5)]
    (tmp_path / "clips.csv").write_text(
        "file,label\n" + "".join(f"/far/{i}.wav,{'ab'[k % 2]}\n" for k, i in enumerate(ids))
    )
    np.save(tmp_path / "a.npy", np.arange(10).reshape(5, 2))
    np.save(tmp_path / "b.npy", -np.arange(5))
    arguments = (
        "cache",
        "import",
        "mine",
        "--manifest",
        tmp_path / "clips.csv",
        "--clip-id",
        "file:stem",
        "--array",
        tmp_path / "a.npy",
        "--array",
        tmp_path / "b.npy",
        "--dataset",
        "songs",
        "--note",
        "ours",
        "--cache",
        tmp_path / "cache",
    )
    done = main(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "mine: 5 clips of songs, 3 numbers each" in done.stdout
    told = json.loads(main(*arguments[:-1], tmp_path / "other", "--json").stdout)
    assert (told["clips"], told["dim"], told["dataset"]) == (5, 3, "songs")
    found = embeddings.find_embeddings(tmp_path / "cache", "mine", "songs")
    np.testing.assert_array_equal(found.vectors(["clip3", "clip1"]), [[6, 7, -3], [2, 3, -1]])
    assert all(part.verify_part(path) is None for path in found.folder.glob("*.h5"))


def test_the_version_is_the_package_s(main):
    import probekit

    assert main("--version").stdout == f"probekit {probekit.__version__}\n"


def test_own_cards_by_option(main, tmp_path):
    (tmp_path / "mine.yaml").write_text("name: mine\n")
    (tmp_path / "more").mkdir()  # a second folder adds to the first
    done = main("--cards", tmp_path, "--cards", tmp_path / "more", "extractors", "show", "mine")
    assert done.returncode == 2
    assert f"error: {tmp_path / 'mine.yaml'}: not a valid card:" in done.stderr
    assert "  sample_rate: this field is required" in done.stderr


@pytest.mark.parametrize(
    "error, last",
    [
        (PermissionError(13, "Permission denied", "/x/y"), "error: /x/y: permission denied"),
        (OSError(28, "No space left on device"), "error: no space left on device"),
        (
            RuntimeError("boom"),
            "error: this is a bug in probekit; please report it with the lines above",
        ),
    ],
)
def test_what_nobody_thought_of_is_exit_code_2(main, monkeypatch, error, last):
    def fail(kind):
        raise error

    monkeypatch.setattr("probekit.cards.loader.card_paths", fail)
    done = main("tasks")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == last
    assert ("Traceback" in done.stderr) == isinstance(error, RuntimeError)
