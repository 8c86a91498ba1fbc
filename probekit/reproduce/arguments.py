"""What a user gives for a paper: which parts, folders, weights; or stand-ins for all of these."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from probekit import cards
from probekit.cards import PaperCard
from probekit.cards.selector import parse_joined
from probekit.errors import DataError, ProbekitError
from probekit.extractors.weights.source import parse_overrides, validate_overrides
from probekit.tasks import task as tasks
from probekit.utils.suggest import unknown_name_error


def folders(card: PaperCard, given: Sequence[str], listed: str | Path | None) -> dict[str, Path]:
    """Return the folders of a paper's tasks as the user gives them.

    Parameters
    ----------
    card : PaperCard
        Of the paper.
    given : sequence of str
        Each ``TASK=DIR``, or ``DATASET=DIR``.
    listed : str or pathlib.Path, optional
        A YAML file with the same, ``TASK: DIR``; it may name tasks that the paper has not. Folders
        in it are relative to it.

    Returns
    -------
    dict of str to pathlib.Path
        What ``given`` says goes before what the file says.

    Raises
    ------
    ProbekitError
        If a task is not known or not of the paper, or a folder is not there.
    """
    found: dict[str, Path] = {}
    every = {name: cards.load_task_card(name).dataset for name in cards.card_paths("tasks")}
    if listed is not None:
        for name, folder in _read(Path(listed)).items():
            if name not in {*every, *every.values()}:
                raise unknown_name_error(f"task in {listed}", name, {*every, *every.values()})
            found[name] = Path(listed).parent / folder
    own = tasks_of(card)
    names = {*own, *(every[name] for name in own)}
    for text in given:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise ProbekitError(f"--root {text}: write TASK=DIR")
        if name not in names:
            raise unknown_name_error(f"task of {card.name}", name, names)
        found[name] = Path(folder)
    wanted = {name: place.expanduser() for name, place in found.items() if name in names}
    for name, place in wanted.items():
        if not place.is_dir():
            raise DataError(f"{name}: {place}: no such folder")
    return wanted


def select_parts(card: PaperCard, only: Sequence[str]) -> PaperCard:
    """Return a paper's card with some of its tables and figures.

    Parameters
    ----------
    card : PaperCard
        Of the paper.
    only : sequence of str
        Names of tables and figures; all where none is given.

    Returns
    -------
    PaperCard
        With at least one of either.

    Raises
    ------
    ProbekitError
        If there is none of a name, or the card lists none at all.
    """
    names = [*(table.name for table in card.tables), *(figure.name for figure in card.figures)]
    if not names:
        raise ProbekitError(f"{card.name}: its card lists no tables or figures, only presets")
    for name in only:
        if name not in names:
            raise unknown_name_error(f"table or figure of {card.name}", name, names)
    kept = set(only or names)
    return card.model_copy(
        update={
            "tables": [table for table in card.tables if table.name in kept],
            "figures": [figure for figure in card.figures if figure.name in kept],
        }
    )


def check_weights(card: PaperCard, weights: Sequence[str]) -> tuple[str, ...]:
    """Return what was given after ``--weights`` if it is all of networks of the paper.

    Parameters
    ----------
    card : PaperCard
        Of the paper.
    weights : sequence of str
        ``NAME=PATH`` or ``NAME=random:SEED``.

    Returns
    -------
    tuple of str
        The same.

    Raises
    ------
    ProbekitError
        If one is not of that form, or of no network of the paper.
    """
    known = {name for name, _ in _weights(card)}
    for key in parse_overrides(weights):
        if key.partition(".")[0] not in known:
            raise unknown_name_error(f"network of {card.name}", key.partition(".")[0], known)
    validate_overrides(weights, sorted(known))
    return tuple(weights)


def tasks_of(card: PaperCard) -> list[str]:
    """Return the tasks that a paper's computed scores and figures are of, each once.

    Parameters
    ----------
    card : PaperCard
        Of the paper.

    Returns
    -------
    list of str
        In the order of the card.
    """
    cells = (cell for table in card.tables for cell in table.cells() if cell.computed)
    figures = (figure for figure in card.figures if not figure.pending)
    names = [*(c.task for c in cells if not c.count and not c.of), *(f.task for f in figures)]
    return list(dict.fromkeys(names))


def make_standins(card: PaperCard, folder: Path, clips: int) -> tuple[dict[str, Path], list[str]]:
    """Make stand-in data of all tasks of a paper, and name random weights for all its networks.

    Parameters
    ----------
    card : PaperCard
        Of the paper.
    folder : pathlib.Path
        Where; each dataset has a folder in it.
    clips : int >= 1
        About how many clips of each dataset; some need more to fill their splits.

    Returns
    -------
    roots : dict of str to pathlib.Path
        The datasets' folders.
    weights : list of str
        As after ``--weights``.

    Raises
    ------
    DataError
        If a folder holds other files.
    """
    roots: dict[str, Path] = {}
    for name in tasks_of(card):
        task = tasks.load_task(name)
        place = folder / task.card.dataset
        if task.card.dataset not in roots:
            task.write_standin(place, clips)
        roots[task.card.dataset] = place
    return roots, [f"{name}.{role}=random:0" for name, role in _weights(card)]


def _weights(card: PaperCard) -> Iterable[tuple[str, str]]:
    """Return the weights files of a paper's networks: extractor and role."""
    cells = [cell for table in card.tables for cell in table.cells() if cell.computed]
    texts = [text for cell in cells for text in cell.networks]
    texts += [text for figure in card.figures if not figure.pending for text in figure.networks]
    names = {one.name for text in texts for one in parse_joined(text)}
    return sorted(
        {
            (name, key.partition("/")[0])
            for name in names & set(cards.card_paths("extractors"))
            for key in cards.load_extractor_card(name).weights
        }
    )


def _read(path: Path) -> dict[str, str]:
    """Read a YAML file of folders."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"--roots {path}: cannot be read: {error}") from error
    if not isinstance(content, dict) or not all(
        isinstance(k, str) and isinstance(v, str) for k, v in content.items()
    ):
        raise DataError(f"--roots {path}: write a line TASK: DIR for each dataset")
    return content
