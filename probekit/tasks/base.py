"""A task: a card, and the clips that its dataset module finds in a folder."""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from probekit import cards, listing
from probekit.cards import Protocol, TaskCard
from probekit.errors import CardError, DataError
from probekit.manifest import Manifest
from probekit.registry import unknown

Builder = Callable[[TaskCard, Path | None], Manifest]


class Task:
    """A task that can be evaluated.

    Parameters
    ----------
    card : TaskCard
        Its facts.
    csv : pathlib.Path, optional
        The table of clips, for tasks that are a CSV of the user's.
    """

    def __init__(self, card: TaskCard, csv: Path | None = None) -> None:
        self.card = card
        self._csv = csv

    @property
    def name(self) -> str:
        """The task's name."""
        return self.card.name

    def manifest(self, root: str | Path | None = None) -> Manifest:
        """Return the task's clips.

        Parameters
        ----------
        root : str or pathlib.Path, optional
            The dataset's folder as downloaded. Audio itself is not opened.

        Returns
        -------
        Manifest
            With labels, splits or folds, and groups.

        Raises
        ------
        DataError
            If the folder is not laid out as the card says; names what was looked for.
        CardError
            If the card names a dataset module that does not exist.
        """
        root = Path(root) if root is not None else None
        if root is not None and not root.is_dir():
            what = "is not a folder" if root.exists() else "no such folder"
            raise DataError(f"--root {root}: {what}")
        if self._csv is not None:
            return listing.from_csv(self._csv, root=root, name=self.name)
        found = _builder(self.card)(self.card, root)
        shown = (*found.provenance, *([self.card.stand_in] if self.card.stand_in else []))
        return replace(found, name=self.name, provenance=shown)


def load_task(text: str) -> Task:
    """Return the task of a name, a card's path, or a CSV's.

    Parameters
    ----------
    text : str
        A task's name; a path that ends in ``.yaml`` (a card) or ``.csv`` (clips and labels).

    Returns
    -------
    Task
        Ready to make its manifest.

    Raises
    ------
    ProbekitError
        If the name is not known, or the file is not valid.
    """
    path = Path(text)
    if path.suffix in (".yaml", ".yml"):
        return Task(cards.read(path, TaskCard))
    if path.suffix == ".csv":
        clips = listing.from_csv(path)
        return Task(infer_card(clips), path)
    return Task(cards.task(text))


def infer_card(clips: Manifest) -> TaskCard:
    """Return the card of a user's own table: protocol and metric as its columns suggest.

    A column ``fold`` gives cross-validation over those folds; a column ``split`` gives train,
    valid and test, and goes before folds that not every clip has; otherwise five stratified folds
    are made, keeping groups together where there is a column ``group``. The metric is accuracy for
    one label a clip, macro PR-AUC for several, R² for numbers.

    Parameters
    ----------
    clips : Manifest
        The table.

    Returns
    -------
    TaskCard
        A card like any other.
    """
    has = {name: bool((clips.column(name) != "").any()) for name in ("fold", "split", "group")}
    if has["fold"] and not (has["split"] and (clips.column("fold") == "").any()):
        protocol = Protocol(kind="folds", description="the folds of the table")
    elif has["split"]:
        protocol = Protocol(kind="split", description="the split of the table")
    else:
        grouped = " that keep groups together" if has["group"] else ""
        protocol = Protocol(
            kind="made-folds",
            folds=5,
            grouped=has["group"],
            description=f"5 stratified random folds{grouped}",
        )
    metric = {"single": "accuracy", "multi": "pr-auc", "regression": "r2", "none": "accuracy"}
    return TaskCard(
        name=clips.name,
        title=clips.name,
        dataset=clips.name,
        module="table",
        target="single" if clips.target == "none" else clips.target,
        protocol=protocol,
        metric=metric[clips.target],
    )


def _builder(card: TaskCard) -> Builder:
    """Return the function that makes the manifest, from the dataset module that a card names."""
    place = f"probekit.tasks.{card.module}"
    known = card.module.isidentifier() and find_spec(place) is not None
    build: Builder | None = getattr(import_module(place), "build", None) if known else None
    if build is None:
        raise CardError(
            f"{card.name}: there is no dataset module {card.module!r}. For a table of your own: "
            "module: table, options: {csv: FILE}"
        )
    return build


def siblings(dataset: str) -> list[Task]:
    """Return all tasks whose clips are those of a dataset.

    Parameters
    ----------
    dataset : str
        The dataset's name.

    Returns
    -------
    list of Task
        By name.
    """
    found = [cards.task(name) for name in cards.names("tasks")]
    return [Task(card) for card in found if card.dataset == dataset]


def need_root(card: TaskCard, root: Path | None, *inside: str) -> Path:
    """Return the dataset's folder, or raise an error that says what was looked for.

    Parameters
    ----------
    card : TaskCard
        The task.
    root : pathlib.Path or None
        What the user gave.
    *inside : str
        Files or folders, one of which must be in ``root``.

    Returns
    -------
    pathlib.Path
        The first of ``inside`` that exists.

    Raises
    ------
    DataError
        If no root was given or none of them is there.
    """
    get = f" {card.download}" if card.download else ""
    if root is None:
        raise DataError(f"{card.name}: give the dataset's folder with --root DIR.{get}")
    for name in inside:
        if (root / name).exists():
            return root / name
    there = sorted(path.name for path in root.iterdir())[:6]
    raise DataError(
        f"{root}: not the folder of {card.name}: looked for {' or '.join(inside)}, found "
        f"{', '.join(there) or 'nothing'}. Expected layout: {card.layout.strip()}{get}"
    )


def check_labels(card: TaskCard, label: str) -> str:
    """Return a label if the card knows it; otherwise raise, with the nearest that it knows."""
    if card.labels is not None and label not in card.labels:
        raise unknown(f"label in {card.name}", label, card.labels)
    return label
