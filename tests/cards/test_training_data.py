"""What extractors were trained on, beside the sources of tasks."""

import pytest

from probekit import cards
from probekit.cards import training_data

TRAINED = {"weights": {"main": "sha256:0123"}}
RANDOM = {"weights": {"main": "random:0"}}


def weights_of(name, role="main"):
    """Weights that have the hash of the card."""
    facts = cards.load_extractor_card(name).weights[role]
    return {"weights": {role: f"sha256:{facts.sha256 or facts.sha256_prefix}"}}


@pytest.mark.parametrize("name", sorted(cards.card_paths("extractors")))
def test_cards_name_sources_or_leave_them_open(name):
    card = cards.load_extractor_card(name)
    assert name in ("cf", "resemblyzer") or card.trained_on is not None
    assert "trained_on" not in card.model_dump()  # stored cards keep their bytes
    if isinstance(card.trained_on, dict):
        for condition in card.trained_on:
            parameter, _, value = condition.partition("=")
            assert value in card.parameters[parameter].choices


@pytest.mark.parametrize("task", ["esc50", "urbansound8k", "fsd50k", "fsdkaggle2019-curated"])
def test_four_datasets_are_of_freesound(task):
    assert "Freesound" in cards.load_task_card(task).sources


def test_networks_without_training():
    assert training_data.training_sources("vggish", RANDOM) == []
    assert training_data.training_sources("melstats", {"weights": {}}) == []
    assert training_data.describe_training("melstats", {"weights": {}}) == "nothing"


def test_training_data_may_depend_on_a_parameter():
    for model, source in (
        ("MTT_musicnn", "MagnaTagATune"),
        ("MSD_musicnn", "Million Song Dataset"),
    ):
        identity = {**TRAINED, "params": {"model": model}}
        assert training_data.training_sources("musicnn", identity)[0] == source
    default = cards.load_extractor_card("musicnn").parameters["model"].default
    assert training_data.training_sources("musicnn", TRAINED) == training_data.training_sources(
        "musicnn", {**TRAINED, "params": {"model": default}}
    )


def test_what_is_not_known_is_said():
    card = cards.load_task_card("esc50")
    assert training_data.training_notes([("choi2017", {})], card) == [
        "training data: not established"
    ]
    both = training_data.training_notes([("choi2017", {}), ("melstats", {})], card)
    assert both == ["training data of choi2017: not established"]
    assert training_data.describe_training("choi2017", {}) == "not established"


def test_shared_sources_are_said():
    dcase = cards.load_task_card("dcase2017-4")
    assert training_data.training_notes([("yamnet", TRAINED)], dcase) == [
        "yamnet was trained on AudioSet, a source of dcase2017-4: it may know test clips"
    ]
    assert training_data.training_notes([("vggish", weights_of("vggish"))], dcase) == [
        "vggish was trained on YouTube-8M; recordings of it and of dcase2017-4 are of YouTube: it "
        "may know test clips"
    ]
    assert training_data.training_notes([("yamnet", TRAINED)], cards.load_task_card("esc50")) == []
    assert training_data.training_notes([("yamnet", RANDOM)], dcase) == []


def test_students_are_known_clip_by_clip():
    assert training_data.training_sources("student-0123456789ab", TRAINED) == []
    assert training_data.describe_training("student-0123456789ab", TRAINED) == "its own task"


def test_own_weights_are_not_those_of_the_card():
    """By their hash, where the card has one."""
    dcase = cards.load_task_card("dcase2017-4")
    assert training_data.training_notes([("vggish", TRAINED)], dcase) == [
        "training data: not established"
    ]
    assert training_data.describe_training("vggish", TRAINED) == "not established"
    assert training_data.describe_training("vggish", weights_of("vggish")) == "YouTube-8M"


def test_a_task_may_be_of_no_collection():
    own = cards.load_task_card("esc50").model_copy(update={"sources": []})
    assert training_data.task_sources(own) == []
    unknown = own.model_copy(update={"sources": None})
    assert training_data.task_sources(unknown) == ["Freesound"]
