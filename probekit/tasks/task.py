"""A task: a card, and the clips that its dataset module finds in a folder."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from probekit import cards
from probekit.cards import Protocol, TaskCard
from probekit.data import readers
from probekit.data.manifest import Manifest
from probekit.errors import CardError, DataError
from probekit.tasks import clip_counts
from probekit.tasks.standin import writer
from probekit.utils.suggest import unknown_name_error

STAND_IN = "stand-in data"
Listed = Callable[[Path | None, bool], Manifest]


class Task:
    """A task that can be evaluated.

    Parameters
    ----------
    card : TaskCard
        Its facts.
    listed : callable, optional
        Returns the clips of a table or folder of the user's, given another root (or None) and
        whether recordings are to be read.
    """

    def __init__(self, card: TaskCard, listed: Listed | None = None) -> None:
        self.card = card
        self._listed = listed

    @property
    def name(self) -> str:
        """The task's name."""
        return self.card.name

    @property
    def is_user_data(self) -> bool:
        """Whether it is a table or folder of the user's, which says itself where its root is."""
        return self._listed is not None

    @property
    def listed_by_card(self) -> bool:
        """Whether the clips follow from the card alone, without the dataset's folder."""
        try:
            return len(self.manifest()) > 0
        except DataError:
            return False

    def manifest(self, root: str | Path | None = None, *, audio: bool = False) -> Manifest:
        """Return the task's clips.

        Parameters
        ----------
        root : str or pathlib.Path, optional
            The dataset's folder as downloaded. Audio itself is not opened.
        audio : bool
            Whether recordings are to be read: a table of the user's needs a column ``path`` then.

        Returns
        -------
        Manifest
            With labels, splits or folds, and groups. Its provenance says where counts differ from
            the card's, and that data is a stand-in's.

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
        if self._listed is not None:
            return self._listed(root, audio)
        found: Manifest = _function(self.card, "load")(self.card, root)
        if self.card.stand_in:
            said = [self.card.stand_in]
        elif writer.is_stand_in(root):
            found, said = replace(found, expected=None), [STAND_IN]
        else:
            said = clip_counts.count_mismatches(self.card, found)
        return replace(found, name=self.name, provenance=(*found.provenance, *said))

    def write_standin(self, root: str | Path, clips: int = 60, seed: int = 0) -> None:
        """Write stand-in data: the dataset's exact layout with synthetic sounds.

        Parameters
        ----------
        root : str or pathlib.Path
            A new or empty folder, or one with an earlier rehearsal, which is replaced.
        clips : int >= 1
            About how many clips; where a task needs more to fill its splits, more are written.
        seed : int >= 0
            Of everything that is drawn.

        Raises
        ------
        DataError
            If the folder holds other files.
        CardError
            If the task's dataset module cannot be rehearsed.
        """
        play = _function(self.card, "make_standin")
        stage = writer.StandInWriter(Path(root), clips, seed)
        writer.begin(stage.root, self.name, self.card.dataset)
        play(self.card, stage)
        writer.finish(stage)


def load_task(text: str) -> Task:
    """Return the task of a name, a card's path, a CSV's, or a folder's.

    Parameters
    ----------
    text : str
        A task's name; a path that ends in ``.yaml`` (a card) or ``.csv`` (clips and labels); a
        folder of recordings that is not called like a task.

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
        return Task(cards.read_card(path, TaskCard))
    if path.suffix == ".csv":
        clips = readers.from_csv(path, need_path=False)
        return Task(infer_card(clips), partial(_from_table, path, clips.name))
    if (
        text and path.is_dir() and text not in cards.card_paths("tasks")
    ):  # no text is not this folder
        return Task(infer_card(readers.from_folder(path)), partial(_from_folder, path))
    return Task(cards.load_task_card(text))


def task_from_manifest(clips: Manifest) -> Task:
    """Return the task of clips that were extracted, and have no card.

    Parameters
    ----------
    clips : Manifest
        The clip table as it was kept.

    Returns
    -------
    Task
        Its card is as :func:`infer_card` makes it.
    """
    return Task(infer_card(clips), partial(_from_manifest, clips))


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


def _from_table(path: Path, name: str, root: Path | None, audio: bool) -> Manifest:
    return readers.from_csv(path, root=root, name=name, need_path=audio)


def _from_folder(path: Path, root: Path | None, audio: bool) -> Manifest:
    if root is not None:
        raise DataError(f"--root {root}: {path} is a folder of recordings; leave out --root")
    return readers.from_folder(path)


def _from_manifest(clips: Manifest, root: Path | None, audio: bool) -> Manifest:
    return clips if root is None else replace(clips, root=root)


def _function(card: TaskCard, name: str) -> Any:
    """Return a function of the dataset module that a card names: ``build`` or ``rehearse``."""
    place = f"probekit.tasks.datasets.{card.module}"
    known = card.module.isidentifier() and find_spec(place) is not None
    module = import_module(place) if known else None
    if not hasattr(module, "load"):
        raise CardError(
            f"{card.name}: there is no dataset module {card.module!r}. For a table of your own: "
            "module: table, options: {csv: FILE}"
        )
    if not hasattr(module, name):
        raise CardError(f"{card.name}: tasks of module {card.module!r} cannot be rehearsed")
    return getattr(module, name)


def tasks_with_same_corpus(dataset: str) -> list[Task]:
    """Return all tasks whose clips are those of a dataset.

    A card that is not valid is left out, with a warning that names it.

    Parameters
    ----------
    dataset : str
        The dataset's name.

    Returns
    -------
    list of Task
        By name.
    """
    return [Task(card) for card in cards.valid_tasks() if card.dataset == dataset]


def check_labels(card: TaskCard, label: str, table: Path, clip: str = "") -> str:
    """Return a label if the card knows it.

    Parameters
    ----------
    card : TaskCard
        The task.
    label : str
        What its metadata says.
    table : pathlib.Path
        Where it says so, for the message.
    clip : str
        Of which clip, for the message.

    Returns
    -------
    str
        The label.

    Raises
    ------
    UnknownNameError
        If the card does not know it; names the nearest that it knows.
    """
    if card.labels is not None and label not in card.labels:
        where = f", clip {clip!r}" if clip else ""
        raise unknown_name_error(f"label of {card.name} in {table}{where}:", label, card.labels)
    return label
