"""``probekit results table``."""

import csv


def test_a_table_of_each_format(main, scored, tmp_path):
    done = main("results", "table", "--task", "mine", "--reports", scored.root)
    assert done.returncode == 0, done.stderr
    assert "| good" in done.stdout and "**" in done.stdout
    assert r"\[red\]SVM\[/red\] (published)" in done.stdout
    for suffix, word in (("tex", r"\toprule"), ("md", "| ---"), ("csv", "provenance")):
        path = tmp_path / f"new/table.{suffix}"
        done = main("results", "table", "--task", "mine", "-o", path, "--reports", scored.root)
        assert (done.returncode, done.stdout.strip()) == (0, str(path)), done.stderr
        assert word in path.read_text()


def test_only_some_embeddings(main, scored):
    done = main(
        "results", "table", "--task", "mine", "-e", "bad", "--format", "csv",
        "--reports", scored.root,
    )  # fmt: skip
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert {row["embedding"] for row in rows if row["source"] == "here"} == {"bad"}


def test_percent_and_names(main, scored):
    options = ("results", "table", "--task", "mine", "--reports", scored.root)
    done = main(*options, "--percent", "--no-intervals", "--rename", "good=Our network")
    assert done.returncode == 0, done.stderr
    assert "| accuracy (%) |" in done.stdout and "| Our network |" in done.stdout
    assert "| 90.0<sup>" in done.stdout  # published, too
    done = main(*options, "--percent", "--format", "csv")
    assert done.returncode == 2 and "leave out --percent and --digits" in done.stderr
    done = main(*options, "--rename", "god=x")
    assert done.returncode == 2 and "unknown row 'god'. Did you mean 'good'" in done.stderr


def test_what_is_not_there_is_said(main, scored, tmp_path):
    done = main("results", "table", "--task", "none", "--reports", scored.root)
    assert done.returncode == 2 and "no results for 'none'" in done.stderr
    done = main("results", "table", "--task", "mine", "-e", "x", "--reports", scored.root)
    assert done.returncode == 2 and "no results of x for 'mine'" in done.stderr
    done = main("results", "table", "--task", "mine", "-o", "x.pdf", "--reports", scored.root)
    assert done.returncode == 2 and "must end in .tex, .md or .csv" in done.stderr
