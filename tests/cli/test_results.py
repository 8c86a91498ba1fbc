"""``probekit results`` as people use it."""

import json

import numpy as np


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
    assert {one["provenance"] for one in found} == {"imported embeddings"}


def test_show_tells_folds_classes_and_settings(main, scored):
    done = main("results", "show", "good/knn", "--task", "mine", "--reports", scored.root)
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("neighbours", "distance", "published", "3 divisions of the training clips"):
        assert word in done.stdout
    lines = done.stdout.splitlines()
    classes = lines[next(k for k, line in enumerate(lines) if line.startswith("class")) + 1 :]
    assert {line.split("  ")[0] for line in classes} == {"yes", "no", "a, b"}
    scores = [float(line.split()[-1]) for line in classes]
    assert scores == sorted(scores, reverse=True)


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


def test_a_store_of_an_older_version_is_one_clear_line(main, scored):
    for path, result in zip(scored.files, scored.results, strict=True):
        path.write_text(json.dumps({**result, "format": 1}))
    for arguments in (("ls",), ("best", "mine"), ("show", "good")):
        done = main("results", *arguments, "--reports", scored.root)
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert "a result of format 1" in line and "evaluate again, or delete it" in line
        assert line.endswith("(4 more such files)")
    assert main("results", "verify", "--reports", scored.root).returncode == 1


def test_nothing_scored_yet(main, tmp_path):
    done = main("results", "ls", "--reports", tmp_path)
    assert done.stdout == f"no results in {tmp_path}; probekit evaluate makes them\n"
    done = main("results", "best", "mine", "--reports", tmp_path)
    assert done.returncode == 2 and "no results of 'mine'; see probekit results ls" in done.stderr
    assert main("results", "verify", "--reports", tmp_path).stdout.startswith("0 of 0 results")
