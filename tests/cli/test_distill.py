"""``probekit distill`` as people use it."""

import json

import pytest

from probekit.extraction.extract import extract


@pytest.fixture(scope="module")
def workspace(corpus, tmp_path_factory):
    """A table of the tiny corpus, and a teacher's frames."""
    base = tmp_path_factory.mktemp("distill")
    rows = ["clip_id,path,label,split"]
    for k, path in enumerate(sorted(corpus.rglob("*.*"))):
        part = ("train", "train", "valid", "test")[k % 4]
        rows.append(f"{path.stem},{path.relative_to(corpus).as_posix()},{path.parent.name},{part}")
    (base / "mine.csv").write_text("\n".join(rows) + "\n")
    extract(["melstats"], task=str(base / "mine.csv"), root=corpus, cache=base / "cache",
            frames=True)  # fmt: skip
    return base


@pytest.fixture
def distill(main, workspace, corpus, tmp_path):
    def run(*arguments):
        folders = ("--cache", workspace / "cache", "--root", corpus, "--reports", tmp_path / "r")
        short = ("--student", "short-chunk:width=2", "--device", "cpu", "--batch", "8")
        return main("distill", "--task", workspace / "mine.csv", *folders, *short, *arguments)

    return run


def test_a_table_says_what_came_out(distill, main, corpus, tmp_path):
    taught = ("--method", "con-reg", "--teacher", "melstats:pool=mean")
    done = distill("--epochs", "2", *taught, "--seeds", "2")
    assert done.returncode == 0, done.stderr
    title, _, head, first, second, mean, _, extractor = done.stdout.splitlines()
    assert title.strip() == "mine: mine"
    for word in ("method", "student", "accuracy", "95 % interval", "on validation", "epoch"):
        assert word in head
    assert "sd over folds" not in head
    assert "con-reg, 2 epochs, batch 8 (melstats:pool=mean)" in first and "24 of 24" in first
    assert "100 %, seed 0" in first and "100 %, seed 1" in second and "100 %, 2 seeds" in mean
    name, _, where = extractor.rpartition(" runs/")[2].partition(" ")
    assert (tmp_path / "r" / "students" / name / "card.yaml").exists()
    assert where == f"--reports {tmp_path / 'r'}"  # what is printed does it
    options = extractor.rpartition(": ")[2].split()
    done = main("extract", *options, "--audio", corpus, "--limit", 1, "--cache", tmp_path / "c")
    assert done.returncode == 0, done.stderr


def test_trained_students_are_listed(distill, main, tmp_path, monkeypatch):
    monkeypatch.setenv("PROBEKIT_REPORTS", str(tmp_path / "r"))
    name = "runs/" + distill("--epochs", "1").stdout.split(" runs/")[1].split()[0]
    one = json.loads(main("extractors", "--json").stdout)[-1]
    assert one["extractor"] == name and "embedding" in one["streams"]
    assert "student" in main("extractors", "show", name).stdout
    (tmp_path / "r" / "students" / "damaged").mkdir()
    (tmp_path / "r" / "students" / "damaged" / "card.yaml").write_text("name: [")
    listed = main("extractors")
    assert listed.returncode == 0 and "damaged" in listed.stderr and name in listed.stdout


def test_json_is_the_results(distill, tmp_path):
    done = distill("--epochs", "1", "--json")
    (path,) = (tmp_path / "r").rglob("results/*/*.json")
    assert json.loads(done.stdout) == [json.loads(path.read_text())]
    assert json.loads(distill("--epochs", "1", "--json").stdout) == json.loads(done.stdout)


def test_students_stand_beside_probes(distill, main, workspace, corpus, tmp_path):
    distill("--epochs", "1")
    distill("--epochs", "1", "--method", "l2", "--teacher", "melstats", "--alpha", "2")
    folders = ("--cache", workspace / "cache", "--root", corpus, "--reports", tmp_path / "r")
    main("evaluate", "--task", workspace / "mine.csv", "-e", "melstats", *folders)
    listed = main("results", "ls", "--reports", tmp_path / "r").stdout
    plain, taught = "none, 1 epoch, batch 8", "l2, alpha 2, 1 epoch, batch 8 (melstats, vectors)"
    for name in (plain, taught, "student:short-chunk:width=2"):
        assert name in listed
    done = main("compare", "melstats", f"{plain} / student:short-chunk:width=2", "--task", "mine",
                "--reports", tmp_path / "r")  # fmt: skip
    assert done.returncode == 0 and "6 test clips" in done.stdout
    run = json.loads(main("results", "show", plain, "--json", "--reports", tmp_path / "r").stdout)
    shown = main("results", "show", run[0]["run"][:12], "--reports", tmp_path / "r").stdout
    lines = [line.split(maxsplit=1) for line in shown.splitlines()]
    for row in (["student", "short-chunk:width=2"], ["recipe", "default"], ["crop", "0.55 s"]):
        assert row in [[word.strip() for word in line] for line in lines]
    checked = main("results", "verify", "--reports", tmp_path / "r")
    assert "3 of 3 results" in checked.stdout


def test_what_needs_its_teacher_is_no_extractor(distill):
    done = distill("--epochs", "1", "--method", "film", "--teacher", "melstats")
    assert done.returncode == 0 and "extractor" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--fraction", "half"), "--fraction must be numbers separated by commas, got 'half'"),
        (("--method", "con-reg"), "error: --method con-reg needs --teacher"),
        (("--method", "conreg", "--teacher", "melstats"), "Did you mean 'con-reg'"),
        (("--teacher", "nothing", "--method", "l1"), "nothing"),
        (("--epochs", "0"), "--epochs"),
    ],
)
def test_mistakes_are_one_line(distill, arguments, words):
    done = distill(*arguments)
    assert done.returncode == 2 and words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_help_needs_nothing_heavy(cli):
    code = (
        "import sys; sys.argv = ['probekit', 'distill', '--help']\n"
        "from probekit import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'sklearn', 'pandas') if m in sys.modules])"
    )
    done = cli(code=code)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    assert "Examples" in done.stdout and "con-reg" in done.stdout
