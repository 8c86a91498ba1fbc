import os
from fractions import Fraction

import pytest
import yaml

from probekit import cards
from probekit.errors import CardError, UnknownNameError

EXTRACTOR = {
    "name": "mine",
    "title": "Mine",
    "version": 1,
    "module": "melstats",
    "sample_rate": 16000,
    "long_audio": "windowed",
    "default_stream": "out",
    "streams": {
        "out": {"dim": 3, "kind": "frames", "hop": "24/25", "first_center": 0.48, "window": "0.96"}
    },
}


def put(folder, content, name="mine"):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("kind", ["extractors", "tasks"])
def test_every_card_that_comes_along_is_valid(kind):
    names = cards.card_paths(kind)
    assert len(names) >= 5
    assert list(names) == sorted(names)
    for name in names:
        assert cards.load_card(kind, name).name == name


def test_streams_were_compared_on_datasets_that_exist():
    datasets = {cards.load_task_card(name).dataset for name in cards.card_paths("tasks")}
    compared = {
        (name, stream, dataset)
        for name in cards.card_paths("extractors")
        for stream, facts in cards.load_extractor_card(name).streams.items()
        for dataset in facts.compared_on
    }
    assert ("convnet", "layers", "gtzan") in compared  # else nothing is tested
    assert {dataset for *_, dataset in compared} <= datasets


@pytest.mark.parametrize("inside", ["extractors", "."])
def test_a_user_s_own_card_is_found_first(tmp_path, monkeypatch, inside):
    put(tmp_path / inside, EXTRACTOR)
    put(tmp_path / inside, {**EXTRACTOR, "name": "vggish", "title": "Own"}, "vggish")
    assert cards.load_extractor_card("vggish").title != "Own"
    monkeypatch.setenv("PROBEKIT_CARDS", str(tmp_path))
    assert cards.load_extractor_card("vggish").title == "Own"
    assert cards.load_extractor_card("mine").sample_rate == 16000
    assert cards.load_extractor_card("melstats").sample_rate == 22050


def test_a_folder_of_cards_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBEKIT_CARDS", str(tmp_path / "gone"))
    with pytest.raises(CardError, match=r"PROBEKIT_CARDS names .*gone: no such folder"):
        cards.load_extractor_card("melstats")


def test_a_changed_card_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBEKIT_CARDS", str(tmp_path))
    path = put(tmp_path, EXTRACTOR)
    assert cards.load_extractor_card("mine").version == 1
    put(tmp_path, {**EXTRACTOR, "version": 2})
    os.utime(path, ns=(1, 1))
    assert cards.load_extractor_card("mine").version == 2


def test_times_are_exact(tmp_path):
    stream = cards.read_card(put(tmp_path, EXTRACTOR), cards.ExtractorCard).streams["out"]
    assert (stream.hop, stream.first_center) == (Fraction(24, 25), Fraction(12, 25))


def without(key):
    return {k: v for k, v in EXTRACTOR.items() if k != key}


def with_stream(**changes):
    return {**EXTRACTOR, "streams": {"out": {**EXTRACTOR["streams"]["out"], **changes}}}


def with_resampler(**facts):
    return {**EXTRACTOR, "parameters": {"resampler": facts}}


@pytest.mark.parametrize(
    "content, faults",
    [
        ({**EXTRACTOR, "sampel_rate": 1}, ["sampel_rate: unknown field (misspelt?)"]),
        (without("version"), ["version: this field is required"]),
        (
            {**EXTRACTOR, "sample_rate": 0, "module": 3},
            ["sample_rate: ", "greater than 0, got 0", "module: "],
        ),
        ({**EXTRACTOR, "name": "My Card"}, ["name: ", "'My Card'"]),
        (
            {**EXTRACTOR, "default_stream": "in"},
            ["default_stream must be one of the streams, got 'in'"],
        ),
        (
            with_resampler(default="kaiser_best"),
            ["the default of resampler must be the card's resampler, 'soxr_hq', got 'kaiser_best'"],
        ),
        (
            with_resampler(default="soxr_hq", choices=["soxr_hq", "sinc"]),
            ["choices of resampler must be among soxr_hq, kaiser_best, ", "got 'sinc'"],
        ),
        (with_resampler(default="soxr_hq"), ["choices of resampler must be among", "got ''"]),
        (with_stream(hop=None), ["streams.out: ", "needs hop, first_center and window"]),
        (with_stream(hop="1/0"), ["streams.out.hop: ", "'1/0'"]),
        (with_stream(hop=0), ["hop and window must be > 0 s"]),
        (with_stream(window="-1/2"), ["hop and window must be > 0 s"]),
        (with_stream(dim=0), ["streams.out.dim: "]),
        ("[1, 2]", ["a card must be a mapping of fields, got list"]),
        ("a: [1", ["not a YAML file"]),
        ("!!python/object/apply:os.system [true]", ["not a YAML file"]),
        ("", ["a card must be a mapping"]),
    ],
)
def test_faults_are_named_with_file_and_field(tmp_path, content, faults):
    path = put(tmp_path, content)
    with pytest.raises(CardError) as caught:
        cards.read_card(path, cards.ExtractorCard)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    for fault in faults:
        assert fault in text


def test_a_card_that_is_no_text_or_not_there(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"name: \xff")
    with pytest.raises(CardError, match="not a YAML file"):
        cards.read_card(tmp_path / "a.yaml", cards.TaskCard)
    with pytest.raises(CardError, match="No such file"):
        cards.read_card(tmp_path / "b.yaml", cards.TaskCard)


def test_the_name_inside_is_the_file_s(tmp_path, monkeypatch):
    put(tmp_path, EXTRACTOR, "other")
    monkeypatch.setenv("PROBEKIT_CARDS", str(tmp_path))
    with pytest.raises(CardError, match="name must be 'other' as in the file name, got 'mine'"):
        cards.load_extractor_card("other")


def test_made_folds_need_their_number():
    with pytest.raises(ValueError, match="made-folds needs folds"):
        cards.Protocol(kind="made-folds")


@pytest.mark.parametrize(
    "kind, name, near", [("extractors", "vgish", "vggish"), ("tasks", "FSD", "fsdd")]
)
def test_a_misspelt_card_brings_the_near_ones(kind, name, near):
    with pytest.raises(UnknownNameError, match=f"Did you mean .*'{near}'"):
        cards.load_card(kind, name)
