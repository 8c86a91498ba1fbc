"""Scores and what they cost."""

import numpy as np
import pytest

import probekit
from probekit import cards
from probekit.analysis import cost as module
from probekit.analysis.cost import cost
from probekit.cache import embeddings as embeddings_module
from probekit.errors import DataError
from probekit.extraction import estimate


def scored(kept, embedding, right=60, **others):
    targets = np.arange(100) % 2
    said = np.where(np.arange(100) < right, targets, 1 - targets)
    return kept.guess(embedding, said, targets, **others)


def test_parameters_and_gflop_are_the_cards(kept):
    scored(kept, "vggish", 80)
    scored(kept, "convnet", 90)
    scored(kept, "melstats", 70)
    found = cost("mine", reports=kept.root)
    card = cards.load_extractor_card("vggish")
    own = {one.group.label: one.costs for one in found.points}
    assert own["vggish"] == {"parameters": card.parameter_count, "gflop": card.gflop_per_second}
    assert own["melstats"] == {"parameters": 0}  # no network
    assert [one.group.label for one in found.points] == ["convnet", "vggish", "melstats"]
    assert found.axes == ("parameters", "gflop")
    assert "GFLOP per second of audio not known: melstats" in found.notes
    assert any("seconds per second of audio: not known of any run" in n for n in found.notes)
    assert found.rows()[2]["gflop"] == "" and found.rows()[2]["parameters"] == 0


def test_side_by_side_costs_are_added(kept):
    one = {"extractor": "vggish", "fingerprint": "f", "identity": {}}
    other = {"extractor": "convnet", "fingerprint": "f", "identity": {}}
    scored(kept, "vggish+convnet", sources=[one, other])
    [point] = cost("mine", reports=kept.root).points
    both = [cards.load_extractor_card(name) for name in ("vggish", "convnet")]
    assert point.costs["parameters"] == sum(card.parameter_count for card in both)
    assert point.costs["gflop"] == pytest.approx(sum(card.gflop_per_second for card in both))


def test_settings_other_than_the_card_s_are_said(kept):
    changed = {"identity": {"params": {"input": "mel128", "content": "music"}}}
    scored(kept, "openl3:input=mel128", source=changed)
    scored(kept, "vggish")
    notes = cost("mine", reports=kept.root).notes
    assert any("default settings, not of these: openl3:input=mel128" in note for note in notes)


def test_seconds_are_those_of_extraction(kept, corpus, tmp_path):
    assert module.SPEED == estimate.SPEED
    where = tmp_path / "cache"
    probekit.extract("melstats", audio=corpus, cache=where)
    [embeddings] = embeddings_module.list_embeddings(where)
    speeds = module._speeds(embeddings)
    assert speeds and all(speed > 0 and device == "cpu" for speed, device in speeds)
    source = {"fingerprint": embeddings.layout.fingerprint}
    scored(kept, "melstats", source=source)
    found = cost("mine", reports=kept.root, cache=where)
    assert found.axes == ("seconds",)  # no network: nothing to show of parameters
    [point] = found.points
    assert point.costs["seconds"] == pytest.approx(1 / np.median([s for s, _ in speeds]))
    assert point.device == "cpu" and "on cpu" in found.caption


def test_runs_on_part_of_the_labels_do_not_count(kept):
    scored(kept, "vggish", fraction=0.5)
    with pytest.raises(DataError, match="on part of the labels"):
        cost("mine", reports=kept.root)
    scored(kept, "vggish")
    assert len(cost("mine", reports=kept.root).points) == 1


def test_nothing_known_is_an_error(kept):
    scored(kept, "mine-own")
    scored(kept, "vggish", source={"identity": {"imported": []}})
    with pytest.raises(DataError, match="the cost of mine-own, vggish is unknown"):
        cost("mine", reports=kept.root)
