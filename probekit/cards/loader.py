"""Loading of cards: YAML files of facts about extractors, tasks and papers.

Cards are searched by name, in this order: in the folders of ``PROBEKIT_CARDS`` (or ``--cards``),
in those that installed packages declare by the entry points ``probekit.extractors`` and
``probekit.tasks``, and among the cards that come with probekit.
"""

import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any, TypeVar, cast

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


def _parse_yaml(path: Path) -> Any:
    """Parse a file with libyaml where PyYAML has it: nine times as fast."""
    loader = (yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader)(
        path.read_text(encoding="utf-8")
    )
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


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
    folders += _package_folders(kind, tuple(_modification_times(sys.path)))
    return [folder for folder in [*folders, _builtin_folder(kind)] if folder.is_dir()]


def _modification_times(paths: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Yield paths with their modification times, which change when a package is installed."""
    for path in paths:
        with suppress(OSError):
            yield path, Path(path or os.curdir).stat().st_mtime_ns


@lru_cache(maxsize=16)
def _package_folders(kind: Kind, search_path: tuple[tuple[str, int], ...]) -> tuple[Path, ...]:
    """Return the folders that installed packages declare."""
    entries = _entry_points(search_path).select(group=f"probekit.{kind}")
    return tuple(Path(str(entry.load())) for entry in entries)


@lru_cache(maxsize=4)
def _entry_points(search_path: tuple[tuple[str, int], ...]) -> Any:
    """Return what installed packages declare; reads the metadata of all packages."""
    return metadata.entry_points()


def card_paths(kind: Kind) -> dict[str, Path]:
    """Return the files of all cards of a kind by name, sorted.

    A folder that is not called after a kind may hold cards of several kinds.
    """
    paths: dict[str, Path] = {}
    for folder in card_folders(kind):
        for path in sorted(folder.glob("*.yaml")):
            if folder.name == kind or _kind_of(path, path.stat().st_mtime_ns) in (kind, None):
                paths.setdefault(path.stem, path)
    return dict(sorted(paths.items()))


@lru_cache(maxsize=256)
def _kind_of(path: Path, mtime_ns: int) -> Kind | None:
    """Return the kind of a card by the fields that only this kind has; None if that is unclear."""
    try:
        content = _parse_yaml(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    fields = {kind: set(schema.model_fields) for kind, schema in _SCHEMAS.items()}
    kinds = [
        kind
        for kind, names in fields.items()
        if isinstance(content, dict)
        and set(content) & names.difference(*(f for k, f in fields.items() if k != kind))
    ]
    return cast(Kind, kinds[0]) if len(kinds) == 1 else None


def user_folder(card: Card) -> Path | None:
    """Return the folder of a user's card; None for probekit's own, and those without a file."""
    kind: Kind = "tasks" if isinstance(card, TaskCard) else "extractors"
    path = card_paths(kind).get(card.name)
    return None if path is None or path.parent == _builtin_folder(kind) else path.parent


def read_card(path: Path, schema: type[C]) -> C:
    """Read a YAML file and validate it against the schema of a card.

    Raises
    ------
    CardError
        If the file is not YAML, or fields are missing, unknown or of the wrong type; names the
        file and every such field.
    """
    try:
        content = _parse_yaml(path)
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
    return _load_named(kind, paths[name])


def _load_named(kind: Kind, path: Path) -> Card:
    """Return the card of a file, whose name must be that of the file."""
    card = _load(kind, path, path.stat().st_mtime_ns)
    if card.name != path.stem:
        raise CardError(
            f"{path}: name must be {path.stem!r} as in the file name, got {card.name!r}"
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
    for path in card_paths("tasks").values():
        try:
            card = _load_named("tasks", path)
            assert isinstance(card, TaskCard)
            valid.append(card)
        except CardError as error:
            warnings.warn(f"task skipped: {error}", stacklevel=2)
    return valid


def load_paper_card(name: str) -> PaperCard:
    """Return the card of a paper; see :func:`load_card`."""
    card = load_card("reports", name)
    assert isinstance(card, PaperCard)
    return card
