"""``probekit reproduce``, as people run it."""

import json

import pytest
import yaml

import probekit
from probekit import cards
from probekit.errors import DataError
from probekit.reproduce.artist_networks import ArtistNetworks
from probekit.tasks.task import load_task

PAPER = {
    "name": "small",
    "title": "A small paper",
    "tables": [
        {
            "name": "table-1",
            "title": "Scores",
            "where": "Table 1",
            "task": "esc10",
            "metric": "accuracy",
            "columns": [{"label": "accuracy"}],
            "rows": [{"label": "statistics", "embedding": "melstats", "values": [0.7]}],
        }
    ],
}


def test_a_rehearsal_is_whole_and_marked(main, tmp_path, monkeypatch):
    (tmp_path / "cards" / "reports").mkdir(parents=True)
    (tmp_path / "cards" / "reports" / "small.yaml").write_text(yaml.safe_dump(PAPER))
    monkeypatch.setenv("PROBEKIT_CARDS", str(tmp_path / "cards"))
    done = main("reproduce", "small", "--rehearse", tmp_path / "r", "--clips", "20")
    assert done.returncode == 0, done.stderr
    assert "small (stand-in data, random weights): 1 of 1 scores" in done.stdout
    folder = tmp_path / "r" / "reports" / "small"
    for name in ("small.md", "small.json", "table-1.md", "table-1.tex", "table-1.csv"):
        assert "stand-in data" in (folder / name).read_text().lower()
    # once more, from what is kept
    again = main("reproduce", "small", "--rehearse", tmp_path / "r", "--clips", "20", "--json")
    [score] = json.loads(again.stdout)["scores"]
    assert again.returncode == 0 and score["status"] == "computed"
    assert score["difference"] is None


def test_without_data_everything_is_listed(main, tmp_path):
    done = main("reproduce", "kumar2021", "--cache", tmp_path / "c", "--reports", tmp_path / "o")
    assert done.returncode == 1
    assert "kumar2021: 0 of 20 scores and 0 of 5 figures" in done.stdout
    for name in cards.load_paper_card("kumar2021").tables[1].rows:
        assert f"--root {name.task}=DIR" in done.stdout
    assert "--weights talnet=FILE" in done.stdout and "--weights weanet=FILE" in done.stdout
    assert (tmp_path / "o" / "kumar2021" / "table-2.tex").is_file()


def test_counts_need_no_data(main, tmp_path):
    done = main("reproduce", "hung2022", "--only", "table-2", "--reports", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["whole"] and content["computed"] == "30 of 30 scores and 0 of 0 figures"
    text = (tmp_path / "hung2022" / "table-2.md").read_text()
    assert "| 72.2M | 72.2M |" in text and "| 38k | 38k |" in text
    # every count is that of the paper, as it prints it
    assert sum(line.split("|")[7].strip() == "0" for line in text.splitlines()[4:34]) == 30


def test_what_students_need_is_said(main, tmp_path):
    done = main("reproduce", "lee2019", "--reports", tmp_path, "--cache", tmp_path / "c")
    assert done.returncode == 1
    assert "--weights cf=FILE" in done.stdout and "--root gtzan=DIR" in done.stdout
    assert "lee2019: 0 of 44 scores" in done.stdout
    content = json.loads((tmp_path / "lee2019" / "lee2019.json").read_text())
    own = {(s["table"], s["row"], s["column"]): s for s in content["scores"]}
    assert all(s["status"] == "missing" for s in own.values())
    base, kd = (own["transfer", row, "genre (GTZAN)"] for row in ("base", "kd"))
    assert "--weights cf" not in base["needs"] and "--weights cf=FILE" in kd["needs"]
    # of the networks of hung2022, the files that its settings need and no others
    done = main("reproduce", "hung2022", "--reports", tmp_path, "--cache", tmp_path / "c")
    assert "mel256_env" in done.stdout and "mel256_music" in done.stdout
    assert "linear" not in done.stdout and "mel128" not in done.stdout


def test_the_cost_of_training_is_said_before_it_starts(main, tmp_path, monkeypatch):
    table = {**PAPER["tables"][0], "network": "short-chunk:width=2"}
    table["rows"] = [{"label": "a", "name": "a", "recipe": "lee2021-supervised",
                      "statistic": "last", "values": [0.7]}]  # fmt: skip
    (tmp_path / "cards" / "reports").mkdir(parents=True)
    path = tmp_path / "cards" / "reports" / "small.yaml"
    path.write_text(yaml.safe_dump({**PAPER, "tables": [table]}))
    monkeypatch.setenv("PROBEKIT_CARDS", str(tmp_path / "cards"))
    load_task("esc10").write_standin(tmp_path / "ESC-50", 20)
    folders = ("--reports", tmp_path / "o", "--cache", tmp_path / "c")
    given = ("--root", f"esc10={tmp_path / 'ESC-50'}", "--epochs", "1", "--device", "cpu")
    done = main("reproduce", "small", *given, *folders)
    assert done.returncode == 0, done.stderr
    first, second, *_ = done.stderr.splitlines()
    assert first.startswith("training: 1 runs, 5 networks, 0 PFLOP, so about less than 0.1 GPU")
    assert second == "esc10, short-chunk:width=2, a (1 of 1)"
    assert "1 of 1 scores" in done.stdout


def test_what_networks_need_is_said(main, tmp_path):
    done = main("reproduce", "lee2021", "--reports", tmp_path / "o", "--cache", tmp_path / "c")
    assert done.returncode == 1 and "GPU hours" not in done.stderr  # nothing to train on
    for text in ("--root esc10=DIR", "--root urbansound8k=DIR", "--weights resnet50v2=FILE"):
        assert text in done.stdout
    assert "lee2021: 0 of 40 scores and 0 of 1 figures" in done.stdout


def test_networks_of_kim2018_need_the_dataset(main, tmp_path):
    folders = ("--reports", tmp_path / "o", "--cache", tmp_path / "c")
    done = main("reproduce", "kim2018", *folders, "--json")
    assert done.returncode == 1
    content = json.loads(done.stdout)
    assert {one["status"] for one in content["scores"]} == {"missing"}
    assert all("--root fma-medium=DIR" in one["needs"] for one in content["scores"])
    table = cards.load_paper_card("kim2018").tables[0]
    lines = (tmp_path / "o" / "kim2018" / f"{table.name}.csv").read_text().splitlines()
    assert len(lines) == 1 + len(table.cells())


def test_a_sweep_in_which_one_combination_fails_keeps_the_others(main, tmp_path, monkeypatch):
    """Of Table 4 of kim2018; one probe's result stands for those of the other 56 networks."""
    results = []

    def stand_in(networks, letters, sharing):
        if (letters, sharing) == ("gd", "mtn"):
            raise DataError("the loss is not finite in epoch 1, step 3 of 3")
        if not results:
            places = {"cache": networks.cache, "root": networks.root}
            probekit.extract("melstats", task=networks.task, **places)
            results.extend(probekit.evaluate(networks.task, "melstats", probe="knn", **places))
        return results[0]

    monkeypatch.setattr(ArtistNetworks, "_evaluate", stand_in)
    folder = ("--rehearse", tmp_path / "r", "--clips", "16")
    done = main("reproduce", "kim2018", *folder, "--only", "table-4")
    assert done.returncode == 1, done.stderr
    assert "112 of 114 scores" in done.stdout
    assert "the loss is not finite in epoch 1, step 3 of 3" in done.stdout
    content = json.loads((tmp_path / "r/reports/kim2018/kim2018.json").read_text())
    failed = [score for score in content["scores"] if score["status"] != "computed"]
    assert {(score["row"], score["column"][:3]) for score in failed} == {("gd", "MTN")}
    assert len(failed) == 2 and len(content["scores"]) == 114


def test_mistakes_are_one_line(main, tmp_path):
    for arguments, said in (
        (["kumar2012"], "kumar2021"),
        (["hear"], "only presets"),
        (["kumar2021", "--only", "table-3"], "table-1"),
        (["kumar2021", "--root", "esc50=/nowhere"], "no such folder"),
        (["kumar2021", "--weights", "talnt=x"], "talnet"),
        (["kumar2021", "--rehearse", tmp_path, "--root", f"esc50={tmp_path}"], "leave out"),
        (["kumar2021", "--roots", tmp_path / "none.yaml"], "none.yaml: no such file"),
        (["kumar2021", "--epochs", "2"], "--epochs is for students"),
        (["kumar2021", "--weights", "talnet=gone.pt"], "talnet=gone.pt: file not found"),
        (["hung2022", "--rehearse", tmp_path / "r", "--epochs", "1"], "--epochs must be >= 4"),
        (["hung2022", "--rehearse", tmp_path / "r", "--device", "cuda:99"], "cuda:99"),
        (["lee2019", "--root", f"gtzan={tmp_path}"], "gtzan"),
    ):
        done = main("reproduce", *arguments)
        assert done.returncode == 2, arguments
        assert done.stderr.startswith("error: ") and said in done.stderr, done.stderr
    assert not (tmp_path / "r").exists()  # before anything was written


def test_shares_of_too_few_clips_are_refused_before_the_first_one(main, tmp_path):
    arguments = ("reproduce", "hung2022", "--only", "figure-2-mtat", "--rehearse", tmp_path / "r")
    done = main(*arguments, "--clips", "16")
    assert done.returncode == 2
    assert "figure-2-mtat: 10 % of the" in done.stderr and "raise --clips" in done.stderr
    assert {path.name for path in (tmp_path / "r").iterdir()} == {"data"}


def test_a_rehearsal_that_was_interrupted_goes_on(main, tmp_path, monkeypatch):
    """While data is written, and while embeddings are computed: the same command resumes it."""
    (tmp_path / "cards" / "reports").mkdir(parents=True)
    (tmp_path / "cards" / "reports" / "small.yaml").write_text(yaml.safe_dump(PAPER))
    monkeypatch.setenv("PROBEKIT_CARDS", str(tmp_path / "cards"))
    arguments = ("reproduce", "small", "--rehearse", tmp_path / "r", "--clips", "20")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for target in ("probekit.tasks.standin.writer._mix", "probekit.extraction.worker.embed"):
        with monkeypatch.context() as patch:
            patch.setattr(target, interrupt)
            assert main(*arguments).returncode != 0
    done = main(*arguments)
    assert done.returncode == 0, done.stderr
    assert "1 of 1 scores" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("paper", "computed"),
    [("hung2022", "62 of 62 scores and 2 of 2 figures"),
     ("lee2019", "110 of 110 scores and 0 of 0 figures"),
     ("lee2021", "40 of 40 scores and 1 of 1 figures"),
     ("kim2018", "150 of 150 scores and 1 of 1 figures")],
)  # fmt: skip
def test_papers_of_students_are_rehearsed(main, tmp_path, paper, computed):
    done = main("reproduce", paper, "--rehearse", tmp_path / "r")
    assert done.returncode == 0, done.stderr
    assert f"{paper} (stand-in data, random weights): {computed}" in done.stdout
    content = json.loads((tmp_path / "r" / "reports" / paper / f"{paper}.json").read_text())
    for one in content["scores"]:
        if one["student"] and one["metric"] != "parameters":
            assert "stand-in data" in one["provenance"] and "trained for" in one["provenance"]


@pytest.mark.slow
def test_kumar2021_is_rehearsed(main, tmp_path):
    done = main("reproduce", "kumar2021", "--rehearse", tmp_path / "r")
    assert done.returncode == 1, done.stderr  # WEANet's own head cannot be computed
    assert "18 of 20 scores and 5 of 5 figures" in done.stdout
    figures = tmp_path / "r" / "reports" / "kumar2021" / "figures"
    assert len(list(figures.glob("*.pdf"))) == 5
    for path in figures.glob("*.json"):
        said = json.loads(path.read_text())["provenance"]
        assert "stand-in data" in said and "random weights (seed 0)" in said
