"""``probekit extractors check``: what changes though the sound does not."""

import json

import pytest
import torch

from probekit.cards import ExtractorCard, Stream
from probekit.extractors import drift
from probekit.extractors.base import WholeClipExtractor, WindowedExtractor

torch.set_num_threads(1)


def card(**stream):
    facts = {"dim": 2, "kind": "frames", "hop": "1/10", "first_center": "1/20", "window": "1/10"}
    return ExtractorCard(
        name="own", title="Own", version=1, module="own", sample_rate=1000, long_audio="exact",
        default_stream="e", streams={"e": Stream(**{**facts, **stream})},
    )  # fmt: skip


class Windows(WindowedExtractor):
    """Mean and power of windows: nothing depends on anything else."""

    window = hop = 100

    def frontend(self, pieces):
        return pieces

    def embed(self, features):
        return {"e": torch.stack([features.mean(1), features.square().mean(1)], 1)}


class Faulty(Windows):
    """Adds a share of the other clips of a batch, or of a random number."""

    share, noise = 0.0, 0.0

    def embed(self, features):
        values = super().embed(features)["e"]
        values = values + self.share * values.mean(0)
        return {"e": values + self.noise * torch.rand(1)}


class Centered(WholeClipExtractor):
    """Windows of a clip whose loudest sample is 1."""

    def frontend(self, pieces):
        return pieces / pieces.abs().amax(1, keepdim=True)

    def embed(self, features):
        windows = features.unfold(1, 100, 100)
        return {"e": torch.stack([windows.mean(2), windows.square().mean(2)], 2)}


def built(cls, **attributes):
    extractor = cls(card(), {}, ["e"])
    for name, value in attributes.items():
        setattr(extractor, name, value)
    return drift.measure_drift(extractor)


def test_nothing_changes():
    changes = built(Windows)["e"]
    assert set(changes) == set(drift.CONDITIONS)
    assert max(changes.values()) <= 1e-6
    assert drift.exceeds_limit({"e": changes}) == []


def test_companions_and_chance_are_seen():
    company = built(Faulty, share=0.01)
    assert company["e"]["alone"] > 1e-4 and company["e"]["again"] == 0
    assert "e alone" in drift.exceeds_limit(company)
    chance = built(Faulty, noise=0.01)
    assert "e again" in drift.exceeds_limit(chance)
    assert drift.exceeds_limit({"e": {"again": float("nan"), "pieces": 9.0}}) == ["e again"]


def test_pieces_of_a_clip_that_is_scaled_as_a_whole():
    changes = built(Centered)["e"]
    assert changes["again"] == 0 and changes["alone"] <= 1e-6
    assert 1e-3 < changes["pieces"] < 1
    assert drift.exceeds_limit({"e": changes}) == []


def test_check_and_show(main):
    done = main("extractors", "check", "melstats")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:5] == ["stream", *drift.CONDITIONS]
    (result,) = drift.load_drift("melstats")
    assert result["drift"]["stats"]["again"] == 0
    assert result["versions"]["torch"] == torch.__version__
    shown = json.loads(main("extractors", "show", "melstats", "--json").stdout)
    assert shown["drift"][0].startswith("stats: again 0, alone ")
    assert drift.load_drift("mfcc") == []


def test_check_of_a_model_of_transformers(main, tmp_path):
    pytest.importorskip("transformers")
    from tiny_models import make_model

    from probekit.extractors.adapters import hf_model

    with hf_model.quiet():
        make_model(tmp_path / "clap", "clap")
    name = f"hf:{tmp_path / 'clap'}"
    done = main("extractors", "check", name, "--streams", "pooled", "--weights", f"{name}=random:1")
    assert done.returncode == 0, done.stderr
    assert (
        "hf:clap: relative changes; random weights (seed 1)" in done.stdout
    )  # no symbol for :clap:
    shown = main("extractors", "show", name).stdout
    assert "drift:\n    pooled: again 0, alone" in shown
    assert "hop 2" in shown


def test_check_fails_where_companions_matter(main, monkeypatch):
    monkeypatch.setattr(
        drift, "measure_drift", lambda extractor: {"stats": {"again": 0.0, "alone": 2e-5}}
    )
    done = main("extractors", "check", "melstats")
    assert done.returncode == 1
    assert "melstats: more than rounding: stats alone" in done.stderr
