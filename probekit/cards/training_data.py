"""What extractors were trained on, and what that has in common with the recordings of tasks.

Sources are names such as ``AudioSet`` or ``Freesound``. A card lists the nearest one first and what
that was drawn from after it: ``[AudioSet, YouTube]``. A shared source does not prove that a test
clip was trained on, only that it may have been; where clips have the numbers of their recordings,
:mod:`probekit.tasks.shared_recordings` counts them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from probekit.cards.loader import card_paths, load_extractor_card, load_valid_task_cards
from probekit.cards.schema import ExtractorCard, TaskCard
from probekit.cards.selector import STUDENT_PREFIX

UNKNOWN = "not established"
_RANDOM = "random:"


def training_sources(extractor: str, identity: Mapping[str, Any]) -> list[str] | None:
    """Return the sources that an extractor was trained on; None where that is not established.

    Parameters
    ----------
    extractor : str
        Name, as results have it.
    identity : mapping
        What its fingerprint covers: weights and parameters. With random weights it is untrained.
    """
    weights = [str(value) for value in identity.get("weights", {}).values()]
    if weights and all(value.startswith(_RANDOM) for value in weights):
        return []
    if extractor.startswith(STUDENT_PREFIX):  # its training clips are known one by one
        return []
    if extractor not in card_paths("extractors"):
        return None
    card = load_extractor_card(extractor)
    if _has_other_weights(card, identity):
        return None
    if not isinstance(card.trained_on, dict):
        return card.trained_on
    defaults = {name: parameter.default for name, parameter in card.parameters.items()}
    values = {**defaults, **identity.get("params", {})}
    for condition, sources in card.trained_on.items():
        name, _, value = condition.partition("=")
        if str(values.get(name)) == value:
            return sources
    return None


def _has_other_weights(card: ExtractorCard, identity: Mapping[str, Any]) -> bool:
    """Tell whether weights are not the card's but a user's own, where their hash is known."""
    for role, text in identity.get("weights", {}).items():
        facts = card.weights.get(role) if role.partition("/")[0] == "main" else None
        expected = (facts.sha256 or facts.sha256_prefix or "") if facts else ""
        kind, _, digest = str(text).partition(":")
        if kind == "sha256" and not digest.startswith(expected.lower()):
            return True
    return False


def describe_training(extractor: str, identity: Mapping[str, Any]) -> str:
    """Return what an extractor was trained on, in words for a table."""
    sources = training_sources(extractor, identity)
    if sources is None:
        return UNKNOWN
    if extractor.startswith(STUDENT_PREFIX):
        return "its own task"
    return sources[0] if sources else "nothing"


def training_notes(
    extractors: Sequence[tuple[str, Mapping[str, Any]]], card: TaskCard
) -> list[str]:
    """Return what must be shown beside a score of extractors on a task.

    Parameters
    ----------
    extractors : sequence of (str, mapping)
        Names and identities; see :func:`training_sources`.
    card : TaskCard
        The task.

    Returns
    -------
    list of str
        That training data is not established, or shares a source with the task's recordings.
    """
    notes = []
    for name, identity in extractors:
        sources = training_sources(name, identity)
        if sources is None:
            of_name = f" of {name}" if len(extractors) > 1 else ""
            notes.append(f"training data{of_name}: {UNKNOWN}")
            continue
        of_task = task_sources(card) or []
        shared = shared_sources(sources, of_task)
        if not shared:
            continue
        if shared[0] == sources[0]:
            text = f"{name} was trained on {shared[0]}, a source of {card.name}"
        else:
            text = f"{name} was trained on {sources[0]}; recordings of it and of {card.name} are of"
            text += f" {shared[0]}"
        notes.append(f"{text}: it may know test clips")
    return list(dict.fromkeys(notes))


def shared_sources(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Return the sources that two lists have in common, in the order of the first."""
    return [source for source in first if source in second]


def task_sources(card: TaskCard) -> list[str] | None:
    """Return a task's sources by its card, else by those of tasks on the same dataset.

    An empty list is recordings of no collection; None where no card names sources.
    """
    if card.sources is not None:
        return card.sources
    listed = [each.sources for each in load_valid_task_cards() if each.dataset == card.dataset]
    return next((sources for sources in listed if sources is not None), None)
