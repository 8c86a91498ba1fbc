"""The commands of ``probekit analyze``."""

import json

import numpy as np
import pytest

from probekit.cache import embeddings as embeddings_module
from probekit.cache import head as head_module
from probekit.cache import import_export
from probekit.cache import manifests as kept
from probekit.data import manifest as manifests

KINDS = ("pdf", "svg", "png", "csv", "json")


@pytest.fixture
def task(tmp_path, monkeypatch):
    """Put a task of some labels and an embedding of it into a cache."""
    monkeypatch.setenv("PROBEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PROBEKIT_REPORTS", str(tmp_path / "reports"))

    def make(labels, per_class=12, dim=16):
        rng = np.random.default_rng(0)
        rows = [
            {
                "clip_id": f"c{k}-{j}",
                "path": f"{k}-{j}.wav",
                "labels": (label,),
                "split": "test" if j % 4 == 3 else "train",
            }
            for k, label in enumerate(labels)
            for j in range(per_class)
        ]
        clips = manifests.from_rows("mine", rows)
        centers = np.repeat(rng.normal(size=(len(labels), dim)), per_class, axis=0)
        np.save(tmp_path / "made.npy", (centers + rng.normal(size=centers.shape)).astype("f4"))
        cache = tmp_path / "cache"
        arrays = [tmp_path / "made.npy"]
        import_export.import_arrays("made", clips, arrays, cache=cache, dataset="mine")
        kept.save_manifest(cache, clips)
        return embeddings_module.find_embeddings(cache, "made", "mine")

    return make


def figures(tmp_path):
    return sorted(path.name for path in (tmp_path / "reports/figures").iterdir())


def test_dendrogram(task, main, tmp_path):
    task(["a", "b", "c"])
    done = main("analyze", "dendrogram", "--task", "mine", "-e", "made")
    assert done.returncode == 0, done.stderr
    assert "Hierarchical clustering" in done.stdout and "Imported embeddings." in done.stdout
    stem = "dendrogram-mine-made"
    assert figures(tmp_path) == sorted(f"{stem}.{kind}" for kind in KINDS)
    done = main("analyze", "dendrogram", "--task", "mine", "-e", "made", "--linkage", "complete")
    assert f"{stem}-linkage-complete.pdf" in figures(tmp_path)  # nothing was overwritten
    assert len(figures(tmp_path)) == 10


def test_where_figures_go_and_how_wide_they_are(task, main, tmp_path, monkeypatch):
    task(["a", "b", "c"])
    monkeypatch.chdir(tmp_path)
    command = ("analyze", "dendrogram", "--task", "mine", "-e", "made")
    done = main(*command, "--width", "3.3")
    assert done.returncode == 0, done.stderr
    assert figures(tmp_path) == sorted(f"dendrogram-mine-made-3.3in.{kind}" for kind in KINDS)
    done = main(*command, "-o", "paper/tree.pdf")
    assert done.stdout.splitlines()[1:] == ["  paper/tree.pdf"]
    assert [path.name for path in (tmp_path / "paper").iterdir()] == ["tree.pdf"]
    assert main(*command, "-o", "all").returncode == 0
    assert len(list((tmp_path / "all").iterdir())) == 5 and len(figures(tmp_path)) == 5
    done = main("analyze", "similarity", *command[2:], "-e", "made", "-o", "x.png")
    assert (done.returncode, done.stdout) == (2, "")
    assert "-o x.png: these are 2 figures; name a folder for them" in done.stderr


def test_correlation(task, main, tmp_path):
    embeddings = task(["a", "b", "c"])
    done = main("analyze", "correlation", "--task", "mine", "-e", "made")
    assert done.returncode == 2
    assert done.stderr.startswith("error: made: no head found in")
    rng = np.random.default_rng(1)
    head = head_module.SavedHead(
        ("bark", "bell", "rain", "wind"),
        rng.normal(size=(4, 16)),
        np.zeros(4),
        embeddings.default_stream,
        "none",
    )
    head_module.save_head(embeddings.folder.parent, head)
    done = main("analyze", "correlation", "--task", "mine", "-e", "made", "--json")
    assert done.returncode == 0, done.stderr
    [made] = json.loads(done.stdout)
    assert len(made["strongest"]) == 10 and "Cosine similarity" in made["caption"]
    assert figures(tmp_path) == sorted(f"correlation-mine-made.{kind}" for kind in KINDS)
    done = main("analyze", "correlation", "--task", "mine", "-e", "made")
    assert "strongest pairs" in done.stdout and "beyond chance" in done.stdout


def test_projection_of_classes_and_clips(task, main, tmp_path):
    task(list("abcdef"))
    for of in ("classes", "clips"):
        done = main("analyze", "projection", "--task", "mine", "-e", "made", "--of", of)
        assert done.returncode == 0, done.stderr
    stems = {name.rsplit(".", 1)[0] for name in figures(tmp_path)}
    assert stems == {"projection-classes-mine-made", "projection-clips-mine-made"}


def test_color_has_its_british_name_too(task, main, tmp_path):
    task(list("abcdef"))
    options = ["--task", "mine", "-e", "made", "--of", "clips", "--method", "pca"]
    options += ["-o", tmp_path / "points.csv"]
    for name in ("--color", "--colour"):
        done = main("analyze", "projection", *options, name, "cluster")
        assert done.returncode == 0, done.stderr
        assert "clusters of the labels by their probe's weights" in done.stdout


def test_two_classes(task, main, tmp_path):
    task(["yes", "no"])
    tree = ("analyze", "dendrogram", "--task", "mine", "-e", "made", "-o", tmp_path / "tree.svg")
    assert main(*tree).returncode == 0
    where = ("--task", "mine", "-e", "made")
    done = main("analyze", "projection", *where)
    assert done.returncode == 0, done.stderr
    said = "First two principal components (t-SNE needs at least 4 points, got 2) of the class"
    assert said in done.stdout
    facts = json.loads(
        (tmp_path / "reports/figures/projection-classes-mine-made-method-pca.json").read_text()
    )
    assert facts["method"] == "pca" and facts["instead"].startswith("t-SNE needs at least 4")
    done = main("analyze", "projection", *where, "--method", "tsne")
    assert done.returncode == 2
    assert "t-SNE needs at least 4 points, got 2; use --method pca" in done.stderr
    done = main("analyze", "projection", *where, "--method", "pca", "-o", tmp_path / "points.csv")
    assert done.returncode == 0 and "t-SNE" not in done.stdout


def test_one_class_is_one_clear_line(task, main):
    task(["only"])
    for what in ("dendrogram", "projection"):
        done = main("analyze", what, "--task", "mine", "-e", "made")
        assert done.returncode == 2 and "same label" in done.stderr
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_labels_of_many_scripts_and_lengths(task, main, tmp_path):
    labels = ["صوت الكلب", "<script>alert(1)</script>", "$5", "W" * 200, "\U00012000", "a\nb"]
    task(labels)
    done = main("analyze", "dendrogram", "--task", "mine", "-e", "made")
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "reports/figures/dendrogram-mine-made.json").read_text())
    assert sorted(facts["leaves"]) == sorted(labels)  # whole


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--probe", "mlp"], "a probe of kind 'mlp' has no linear class weights. Dendrogram,"),
        (["--preset", "hear"], "--preset hear: a probe of kind 'mlp' has no linear class weights"),
        (["--preset", "nobody"], "unknown preset 'nobody'"),
        (["--style", "none.mplstyle"], "style file none.mplstyle: no such file"),
        (["--metric", "cosin"], "unknown distance 'cosin'. Did you mean 'cosine'"),
        (["--c", "0"], "0"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(task, main, options, message):
    task(["a", "b", "c"])
    done = main("analyze", "dendrogram", "--task", "mine", "-e", "made", *options)
    assert done.returncode == 2 and message in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_style_file_changes_the_figure(task, main, tmp_path):
    task(["a", "b", "c"])
    style = tmp_path / "mine.mplstyle"
    style.write_text("axes.prop_cycle: cycler('color', ['123456'])\n")
    options = ["--task", "mine", "-e", "made", "--clusters", "1"]
    svg = tmp_path / "tree.svg"
    assert main("analyze", "dendrogram", *options, "--style", style, "-o", svg).returncode == 0
    assert "#123456" in svg.read_text()


def test_steps_of_a_paper_s_recipe(task, tmp_path):
    """Unit length after standardization: the weights are those of a probe on such features."""
    from probekit.analysis import class_weights
    from probekit.probes import linear

    embeddings = task(["a", "b", "c"])
    rows = [k for k in embeddings.clip_ids if int(k.split("-")[1]) % 4 != 3]
    features = embeddings.vectors(rows).astype(float)
    wide = (features - features.mean(axis=0)) / features.std(axis=0)
    unit = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    targets = np.array([int(k[1]) for k in rows])
    [[probe]] = linear.fit_paths(
        unit.astype(np.float32), targets, [np.arange(len(rows))], "single", 3, (1.0,),
        standardize=False,
    )  # fmt: skip
    card = tmp_path / "cards" / "reports"
    card.mkdir(parents=True)
    (card / "paper.yaml").write_text(
        "name: paper\ntitle: T\nsource: here\npresets:\n  any:\n    pool: [mean]\n"
        "    steps: [standardize, unit-l2]\n    probe: linear\n    description: d\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROBEKIT_CARDS", str(tmp_path / "cards"))
        found = class_weights.class_weights("mine", "made", c=1.0, preset="paper")
    expected = probe.coef / features.std(axis=0)
    assert np.abs(found.matrix - expected).max() < 1e-2 * np.abs(expected).max()
    assert "with the recipe of paper" in found.description()
    assert "standardized and scaled to unit length clip by clip" in found.description()


# ---- embeddings and stored runs


def files(scored, stem):
    return sorted(path.suffix[1:] for path in (scored.root / "figures").glob(f"{stem}.*"))


def test_confusion(main, scored):
    done = main("analyze", "confusion", "good/knn", "--task", "mine", "--reports", scored.root)
    assert done.returncode == 0, done.stderr
    assert "Confusion of good / knn on mine" in done.stdout and "3 folds" in done.stdout
    assert files(scored, "confusion-mine-good---knn-*") == sorted(KINDS)


def test_confusion_of_embeddings_as_its_siblings_take_them(main, scored):
    where = ["--task", "mine", "--reports", scored.root]
    done = main("analyze", "confusion", *where, "-e", "good", "-e", "bad", "--json")
    assert done.returncode == 0, done.stderr
    assert [one["embedding"] for one in json.loads(done.stdout)] == ["good", "bad"]
    assert files(scored, "confusion-mine-good") == files(scored, "confusion-mine-bad")
    assert files(scored, "confusion-mine-bad") == sorted(KINDS)
    done = main("analyze", "confusion", *where)
    assert done.returncode == 2 and "confusion needs a run: -e NAME with --task TASK" in done.stderr


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
    assert "by number of labeled training clips" in done.stdout
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
    assert done.returncode == 2 and "the cost of bad, good is unknown" in done.stderr


def test_timeline(main, corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("PROBEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PROBEKIT_REPORTS", str(tmp_path / "reports"))
    done = main("extract", "-e", "mfcc", "--audio", corpus, "--frames", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    clips = ("noise/noise3", "tone/tone1")
    done = main("analyze", "timeline", *clips, "--task", "tiny", "-e", "mfcc", "--json")
    assert done.returncode == 0, done.stderr
    assert [entry["clip"] for entry in json.loads(done.stdout)] == list(clips)
    stems = [f"timeline-tiny-mfcc-{clip.replace('/', '-')}" for clip in clips]
    assert figures(tmp_path) == sorted(f"{stem}.{kind}" for stem in stems for kind in KINDS)
    done = main("analyze", "timeline", "noise/noise", "--task", "tiny", "-e", "mfcc")
    assert done.returncode == 2 and "Did you mean 'noise/noise" in done.stderr
