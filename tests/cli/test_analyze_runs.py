"""The commands of ``probekit analyze`` that look at embeddings and kept runs."""

import json

import pytest

KINDS = ("pdf", "svg", "png", "csv", "json")


def files(scored, stem):
    return sorted(path.suffix[1:] for path in (scored.root / "figures").glob(f"{stem}.*"))


def test_confusion(main, scored):
    done = main("analyze", "confusion", "good/knn", "--task", "mine", "--reports", scored.root)
    assert done.returncode == 0, done.stderr
    assert "Confusion of good / knn on mine" in done.stdout and "6 folds" in done.stdout
    assert files(scored, "confusion-mine-good---knn") == sorted(KINDS)


def test_confusion_of_embeddings_as_its_siblings_take_them(main, scored):
    where = ["--task", "mine", "--reports", scored.root]
    done = main("analyze", "confusion", *where, "-e", "good", "-e", "bad", "--json")
    assert done.returncode == 0, done.stderr
    assert [one["embedding"] for one in json.loads(done.stdout)] == ["good", "bad"]
    assert files(scored, "confusion-mine-good") == files(scored, "confusion-mine-bad")
    assert files(scored, "confusion-mine-bad") == sorted(KINDS)
    done = main("analyze", "confusion", *where)
    assert done.returncode == 2 and "Give -e NAME with --task TASK" in done.stderr


def test_differences(main, scored):
    done = main("analyze", "differences", "good", "bad", "--task", "mine", "--reports", scored.root)
    assert done.returncode == 0, done.stderr
    assert "Classes that differ beyond chance" in done.stdout
    assert files(scored, "differences-mine-good-bad") == sorted(KINDS)
    done = main("analyze", "differences", "good", "bad", "--reports", scored.root, "--json")
    [made] = json.loads(done.stdout)
    assert [row["class"] for row in made["classes"]] and len(made["files"]) == 5


def test_efficiency(main, scored):
    done = main("analyze", "efficiency", "--task", "mine", "--reports", scored.root)
    assert done.returncode == 0, done.stderr
    assert "by number of labelled training clips" in done.stdout
    table = (scored.root / "figures/efficiency-mine.csv").read_text().splitlines()
    assert len(table) == 3 and table[1].startswith("good,0.5,") and ",2," in table[1]


def test_similarity(main, made, tmp_path, scored):
    options = ["--task", made / "mine.yaml", "--root", made, "--cache", made / "cache"]
    done = main("analyze", "similarity", *options, "-e", "good", "-e", "bad",
                "--reports", scored.root)  # fmt: skip
    assert done.returncode == 0, done.stderr
    for measure in ("cka", "neighbours"):
        assert files(scored, f"similarity-{measure}-mine-good-bad") == sorted(KINDS)
    done = main("analyze", "similarity", *options, "-e", "good", "--reports", scored.root)
    assert done.returncode == 2 and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["confusion", "good"], "error: {}: no results yet; make them with: probekit evaluate"),
        (["differences", "good", "bad"], "no results yet"),
        (["efficiency", "--task", "mine"], "no results of mine yet"),
        (["cost", "--task", "mine"], "no results of mine yet"),
    ],
)
def test_without_results_the_command_is_named(main, tmp_path, arguments, message):
    done = main("analyze", *arguments, "--reports", tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert message.format(tmp_path) in done.stderr


def test_cost_of_imported_embeddings_is_not_known(main, scored, made):
    options = ["--reports", scored.root, "--cache", made / "cache"]
    done = main("analyze", "cost", "--task", "mine", *options)
    assert done.returncode == 2 and "what bad, good cost is not known" in done.stderr
