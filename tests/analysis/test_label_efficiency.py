"""Scores by share of the training labels."""

import numpy as np
import pytest

from probekit.analysis.label_efficiency import label_efficiency
from probekit.errors import DataError


def shares(kept, embedding, scores, **others):
    """Runs right for a share of 100 clips: {fraction: one share a seed}."""
    targets = np.arange(100) % 2
    for fraction, own in scores.items():
        for seed, share in enumerate(own):
            said = np.where(np.arange(100) < round(100 * share), targets, 1 - targets)
            kept.guess(embedding, said, targets, fraction=fraction, seed=seed,
                       train=round(400 * fraction), **others)  # fmt: skip


def test_means_and_spreads_over_seeds(kept):
    shares(kept, "good", {0.1: [0.5, 0.6, 0.7], 0.5: [0.7, 0.8], 1.0: [0.9]})
    shares(kept, "bad", {0.1: [0.4], 1.0: [0.5]})
    shares(kept, "single", {1.0: [0.95]})  # one share only: no line
    found = label_efficiency("mine", reports=kept.root)
    assert [line.label for line in found.curves] == ["good", "bad"]
    good = found.curves[0].points
    assert [(p.fraction, p.labels) for p in good] == [(0.1, 40), (0.5, 200), (1.0, 400)]
    assert [round(p.mean, 9) for p in good] == [0.6, 0.75, 0.9]
    assert good[0].spread == pytest.approx(0.1) and np.isnan(good[2].spread)
    rows = found.rows()
    assert len(rows) == 5 and rows[0]["seeds"] == 3 and rows[0]["highest"] == pytest.approx(0.7)
    assert "seeds (2 to 3" in found.caption and "Points without a bar" in found.caption
    assert len(found.facts()["runs"]) == 8


def test_lines_differ_by_probe_and_weights(kept):
    for k, others in enumerate(
        [
            {},
            {"probe": "mlp"},
            {"source": {"fingerprint": "a" * 64}, "provenance": ["random weights"]},
        ]
    ):
        shares(kept, "net", {0.5: [0.6], 1.0: [0.7 + 0.1 * k]}, **others)
    found = label_efficiency("mine", reports=kept.root)
    assert [line.label for line in found.curves] == ["net@aaaaaaaa", "net / mlp", "net@ffffffff"]
    one_seed = "one seed (--seeds 5 shows the spread)"  # of half of the labels
    assert found.provenance == ("random weights (net@aaaaaaaa)", one_seed)
    assert "One seed each" in found.caption


def test_only_some_embeddings(kept):
    for name in ("one", "other"):
        shares(kept, name, {0.5: [0.6], 1.0: [0.7]})
    found = label_efficiency("mine", reports=kept.root, embeddings=["other"])
    assert [line.label for line in found.curves] == ["other"]
    assert found.name == "efficiency-mine-other"
    with pytest.raises(DataError, match="no results of third; results exist for one, other"):
        label_efficiency("mine", reports=kept.root, embeddings=["third"])


def test_without_shares_the_command_is_named(kept):
    with pytest.raises(DataError, match="no results of mine yet"):
        label_efficiency("mine", reports=kept.root)
    shares(kept, "one", {1.0: [0.6]})
    with pytest.raises(DataError, match=r"--fraction 0.01,0.1,1 --seeds 5"):
        label_efficiency("mine", reports=kept.root)
