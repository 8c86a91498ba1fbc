"""Arguments of a reproduction: parts of a paper, folders and weights, or stand-ins for these."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from probekit import cards
from probekit.cards import PaperCard
from probekit.cards.paper import Setting
from probekit.cards.selector import parse_selectors
from probekit.errors import DataError, ProbekitError, WeightsError
from probekit.extractors.weights.source import parse_overrides, validate_overrides
from probekit.tasks.task import load_task
from probekit.utils.suggest import unknown_name_error


def parse_roots(card: PaperCard, roots: Sequence[str], file: str | Path | None) -> dict[str, Path]:
    """Return the folders of a paper's tasks.

    Parameters
    ----------
    card : PaperCard
        Card of the paper.
    roots : sequence of str
        Each ``TASK=DIR``, or ``DATASET=DIR``; they override the file.
    file : str or pathlib.Path, optional
        A YAML file of lines ``TASK: DIR``, relative to it; may name tasks of other papers.

    Raises
    ------
    ProbekitError
        If a task is unknown or not one of the paper, or a folder does not exist.
    """
    folders: dict[str, Path] = {}
    datasets = {name: cards.load_task_card(name).dataset for name in cards.card_paths("tasks")}
    if file is not None:
        known = {*datasets, *datasets.values()}
        for name, folder in _read_roots(Path(file)).items():
            if name not in known:
                raise unknown_name_error(f"task in {file}", name, known)
            folders[name] = Path(file).parent / folder
    tasks = list_tasks(card)
    names = {*tasks, *(datasets[name] for name in tasks)}
    for text in roots:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise ProbekitError(f"--root must be TASK=DIR, got {text!r}")
        if name not in names:
            raise unknown_name_error(f"task of {card.name}", name, names)
        folders[name] = Path(folder)
    folders = {name: path.expanduser() for name, path in folders.items() if name in names}
    for name, path in folders.items():
        if not path.is_dir():
            raise DataError(f"{name}: {path}: no such folder")
    return folders


def select_parts(card: PaperCard, only: Sequence[str]) -> PaperCard:
    """Return a paper's card with only some of its tables and figures.

    Parameters
    ----------
    card : PaperCard
        Card of the paper.
    only : sequence of str
        Names of tables and figures; empty: all but those that are computed by request only.

    Raises
    ------
    ProbekitError
        If a name is unknown, or the card has no tables and figures.
    """
    names = [*(table.name for table in card.tables), *(figure.name for figure in card.figures)]
    if not names:
        raise ProbekitError(f"{card.name}: its card lists no tables or figures, only presets")
    for name in only:
        if name not in names:
            raise unknown_name_error(f"table or figure of {card.name}", name, names)
    by_request = {table.name for table in card.tables if table.by_request}
    selected = set(only or names) - (set() if only else by_request)
    return card.model_copy(
        update={
            "tables": [table for table in card.tables if table.name in selected],
            "figures": [figure for figure in card.figures if figure.name in selected],
        }
    )


def check_weights(card: PaperCard, weights: Sequence[str]) -> tuple[str, ...]:
    """Check that all ``--weights`` are of networks of a paper, and return them.

    Raises
    ------
    ProbekitError
        If one is malformed, of no network of the paper, or a file that does not exist.
    """
    known = {name for name, _ in _list_weights(card)}
    for key, value in parse_overrides(weights).items():
        name = key.partition(".")[0]
        if name not in known:
            raise unknown_name_error(f"network of {card.name}", name, known)
        if not value.startswith("random:") and not Path(value).is_file():
            raise WeightsError(f"--weights {name}={value}: file not found")
    validate_overrides(weights, sorted(known))
    return tuple(weights)


def list_tasks(card: PaperCard) -> list[str]:
    """Return the tasks of a paper's computed scores and figures, then those of unlabeled clips."""
    cells = (cell for table in card.tables for cell in table.cells() if cell.computed)
    figures = [figure for figure in card.figures if not figure.pending]
    scores = [cell for cell in cells if not cell.count and not cell.of]
    names = [*(cell.task for cell in scores), *(figure.task for figure in figures)]
    settings: list[Setting] = [*scores, *(line for figure in figures for line in figure.lines)]
    names += [setting.unlabeled_task for setting in settings if setting.unlabeled_task]
    return list(dict.fromkeys(names))


def shorten_figures(card: PaperCard) -> PaperCard:
    """Return a paper's card for a rehearsal: of several shares of the labels, two in a figure.

    These are the smallest and the largest; each further one would train as many students again.
    """
    figures = [
        figure.model_copy(update={"shares": sorted({min(figure.shares), max(figure.shares)})})
        if figure.shares
        else figure
        for figure in card.figures
    ]
    return card.model_copy(update={"figures": figures})


def make_standins(card: PaperCard, folder: Path, clips: int) -> tuple[dict[str, Path], list[str]]:
    """Write stand-in data of all tasks of a paper, and list random weights for its networks.

    Parameters
    ----------
    card : PaperCard
        Card of the paper.
    folder : pathlib.Path
        Gets a sub-folder per dataset.
    clips : int >= 1
        About how many clips per dataset; some need more to fill their splits.

    Returns
    -------
    roots : dict of str to pathlib.Path
        Folders by dataset.
    weights : list of str
        As after ``--weights``.

    Raises
    ------
    DataError
        If a folder holds other files.
    """
    tasks: dict[str, list[str]] = {}
    for name in list_tasks(card):
        tasks.setdefault(cards.load_task_card(name).dataset, []).append(name)
    roots = {dataset: folder / dataset for dataset in tasks}
    for dataset, names in tasks.items():
        # several tasks may be parts of a dataset: then the stand-in is of the whole
        has_joint_task = len(names) > 1 and dataset in cards.card_paths("tasks")
        load_task(dataset if has_joint_task else names[0]).write_standin(roots[dataset], clips)
    return roots, [f"{name}.{role}=random:0" for name, role in _list_weights(card)]


def _list_weights(card: PaperCard) -> Iterable[tuple[str, str]]:
    """Return the weights files of a paper's networks: extractor and role."""
    cells = [cell for table in card.tables for cell in table.cells() if cell.computed]
    texts = [text for cell in cells for text in cell.networks]
    texts += [text for figure in card.figures if not figure.pending for text in figure.networks]
    names = {selector.name for text in texts for selector in parse_selectors(text)}
    return sorted(
        {
            (name, key.partition("/")[0])
            for name in names & set(cards.card_paths("extractors"))
            for key in cards.load_extractor_card(name).weights
        }
    )


def _read_roots(path: Path) -> dict[str, str]:
    """Read a YAML file of folders."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"--roots {path}: {(error.strerror or str(error)).lower()}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"--roots {path}: not a YAML file ({reason})") from error
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, str) for key, value in content.items()
    ):
        raise DataError(f"--roots {path}: must contain one line TASK: DIR per dataset")
    return content
