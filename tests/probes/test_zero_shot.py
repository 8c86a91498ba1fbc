"""``--probe zero-shot``: class names as texts; and ``--shots``: what labels they are worth."""

import json
import shutil

import numpy as np
import pytest
import torch

import probekit
from probekit.analysis.label_efficiency import (
    EfficiencyCurve,
    EfficiencyPoint,
    _worth,
    label_efficiency,
)
from probekit.cache.texts import TEMPLATES, SavedTexts, add_texts, fill_template, load_texts
from probekit.errors import ProbekitError
from probekit.figures.curves import draw_label_efficiency
from probekit.probes.zero_shot import parse, text_scores

transformers = pytest.importorskip("transformers")
from tiny_models import add_tokenizer, make_model  # noqa: E402

from probekit.extractors.adapters import hf_model  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def setting(tmp_path_factory, corpus):
    """A small CLAP with a tokenizer, and its embeddings of the corpus."""
    root = tmp_path_factory.mktemp("zero-shot")
    with hf_model.quiet():
        model, _ = make_model(root / "clap", "clap")
    tokenizer = add_tokenizer(root / "clap")
    probekit.extract(
        f"hf:{root / 'clap'}", audio=corpus, cache=root / "cache", templates=["a {} near by"]
    )
    return root, model, tokenizer


def evaluate(setting, tmp_path, probe="zero-shot", **options):
    root, _, _ = setting
    return probekit.evaluate(
        "tiny",
        "hf:clap",
        cache=root / "cache",
        reports=tmp_path / "reports",
        probe=probe,
        **options,
    )


def test_scores_are_cosines_with_the_mean_of_texts(setting, tmp_path):
    """Computed once more from the model's own functions, for every template and all of them."""
    root, model, tokenizer = setting
    results = evaluate(setting, tmp_path)
    assert [r["probe"] for r in results] == ["zero-shot", *(f"zero-shot:{t}" for t in TEMPLATES)]
    embeddings = probekit.open_cache("hf:clap", "tiny", root / "cache")
    ids = sorted(embeddings.clip_ids)
    sounds = embeddings.vectors(ids, "pooled")
    sounds = sounds / np.linalg.norm(sounds, axis=1, keepdims=True)
    names = ["click", "noise", "tone"]

    def vectors(template):
        with torch.inference_mode():
            rows = [
                model.get_text_features(
                    **{k: v for k, v in tokenizer(template.format(n), return_tensors="pt").items()
                       if k != "token_type_ids"}
                ).pooler_output[0]
                for n in names
            ]  # fmt: skip
        return torch.stack(rows).double().numpy()

    by_template = [vectors(template) for template in TEMPLATES]
    scale = float(model.logit_scale_a.detach().exp())
    for result, rows in zip(results, [np.mean(by_template, 0), *by_template], strict=True):
        assert result["fraction"] == 1 and "shots" not in result
        weights = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        logits = scale * sounds @ weights.T
        probe = parse(result["probe"].partition(":")[2])
        own = text_scores(probe, embeddings, tuple(names), embeddings.vectors(ids, "pooled"))
        np.testing.assert_allclose(own, logits, atol=1e-4)
        truth = np.array([names.index(i.partition("/")[0]) for i in ids])
        assert result["score"] == pytest.approx(np.mean(logits.argmax(1) == truth), abs=0.03)


def test_results_are_named_by_the_model_not_its_path(setting, tmp_path):
    root, _, _ = setting
    for name in (f"hf:{root / 'clap'}", "hf", "hf:clap"):
        [result, *_] = probekit.evaluate(
            "tiny", name, cache=root / "cache", reports=tmp_path, probe="zero-shot"
        )
        assert result["embedding"] == "hf:clap,stream=pooled"


def test_a_template_of_one_s_own(setting, tmp_path):
    (result,) = evaluate(setting, tmp_path, "zero-shot:a {} near by")
    assert result["settings"]["templates"] == ["a {} near by"]
    with pytest.raises(
        ProbekitError, match=r"no vector of the text 'click on a sunday'.*--template"
    ):
        evaluate(setting, tmp_path, "zero-shot:{} on a sunday")
    with pytest.raises(ProbekitError, match=r"must contain \{\} once"):
        parse("a sound")


def test_what_zero_shot_needs(setting, tmp_path, corpus):
    root, _, _ = setting
    with pytest.raises(ProbekitError, match=r"leave out pool="):
        probekit.evaluate("tiny", "hf:clap,pool=max", cache=root / "cache", probe="zero-shot")
    probekit.extract("melstats", audio=corpus, cache=root / "cache")
    with pytest.raises(ProbekitError, match=r"no texts in .* is for models of sound and text"):
        probekit.evaluate("tiny", "melstats", cache=root / "cache", probe="zero-shot")
    shutil.copytree(root / "clap", tmp_path / "clap")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "clap" / name).unlink()
    notes = []
    probekit.extract(
        f"hf:{tmp_path / 'clap'}",
        audio=corpus,
        cache=tmp_path / "cache",
        limit=3,
        note=notes.append,
    )
    assert any("hf:clap: has no tokenizer that can be read" in note for note in notes)


def test_evaluation_imports_no_network(setting, cli, tmp_path):
    root, _, _ = setting
    code = (
        "import sys, probekit\n"
        f"probekit.evaluate('tiny', 'hf:clap', cache={str(root / 'cache')!r}, "
        f"reports={str(tmp_path)!r}, probe='zero-shot')\n"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = cli(code=code)
    assert done.stdout.strip() == "[]", done.stderr


def test_saved_texts_are_added_to(tmp_path):
    folder = tmp_path / "hf-clap"
    folder.mkdir()
    first = SavedTexts(("b", "a"), np.eye(2, dtype=np.float32), 3.0, "pooled")
    add_texts(folder, first)
    add_texts(folder, SavedTexts(("c", "a"), np.ones((2, 2), np.float32), 3.0, "pooled"))
    saved = load_texts(folder)
    assert saved.texts == ("a", "b", "c")
    np.testing.assert_array_equal(saved.select(["b", "a", "c"]), [[1, 0], [0, 1], [1, 1]])
    assert fill_template("a {} here", "dog_bark ") == "a dog bark here"
    (folder / "texts.h5").write_bytes(b"nonsense")
    with pytest.raises(ProbekitError, match="damaged"):
        load_texts(folder)


# --- few labels -----------------------------------------------------------------------------------


def test_shots_are_drawn_from_training_clips(setting, tmp_path):
    results = evaluate(setting, tmp_path, "linear", shots=[1, 2], seeds=2)
    assert [(r["shots"], r["seed"]) for r in results] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    for result in results:
        assert {fold["train"] for fold in result["folds"]} == {3 * result["shots"]}
        assert all(fold["selected_on"] == "nothing: one C" for fold in result["folds"])
        assert all(fold["params"] == {"C": 1.0} for fold in result["folds"])
        assert sum(fold["test"] for fold in result["folds"]) == 24
    assert len({r["run"] for r in results}) == 4
    assert results[0]["fraction"] < results[2]["fraction"] < 1
    (again,) = evaluate(setting, tmp_path, "linear", shots=[1], grid=[0.1])
    assert again["folds"][0]["params"] == {"C": 0.1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shots": [0]}, "shots must be >= 1, got 0"),
        ({"shots": [99]}, "shots=99: a class of tiny has only 6"),
        ({"shots": [1], "fractions": [0.5]}, "give one of the two"),
        ({"shots": [1], "grid": [1, 2]}, "give one value"),
        ({"shots": [1], "probe": "knn"}, "shots goes with probe=linear, got knn"),
    ],
)
def test_shots_that_are_not_possible(setting, tmp_path, options, message):
    with pytest.raises(ProbekitError, match=message):
        evaluate(setting, tmp_path, **{"probe": "linear", **options})


def test_what_the_texts_are_worth(setting, tmp_path):
    """Against a probe of few labels, on the same clips."""
    evaluate(setting, tmp_path, "linear", shots=[1, 4], seeds=2)
    evaluate(setting, tmp_path)
    found = label_efficiency("tiny", reports=tmp_path / "reports")
    [curve], [text] = found.curves, found.texts
    assert [point.labels for point in curve.points] == [3, 12]
    assert curve.label == "hf:clap"
    for point, comparison in zip(curve.points, text.comparisons, strict=True):
        difference = text.group.score - point.mean
        assert comparison.difference == pytest.approx(difference, abs=0.02)
        assert comparison.low <= comparison.difference <= comparison.high
        assert comparison.p <= comparison.adjusted
        assert comparison.clips == 24
    assert f"Dashed: class names as texts, without labels, {text.group.score:.3f}" in found.caption
    assert found.facts()["texts"][0]["differences"][0]["training_clips"] == 3
    drawn = draw_label_efficiency(found).axes[0]
    assert any(line.get_linestyle() == "--" for line in drawn.lines)


@pytest.mark.parametrize(
    ("score", "expected"), [(0.1, 0.0), (0.5, 4.0), (0.4, np.sqrt(8)), (0.9, np.inf)]
)
def test_worth_is_read_off_the_curve(score, expected):
    means = {2: 0.3, 4: 0.5, 8: 0.7}
    points = tuple(EfficiencyPoint(n / 10, n, (mean,), None) for n, mean in means.items())
    worth = _worth(EfficiencyCurve("net", points), score, "accuracy")
    assert worth == pytest.approx(expected)


def test_command_line(setting, main, tmp_path):
    root, _, _ = setting
    common = ("evaluate", "--task", "tiny", "-e", "hf:clap", "--cache", root / "cache",
              "--reports", tmp_path)  # fmt: skip
    shown = main(*common, "--shots", "1,2", "--seeds", "2")
    assert shown.returncode == 0, shown.stderr
    assert "1 a class, seed 0" in shown.stdout and "2 a class, 2 seeds" in shown.stdout
    texts = main(*common, "--probe", "zero-shot", "--json")
    assert json.loads(texts.stdout)[0]["probe"] == "zero-shot"


def test_a_colleague_who_merges_a_packed_file_has_the_same_scores(setting, tmp_path):
    from probekit.cache import merge, pack

    root, _, _ = setting
    embeddings = probekit.open_cache("hf:clap", "tiny", root / "cache")
    packed = pack.pack_embeddings(embeddings, tmp_path / "clap.h5")
    merge.merge_caches([packed], tmp_path / "cache")
    ours, *_ = evaluate(setting, tmp_path)
    theirs, *_ = probekit.evaluate(
        "tiny",
        "hf:clap",
        cache=tmp_path / "cache",
        reports=tmp_path / "theirs",
        probe="zero-shot",
    )
    assert (theirs["run"], theirs["score"]) == (ours["run"], ours["score"])
