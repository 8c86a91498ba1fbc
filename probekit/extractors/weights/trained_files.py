"""Weights of published networks that were trained here, in their keys, with the training's card.

Such a file is one of torch with one more entry, JSON, from which scores know that they are not
those of the published weights.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from probekit.cards import ExtractorCard
from probekit.errors import WeightsError
from probekit.extractors import labels
from probekit.extractors.weights.source import MAIN, WeightsSource, local_path
from probekit.utils.atomic import atomic_write

_ENTRY = "archive/probekit.json"  # in the folder that torch gives to all entries
_DATE = (1980, 1, 1, 0, 0, 0)  # the same file for the same weights


def write_trained(path: Path, state: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Write weights with what they were trained on: complete, or not at all.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    state : mapping of str to object
        What ``torch.load`` returns; its tensors are on the CPU.
    facts : mapping of str to object
        Plain values: at least ``network``, ``classes`` and ``note``; ``bundles`` lists further
        roles of weights that are in the file.
    """
    import torch

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # torch.save would store the name of a path in the file
            torch.save(dict(state), file)
        with zipfile.ZipFile(temporary, "a") as archive:
            content = json.dumps(facts, ensure_ascii=False, indent=1)
            archive.writestr(zipfile.ZipInfo(_ENTRY, _DATE), content)

    atomic_write(path, write)


def read_facts(path: Path | None) -> dict[str, Any] | None:
    """Return what the weights of a file were trained on; None for files of other origin."""
    try:
        if path is None or not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive:
            facts = json.loads(archive.read(_ENTRY))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None
    return facts if isinstance(facts, dict) and "note" in facts else None


def with_bundled_roles(
    card: ExtractorCard, overrides: Mapping[str, str], required: Mapping[str, Any]
) -> dict[str, str]:
    """Return ``--weights`` of an extractor with the further roles that its main file has."""
    result = dict(overrides)
    if MAIN not in required:
        return result
    text = overrides.get(f"{card.name}.{MAIN}")
    path = Path(text) if text else local_path(card, required[MAIN])
    facts = read_facts(path)
    for role in facts.get("bundles", ()) if facts else ():
        if role in required:
            result.setdefault(f"{card.name}.{role}", str(path))
    return result


def describe_trained(card: ExtractorCard, sources: Mapping[str, WeightsSource]) -> ExtractorCard:
    """Return a card whose caveat says what its weights were trained on, if that was here.

    Raises
    ------
    WeightsError
        If they are of another network or of other classes.
    """
    main = sources.get(MAIN)
    facts = read_facts(main.path) if main else None
    if facts is None:
        return card
    assert main is not None
    if facts["network"] != card.name:
        raise WeightsError(
            f"{main.path}: weights of {facts['network']}, trained on {facts.get('task')}; "
            f"--weights {card.name} needs those of {card.name}"
        )
    expected = labels.load_labels(card.classes_file) if card.classes_file else ()
    classes = tuple(facts["classes"])
    if expected and classes != tuple(expected):
        wrong = next((a for a, b in zip(classes, expected, strict=False) if a != b), "")
        raise WeightsError(
            f"{main.path}: trained on the {len(classes):,} classes of {facts.get('task')}, not on "
            f"the {len(expected):,} of {card.name} in their order"
            + (f" (such as {wrong!r})" if wrong else "")
            + ". Take the trained network itself: -e runs/ID"
        )
    return card.model_copy(update={"caveat": facts["note"]})
