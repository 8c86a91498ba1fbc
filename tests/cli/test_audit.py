"""``probekit audit`` and ``probekit evaluate --protocol`` on the command line."""

import json
import shutil

import pytest

from probekit.scores import store


@pytest.fixture
def place(made, scored_once, tmp_path):
    """Arguments of the commands, for a store in which the task's own runs are."""
    shutil.copytree(scored_once, tmp_path / "reports")
    task = ("--task", made / "mine.yaml", "--root", made, "--cache", made / "cache")
    return (*task, "--reports", tmp_path / "reports", "--jobs", 1)


def test_table_figure_and_files(main, place, tmp_path):
    names = ("-e", "good", "-e", "bad", "--protocol", "xares-knn", "--protocol", "fixed-c")
    done = main("audit", *place, *names)
    assert done.returncode == 0
    assert "three folds of mine" in done.stdout and "points more" in done.stdout
    for text in ("task's own", "X-ARES, kNN", "selection: none, C = 1"):
        assert text in done.stdout
    assert "no pair of embeddings changes places" in done.stdout
    files = sorted(path.suffix for path in (tmp_path / "reports/figures").iterdir())
    assert files == [".csv", ".json", ".pdf", ".png", ".svg"]
    [facts] = (tmp_path / "reports/figures").glob("*.json")
    assert len(json.loads(facts.read_text())["audit"]) == 6
    page = main("report", "--reports", tmp_path / "reports", "--cache", place[5])
    assert page.returncode == 0
    page = (tmp_path / "reports/index.html").read_text()
    assert "Under other protocols" in page
    assert '<bdi>X-ARES, kNN</bdi> <span class="soft"><bdi>161f0ef</bdi>' in page
    done = main("audit", *place, *names, "--json")
    assert [row["protocol"] for row in json.loads(done.stdout)["audit"]][::2] == [
        "task", "xares-knn", "fixed-c",
    ]  # fmt: skip


def test_a_protocol_is_scored_apart(main, place, tmp_path):
    done = main("evaluate", *place, "-e", "good", "--protocol", "mteb")
    assert done.returncode == 0
    assert "MTEB 2.26.24 (a905523)" in done.stdout and "not established" in done.stdout
    root = store.protocol_root(tmp_path / "reports", "mteb")
    assert f"stored apart; other commands read it with --reports {root}" in done.stdout
    listed = main("results", "ls", "--reports", root)
    assert "mteb protocol" in listed.stdout or "mteb-logistic" in listed.stdout
    assert "mteb" not in main("results", "ls", "--reports", tmp_path / "reports").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluate", "--protocol", "hera"), "unknown protocol 'hera'"),
        (("audit", "--protocol", "mteb-draws"), "the task has 3 folds; use --protocol mteb"),
        (("evaluate", "--protocol", "mteb", "--seeds", "3"), "leave out --seeds"),
    ],
)
def test_what_is_not_possible(main, place, arguments, message):
    command, *options = arguments
    done = main(command, *place, "-e", "good", *options)
    assert done.returncode == 2 and message in done.stderr
