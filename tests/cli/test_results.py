"""``probekit results`` as people use it."""

import json

import numpy as np
import pytest


def test_ls_lists_runs_best_first(main, scored):
    done = main("results", "ls", "--reports", scored.root)
    assert (done.returncode, done.stderr) == (0, "")
    rows = done.stdout.splitlines()[1:]
    assert len(rows) == 5
    scores = sorted((r["score"] for r in scored.results), reverse=True)
    assert [f"{score:.3f}" in row for score, row in zip(scores, rows, strict=True)] == [True] * 5
    assert sum("50 %, seed 1" in row for row in rows) == 1
    for result in scored.results:
        assert result["run"][:12] in done.stdout
    done = main("results", "ls", "--task", "other", "--reports", scored.root)
    assert "no results" in done.stdout


def test_ls_as_json_has_every_run(main, scored):
    found = json.loads(main("results", "ls", "--json", "--reports", scored.root).stdout)
    assert {one["run"] for one in found} == {one["run"] for one in scored.results}
    notes = "imported embeddings; training data: not established"
    assert {one["provenance"] for one in found} == {notes}


def test_show_tells_folds_classes_and_settings(main, scored):
    done = main("results", "show", "good/knn", "--task", "mine", "--reports", scored.root)
    assert done.returncode == 0
    assert done.stderr.startswith("good / knn: the selected setting is at the edge of its grid")
    assert done.stderr.count("\n") == 1
    for word in ("neighbours", "distance", "published", "2 divisions of the training clips"):
        assert word in done.stdout
    lines = done.stdout.splitlines()
    head = next(k for k, line in enumerate(lines) if line.startswith("class"))
    assert lines[head].endswith("recall, all test clips")
    classes = lines[head + 1 :]
    assert {line.split("  ")[0] for line in classes} == {"yes", "no", "a, b"}
    scores = [float(line.split()[-1]) for line in classes]
    assert scores == sorted(scores, reverse=True)


def test_show_has_one_definition_of_class_scores_whoever_stored_them(main, scored):
    arguments = ("results", "show", "good/knn", "--task", "mine", "--reports", scored.root)
    before = main(*arguments)
    [path] = [f for f, r in zip(scored.files, scored.results, strict=True) if r["probe"] == "knn"]
    result = json.loads(path.read_text())
    del result["class_scores"]  # as earlier versions stored it: means over folds
    result["per_class"] = {
        name: {**row, "score": 0.123} for name, row in result["per_class"].items()
    }
    path.write_text(json.dumps(result))
    done = main(*arguments)
    assert (done.returncode, done.stderr, done.stdout) == (0, before.stderr, before.stdout)


def test_show_of_seeds_shows_each(main, scored):
    name = "good / 50 % of labels"
    options = ("--task", "mine", "--reports", scored.root)
    assert main("results", "show", name, *options).stdout.count("run ") == 2
    found = json.loads(main("results", "show", name, *options, "--json").stdout)
    assert [one["seed"] for one in found] == [0, 1]


def test_best_says_which_others_cannot_be_told_from_it(main, scored):
    done = main("results", "best", "mine", "--reports", scored.root)
    assert (done.returncode, done.stderr) == (0, "")
    _, head, first, *rows = done.stdout.splitlines()
    assert first.rstrip().endswith("best") and "p (Holm)" in head
    (bad,) = [row for row in rows if row.startswith("bad")]
    assert bad.rstrip().endswith("worse")
    assert any(row.rstrip().endswith("not distinguishable") for row in rows)
    assert "note: imported embeddings" in rows  # provenance stands with every score
    found = json.loads(main("results", "best", "mine", "--json", "--reports", scored.root).stdout)
    assert found["best"].startswith("good") and len(found["tests"]) == 3


def test_best_of_a_single_run_shows_its_provenance(main, scored):
    for path in scored.files[1:]:
        path.unlink()
    done = main("results", "best", "mine", "--reports", scored.root)
    assert "note: imported embeddings" in done.stdout


def test_verify_finds_a_changed_digit(main, scored):
    done = main("results", "verify", "--reports", scored.root)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("5 of 5 results in ")
    result = {**scored.results[2], "score": np.nextafter(scored.results[2]["score"], 1)}
    scored.files[2].write_text(json.dumps(result))
    done = main("results", "verify", "--reports", scored.root)
    assert done.returncode == 1
    first, fault, last = done.stdout.splitlines()
    assert first == f"{scored.files[2]}:" and fault.startswith("    score: ")
    assert last.startswith("4 of 5 results")
    found = json.loads(main("results", "verify", "--json", "--reports", scored.root).stdout)
    assert sum(bool(one["faults"]) for one in found) == 1


# pytest shows warnings that users see once: commands with warnings run in a process of their own
SEVERAL = """
import json, sys, warnings
from probekit import cli

codes = []
for words in json.loads(sys.argv.pop(1)):
    warnings.simplefilter("default")  # what one command has shown the next one shows, too
    sys.argv = ["probekit", *words]
    try:
        codes.append(cli.main() or 0)
    except SystemExit as error:
        codes.append(error.code or 0)
    print(end="\\0", file=sys.stderr, flush=True)
print(json.dumps(codes))
"""


def run_commands(cli, *commands):
    """Return the exit code and the lines of standard error of each command."""
    done = cli(json.dumps([[str(word) for word in command] for command in commands]), code=SEVERAL)
    assert done.returncode == 0, done.stderr
    errors = [text.splitlines() for text in done.stderr.split("\0")[:-1]]
    return [*zip(json.loads(done.stdout.splitlines()[-1]), errors, strict=True)]


def test_results_of_an_older_version_are_left_out_with_one_warning(main, cli, scored):
    old, torn, *_ = [
        path
        for path, r in zip(scored.files, scored.results, strict=True)
        if r["probe"] == "knn" or r["fraction"] < 1
    ]
    old.write_text(json.dumps({**json.loads(old.read_text()), "format": 1}))
    torn.write_text(torn.read_text()[:999])
    where = ("--task", "mine", "--reports", scored.root)
    said = f"warning: 2 results cannot be read; the first: {scored.root}"
    commands = (("compare", "good", "bad", *where), ("report", "--reports", scored.root))
    for code, lines in run_commands(cli, *commands):
        assert code == 0, lines
        (line,) = lines
        assert line.startswith(said) and "Delete them, or evaluate again" in line
    page = (scored.root / "index.html").read_text(encoding="utf-8")
    assert "2 results cannot be read" in page
    commands = (
        ("results", "ls", *where),
        ("results", "best", "mine", "--reports", scored.root),
        ("results", "show", "good", *where),
    )
    for arguments in commands:
        with pytest.warns(UserWarning, match="2 results cannot be read"):
            assert main(*arguments).returncode == 0
    assert main("results", "verify", "--reports", scored.root).returncode == 1


def test_a_store_of_nothing_but_older_results(cli, scored):
    for path, result in zip(scored.files, scored.results, strict=True):
        path.write_text(json.dumps({**result, "format": 1}))
    commands = [
        (*words, "--reports", scored.root) for words in (("compare", "a", "b"), ("report",))
    ]
    for code, lines in run_commands(cli, *commands):
        warning, error = lines
        assert code == 2 and "5 results cannot be read" in warning
        assert error.endswith("make them with: probekit evaluate --task TASK -e NAME")


def test_nothing_scored_yet(main, tmp_path):
    done = main("results", "ls", "--reports", tmp_path)
    assert done.stdout == f"no results in {tmp_path}; probekit evaluate makes them\n"
    done = main("results", "best", "mine", "--reports", tmp_path)
    assert done.returncode == 2 and "no results for 'mine'; see probekit results ls" in done.stderr
    assert main("results", "verify", "--reports", tmp_path).stdout.startswith("0 of 0 results")


def test_publish_says_what_it_wrote(main, scored, tmp_path):
    folder = tmp_path / "public"
    done = main("results", "publish", folder, "--task", "mine", "--reports", scored.root)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{folder}: 5 results on mine, " in done.stdout and "choose a licence" in done.stdout
    again = main("results", "publish", folder, "--task", "mine", "--reports", scored.root, "--json")
    published = json.loads(again.stdout)
    assert published["is_new"] is False and "README.md" in published["files"]
    done = main("results", "publish", folder, "--reports", scored.root, "-e", "good")
    assert done.returncode == 2 and "holds 5 other results" in done.stderr


def test_best_names_the_runs_that_are_tied(main, scored):
    done = main("results", "best", "mine", "--reports", scored.root)
    assert "tied for first: 3 of 4 (good" in done.stdout
    tied = json.loads(main("results", "best", "mine", "--json", "--reports", scored.root).stdout)
    assert tied["tied"][0] == tied["best"] and len(tied["tied"]) == 3
