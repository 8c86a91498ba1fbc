"""Cards: YAML files of facts about extractors, tasks and papers, checked when they are read.

A card is found by its name in, first to last: the folders named by ``PROBEKIT_CARDS`` (or
``--cards``), the folders that installed packages announce through the entry points
``probekit.extractors`` and ``probekit.tasks``, and the cards that come with probekit.
"""

import os
import warnings
from functools import lru_cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from probekit.cards.schema import Card, ExtractorCard, Kind, PaperCard, TaskCard
from probekit.errors import CardError
from probekit.utils.suggest import unknown_name_error

C = TypeVar("C", bound=Card)
_SCHEMAS: dict[str, type[Card]] = {
    "extractors": ExtractorCard,
    "tasks": TaskCard,
    "reports": PaperCard,
}


def _builtin_folder(kind: Kind) -> Path:
    """Return the folder of the cards that come with probekit: the wheel's, or the checkout's."""
    package = Path(str(resources.files("probekit")))
    inside = package / "_cards" / kind
    return inside if inside.is_dir() else package.parent / kind


def card_folders(kind: Kind) -> list[Path]:
    """Return the folders in which cards of a kind are looked for, the first found wins.

    Parameters
    ----------
    kind : {"extractors", "tasks", "reports"}
        What the cards describe.

    Returns
    -------
    list of pathlib.Path
        Existing folders.

    Raises
    ------
    CardError
        If ``PROBEKIT_CARDS`` names a folder that does not exist.
    """
    found: list[Path] = []
    for root in filter(None, os.environ.get("PROBEKIT_CARDS", "").split(os.pathsep)):
        if not Path(root).is_dir():
            raise CardError(f"PROBEKIT_CARDS names {root}: no such folder")
        found += [Path(root) / kind, Path(root)]
    for entry in metadata.entry_points(group=f"probekit.{kind}"):
        found.append(Path(str(entry.load())))
    return [p for p in [*found, _builtin_folder(kind)] if p.is_dir()]


def card_paths(kind: Kind) -> dict[str, Path]:
    """Return the names of all cards of a kind, with their files.

    Parameters
    ----------
    kind : {"extractors", "tasks", "reports"}
        What the cards describe.

    Returns
    -------
    dict of str to pathlib.Path
        Sorted by name.
    """
    found: dict[str, Path] = {}
    for folder in card_folders(kind):
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def read_card(path: Path, schema: type[C]) -> C:
    """Read one card and check it.

    Parameters
    ----------
    path : pathlib.Path
        A YAML file; read with ``yaml.safe_load``.
    schema : type
        The card's model.

    Returns
    -------
    Card
        The checked card.

    Raises
    ------
    CardError
        If the file is not YAML, or a field is missing, unknown or of the wrong kind; names the
        file and every such field.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CardError(f"{path}: not a YAML file: {error}") from error
    except OSError as error:
        raise CardError(f"{path}: cannot be read: {error.strerror}") from error
    if not isinstance(content, dict):
        raise CardError(f"{path}: a card is a mapping of fields, this is {type(content).__name__}")
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        faults = [
            f"  {'.'.join(str(p) for p in fault['loc']) or 'card'}: {_format_validation_error(fault)}"
            for fault in error.errors()
        ]
        raise CardError(f"{path}: not a valid card:\n" + "\n".join(faults)) from error


def _format_validation_error(fault: Any) -> str:
    """Say a pydantic fault in plain words."""
    if fault["type"] == "extra_forbidden":
        return "unknown field (misspelt?)"
    if fault["type"] == "missing":
        return "this field is required"
    return f"{fault['msg']} (given: {fault['input']!r})"


@lru_cache(maxsize=256)
def _load(kind: Kind, path: Path, mtime_ns: int) -> Card:
    return read_card(path, _SCHEMAS[kind])


def load_card(kind: Kind, name: str) -> Card:
    """Return the card of a name.

    Parameters
    ----------
    kind : {"extractors", "tasks", "reports"}
        What the card describes.
    name : str
        The card's name (its file name without ``.yaml``).

    Returns
    -------
    Card
        An :class:`ExtractorCard`, a :class:`TaskCard` or a :class:`PaperCard`.

    Raises
    ------
    UnknownNameError
        If no card has that name.
    CardError
        If the card is not valid, or its name is not its file's.
    """
    known = card_paths(kind)
    if name not in known:
        raise unknown_name_error(kind.removesuffix("s"), name, known)
    card = _load(kind, known[name], known[name].stat().st_mtime_ns)
    if card.name != name:
        raise CardError(f"{known[name]}: named {card.name!r} inside; it must be its file's name")
    return card


def load_extractor_card(name: str) -> ExtractorCard:
    """Return the card of an extractor; see :func:`load`."""
    card = load_card("extractors", name)
    assert isinstance(card, ExtractorCard)
    return card


def load_task_card(name: str) -> TaskCard:
    """Return the card of a task; see :func:`load`."""
    card = load_card("tasks", name)
    assert isinstance(card, TaskCard)
    return card


def valid_tasks() -> list[TaskCard]:
    """Return the cards of all tasks; one that is not valid is left out, with a warning.

    Returns
    -------
    list of TaskCard
        By name.
    """
    found = []
    for name in card_paths("tasks"):
        try:
            found.append(load_task_card(name))
        except CardError as error:
            warnings.warn(f"this task is left out: {error}", stacklevel=2)
    return found


def load_paper_card(name: str) -> PaperCard:
    """Return the card of a paper; see :func:`load`."""
    card = load_card("reports", name)
    assert isinstance(card, PaperCard)
    return card
