"""Several clips of one piece are scored as one."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.special import softmax

import probekit
from probekit._typing import Array
from probekit.analysis.audit import audit
from probekit.cache.import_export import import_arrays
from probekit.cache.layout import cache_root
from probekit.cards import load_task_card
from probekit.data.manifest import Manifest, from_rows
from probekit.errors import DataError
from probekit.metrics.intervals import confidence_interval
from probekit.metrics.metrics import get_metric
from probekit.scores.pieces import average
from probekit.scores.predictions import load_predictions
from probekit.scores.store import reports_root
from probekit.scores.verification import verify
from probekit.tasks.piece_names import name_pieces
from probekit.tasks.task import load_task
from probekit.tasks.validation import check_folder

pytestmark = pytest.mark.usefixtures("small_grid")
PIECES, CLIPS = 60, 4  # clips of the last piece: 2


def _card(folder: Path, **changes: object) -> Path:
    card = {
        "name": "pieces",
        "title": "Pieces",
        "dataset": "pieces",
        "module": "table",
        "options": {"csv": "rows.csv"},
        "labels": ["high", "low"],
        "aggregate": "recording",
        "protocol": {"kind": "folds"},
        "metric": "accuracy",
        **changes,
    }
    path = folder / "pieces.yaml"
    path.write_text(yaml.safe_dump(card))
    return path


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """Segments of recordings of two classes, with features in which single segments are unclear."""
    monkeypatch.chdir(tmp_path)
    rows = [
        {
            "clip_id": f"p{p}-{k}",
            "path": f"p{p}.wav",
            "start": float(k),
            "end": float(k + 1),
            "fold": str(p % 3),
            "labels": ("high", "low")[p // 3 % 2],
        }
        for p in range(PIECES)
        for k in range(2 if p == PIECES - 1 else CLIPS)
    ]
    manifest = from_rows("pieces", rows, root=tmp_path)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(len(rows), 3)) + 0.7 * manifest.targets()[:, None]
    np.save("x.npy", features.astype(np.float32))
    import_arrays("a", manifest, [Path("x.npy")], cache=cache_root(), dataset="pieces")
    np.save("x.npy", (features + rng.normal(size=features.shape)).astype(np.float32))
    import_arrays("b", manifest, [Path("x.npy")], cache=cache_root(), dataset="pieces")
    Path("rows.csv").write_text(manifest.to_csv(), encoding="utf-8")
    return manifest


def _mean_by_piece(clips: Array, values: Array) -> dict[str, Array]:
    pieces = np.array([name.partition("-")[0] for name in clips])
    return {piece: values[pieces == piece].mean(axis=0) for piece in dict.fromkeys(pieces)}


def test_score_is_of_mean_probabilities(clips: Manifest, tmp_path: Path) -> None:
    card = _card(tmp_path)
    [result] = probekit.evaluate(str(card), "a", root=tmp_path, grid=[1.0])
    [path] = (reports_root() / "results/pieces").glob("a-*.json")
    by_clip = load_predictions(path, result, by_clip=True)
    assert len(by_clip.clip_ids) == len(clips)
    by_piece = load_predictions(path, result)
    means = _mean_by_piece(by_clip.clip_ids, softmax(by_clip.scores, axis=1))
    names = [name.partition(".")[0] for name in by_piece.clip_ids]
    np.testing.assert_allclose(by_piece.scores, [means[name] for name in names], atol=1e-12)
    labels = _mean_by_piece(by_clip.clip_ids, by_clip.targets)
    right = np.array([means[name].argmax() == labels[name] for name in names])
    accuracy = np.mean([right[by_piece.fold == fold].mean() for fold in range(3)])
    assert result["score"] == pytest.approx(accuracy, abs=1e-12)
    assert result["pieces"] == PIECES and result["clips"]["used"] == len(clips)
    assert (
        f"scored by recording: mean probabilities of the {len(clips)} clips of {PIECES} recordings"
        in (result["provenance"])
    )
    [single] = probekit.evaluate(
        str(_card(tmp_path, aggregate=None)), "a", root=tmp_path, grid=[1.0]
    )
    assert single["run"] != result["run"] and "pieces" not in single
    assert result["score"] > single["score"] + 0.05  # means of four clips know more than one clip
    assert not any(outcome.faults for outcome in verify())


def test_interval_and_test_are_over_pieces(clips: Manifest, tmp_path: Path) -> None:
    card = str(_card(tmp_path))
    [result, _] = probekit.evaluate(card, ["a", "b"], root=tmp_path, grid=[1.0])
    [path] = (reports_root() / "results/pieces").glob("a-*.json")
    by_piece = load_predictions(path, result)
    expected = confidence_interval(
        get_metric("accuracy"),
        by_piece.targets,
        by_piece.scores,
        by_piece.fold,
        np.full(PIECES, ""),
    )
    assert (result["interval"]["low"], result["interval"]["units"]) == (expected.low, PIECES)
    [comparison] = probekit.compare("a", "b", task="pieces")
    assert comparison.clips == PIECES
    assert comparison.scores[0] == pytest.approx(result["score"])
    assert not [note for note in comparison.notes if "that both scored" in note]


def test_other_protocols_are_compared_clip_by_clip(clips: Manifest, tmp_path: Path) -> None:
    card = str(_card(tmp_path))
    result = audit(card, ["a"], root=tmp_path, protocols=["fixed-c"])
    by_piece, by_rules = (protocol.groups[0].results[0] for protocol in result.protocols)
    note = "scored clip by clip, unlike the task itself: by recording"
    assert note in by_rules["provenance"] and note not in by_piece["provenance"]
    [shift] = result.protocols[1].shifts
    assert shift.clips == len(clips)
    # the difference that C makes, not that of pieces to clips
    [by_clip] = probekit.evaluate(str(_card(tmp_path, aggregate=None)), "a", root=tmp_path)
    assert shift.difference == pytest.approx(by_rules["score"] - by_clip["score"], abs=0.03)
    assert by_piece["score"] > by_rules["score"] + 0.05


def test_settings_are_selected_on_whole_pieces(clips: Manifest, tmp_path: Path) -> None:
    """Features name the recording and say nothing else, and groups are finer than recordings.

    Where recordings are torn, the nearest neighbor is right for all clips; else it knows nothing.
    """
    sides = np.where(clips.column("fold") == "0", "test", "train")
    rows = clips.table.assign(fold="", split=sides, group=clips.clip_ids)
    split = from_rows("pieces", rows.to_dict("records"), root=tmp_path)
    number = np.unique(split.column("path"), return_inverse=True)[1]
    made = np.random.default_rng(1).normal(size=(PIECES, 20))[number].astype(np.float32)
    np.save("x.npy", made)
    import_arrays("named", split, [Path("x.npy")], cache=cache_root(), dataset="pieces")
    Path("rows.csv").write_text(split.to_csv(), encoding="utf-8")
    card = str(_card(tmp_path, protocol={"kind": "split"}))
    [result] = probekit.evaluate(card, "named", root=tmp_path, probe="knn")
    assert max(result["folds"][0]["curve"]) < 0.8


def test_piece_in_two_folds_is_refused(clips: Manifest, tmp_path: Path) -> None:
    text = Path("rows.csv").read_text(encoding="utf-8")
    assert "p5-0,p5.wav,0.0,1.0,2" in text
    Path("rows.csv").write_text(
        text.replace("p5-0,p5.wav,0.0,1.0,2", "p5-0,p5.wav,0.0,1.0,1"), encoding="utf-8"
    )
    with pytest.raises(DataError, match=r"clips in training and in test, 1: 'p5\.wav'"):
        probekit.evaluate(str(_card(tmp_path)), "a", root=tmp_path)
    made = {"kind": "made-folds", "folds": 3}
    with pytest.raises(DataError, match="Set protocol: grouped: true in the card"):
        probekit.evaluate(str(_card(tmp_path, protocol=made)), "a", root=tmp_path)


def test_check_tells_that_no_piece_can_be_held_out(clips: Manifest, tmp_path: Path) -> None:
    """Every clip is a group of its own, so that only pieces stand against a division."""
    sides = np.where(clips.column("path") == "p0.wav", "train", "test")
    rows = clips.table.assign(fold="", split=sides, group=clips.clip_ids)
    Path("rows.csv").write_text(
        from_rows("pieces", rows.to_dict("records")).to_csv(), encoding="utf-8"
    )
    split = {"kind": "split"}
    faults = {
        aggregate: check_folder(load_task(str(_card(tmp_path, **options))), tmp_path).faults
        for aggregate, options in {
            "recording": {"protocol": split},
            "none": {"protocol": split, "aggregate": None},
        }.items()
    }
    expected = "split 'test': the training clips are all of one group or piece ('p0-0'): none"
    assert [text for text in faults["recording"] if text.startswith(expected)]
    assert not [text for text in faults["none"] if "none can be held out" in text]


def test_check_names_pieces_in_two_folds(clips: Manifest, tmp_path: Path) -> None:
    text = Path("rows.csv").read_text(encoding="utf-8").replace("0.0,1.0,2", "0.0,1.0,1")
    Path("rows.csv").write_text(text, encoding="utf-8")
    faults = check_folder(load_task(str(_card(tmp_path))), tmp_path).faults
    assert "pieces with clips in training and in test, 20: 'p" in faults[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": "high"}, r"clips differ, 1: 'p0\.wav'"),
        ({"aggregate": "group"}, "no clip has a group"),
    ],
)
def test_bad_pieces(changes: dict[str, str], message: str) -> None:
    rows = [
        {"clip_id": f"c{k}", "path": "p0.wav", "start": float(k), "end": k + 1.0, "labels": label}
        for k, label in enumerate(["low", changes.get("labels", "low")])
    ]
    clips = from_rows("pieces", rows, class_names=("high", "low"))
    aggregate = changes.get("aggregate", "recording")
    card = load_task_card("synth").model_copy(update={"aggregate": aggregate})
    with pytest.raises(DataError, match=message):
        name_pieces(card, clips)


def test_average() -> None:
    scores = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]])
    means = average(scores, np.array(["b", "a", "b"]))
    np.testing.assert_array_equal(means, [[0.25, 0.75], [1.0, 0.0], [0.25, 0.75]])
