"""Loading of cards: YAML files of facts about extractors, tasks and papers.

Cards are searched by name, in this order: in the folders of ``PROBEKIT_CARDS`` (or ``--cards``),
in those that installed packages declare by the entry points ``probekit.extractors`` and
``probekit.tasks``, and among the cards that come with probekit.
"""

import os
import pkgutil
import warnings
from functools import lru_cache
from importlib import import_module, metadata, resources
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from probekit.cards.schema import Card, ExtractorCard, Kind, PaperCard, TaskCard
from probekit.errors import CardError
from probekit.utils.suggest import did_you_mean, unknown_name_error

C = TypeVar("C", bound=Card)
_SCHEMAS: dict[str, type[Card]] = {
    "extractors": ExtractorCard,
    "tasks": TaskCard,
    "reports": PaperCard,
}


def _builtin_folder(kind: Kind) -> Path:
    """Return the folder of the cards that come with probekit: the wheel's, or the checkout's."""
    package = Path(str(resources.files("probekit")))
    installed = package / "_cards" / kind
    return installed if installed.is_dir() else package.parent / kind


def card_folders(kind: Kind) -> list[Path]:
    """Return the existing folders of cards of a kind, in the order of the search.

    Raises
    ------
    CardError
        If ``PROBEKIT_CARDS`` names a folder that does not exist.
    """
    folders: list[Path] = []
    for root in filter(None, os.environ.get("PROBEKIT_CARDS", "").split(os.pathsep)):
        if not Path(root).is_dir():
            raise CardError(f"PROBEKIT_CARDS names {root}: no such folder")
        folders += [Path(root) / kind, Path(root)]
    for entry in metadata.entry_points(group=f"probekit.{kind}"):
        folders.append(Path(str(entry.load())))
    return [folder for folder in [*folders, _builtin_folder(kind)] if folder.is_dir()]


def card_paths(kind: Kind) -> dict[str, Path]:
    """Return the files of all cards of a kind by name, sorted."""
    paths: dict[str, Path] = {}
    for folder in card_folders(kind):
        for path in sorted(folder.glob("*.yaml")):
            paths.setdefault(path.stem, path)
    return dict(sorted(paths.items()))


def read_card(path: Path, schema: type[C]) -> C:
    """Read a YAML file and validate it against the schema of a card.

    Raises
    ------
    CardError
        If the file is not YAML, or fields are missing, unknown or of the wrong type; names the
        file and every such field.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CardError(f"{path}: not a YAML file: {error}") from error
    except OSError as error:
        raise CardError(f"{path}: cannot be read: {error.strerror}") from error
    if not isinstance(content, dict):
        raise CardError(f"{path}: a card must be a mapping of fields, got {type(content).__name__}")
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        problems = [
            f"  {'.'.join(map(str, problem['loc'])) or 'card'}: {_format_validation_error(problem)}"
            for problem in error.errors()
        ]
        raise CardError(f"{path}: not a valid card:\n" + "\n".join(problems)) from error


def _format_validation_error(problem: Any) -> str:
    """Describe an error of pydantic in plain words."""
    if problem["type"] == "extra_forbidden":
        return "unknown field (misspelt?)"
    if problem["type"] == "missing":
        return "this field is required"
    if problem["type"] == "value_error" and isinstance(problem["input"], dict):
        return str(problem["ctx"]["error"])  # of several fields: the message names what is wrong
    return f"{problem['msg']}, got {problem['input']!r}"


@lru_cache(maxsize=256)
def _load(kind: Kind, path: Path, mtime_ns: int) -> Card:
    return read_card(path, _SCHEMAS[kind])


def load_card(kind: Kind, name: str) -> Card:
    """Return the card of a name.

    Parameters
    ----------
    kind : {"extractors", "tasks", "reports"}
        What the card describes; ``"reports"``: papers.
    name : str
        The name of the card: its file name without ``.yaml``.

    Raises
    ------
    UnknownNameError
        If no card has that name.
    CardError
        If the card is not valid, or its field ``name`` is not its file name.
    """
    paths = card_paths(kind)
    if name not in paths:
        raise unknown_name_error(kind.removesuffix("s"), name, paths)
    card = _load(kind, paths[name], paths[name].stat().st_mtime_ns)
    if card.name != name:
        raise CardError(
            f"{paths[name]}: name must be {name!r} as in the file name, got {card.name!r}"
        )
    return card


def load_extractor_card(name: str) -> ExtractorCard:
    """Return the card of an extractor; see :func:`load_card`."""
    card = load_card("extractors", name)
    assert isinstance(card, ExtractorCard)
    return card


def load_task_card(name: str) -> TaskCard:
    """Return the card of a task; see :func:`load_card`."""
    card = load_card("tasks", name)
    assert isinstance(card, TaskCard)
    return card


def load_valid_task_cards() -> list[TaskCard]:
    """Return the cards of all tasks by name; invalid ones are skipped with a warning."""
    valid = []
    for name in card_paths("tasks"):
        try:
            valid.append(load_task_card(name))
        except CardError as error:
            warnings.warn(f"task skipped: {error}", stacklevel=2)
    return valid


def load_paper_card(name: str) -> PaperCard:
    """Return the card of a paper; see :func:`load_card`."""
    card = load_card("reports", name)
    assert isinstance(card, PaperCard)
    return card


def import_card_module(card: ExtractorCard | TaskCard, name: str, builtins: str) -> ModuleType:
    """Import the code of a card.

    Parameters
    ----------
    card : ExtractorCard or TaskCard
        Named in errors.
    name : str
        A module of the package ``builtins``, or ``package.module`` of any installed package.
    builtins : str
        ``probekit.extractors.networks`` or ``probekit.tasks.datasets``.

    Returns
    -------
    module
        The imported module.

    Raises
    ------
    CardError
        If there is no such module, or it cannot be imported.
    """
    kind, hint = "network", "For code of another package write package.module:Class"
    if isinstance(card, TaskCard):
        kind = "dataset"
        hint = (
            "For a table of your own: module: table, options: {csv: FILE}. For code of another "
            "package write package.module"
        )
    if "." not in name and ":" not in card.module:
        modules = pkgutil.iter_modules(import_module(builtins).__path__)
        known = sorted(module.name for module in modules if not module.name.startswith("_"))
        if name not in known:
            raise card_module_error(
                card,
                f"not a {kind} of probekit.{did_you_mean(name, known)} Known: "
                f"{', '.join(known)}. {hint}",
            )
        return import_module(f"{builtins}.{name}")
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            reason = f"no module named {error.name!r}. Install its package, or set PYTHONPATH"
        else:
            reason = f"{name} needs {error.name!r}, which is not installed"
        raise card_module_error(card, reason) from error
    except Exception as error:  # code of another package can raise anything
        reason = f"{name} cannot be imported ({type(error).__name__}: {error})"
        raise card_module_error(card, reason) from error


def card_module_error(card: ExtractorCard | TaskCard, reason: str) -> CardError:
    """Return the error of a card whose code cannot be used."""
    kind = "task" if isinstance(card, TaskCard) else "extractor"
    return CardError(f"{kind} {card.name}: module {card.module!r} of its card: {reason}")
