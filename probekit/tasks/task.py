"""Tasks: a card, and the clips that its dataset module lists."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

from probekit import cards
from probekit.cards import Protocol, TaskCard
from probekit.data import readers
from probekit.data.manifest import Manifest
from probekit.errors import DataError
from probekit.tasks import splits
from probekit.tasks.standin import writer

STAND_IN = "stand-in data"
ClipLister = Callable[[Path | None, bool], Manifest]


class Task:
    """A classification, tagging or regression task: clips, labels, splits and a metric.

    Parameters
    ----------
    card : TaskCard
        Its facts.
    list_clips : callable, optional
        For a user's own table or folder: returns the clips for another root (or None) and whether
        recordings are to be read.

    See Also
    --------
    load_task : Make a task from a name, a file or a folder.

    Examples
    --------
    >>> from probekit import load_task
    >>> task = load_task("fsdd")
    >>> task.write_standin("fsdd", clips=60)
    >>> clips = task.manifest("fsdd")
    >>> len(clips), clips.class_names[:3], clips.provenance
    (60, ('0', '1', '2'), ('stand-in data',))
    """

    def __init__(self, card: TaskCard, list_clips: ClipLister | None = None) -> None:
        self.card = card
        self._list_clips = list_clips

    @property
    def name(self) -> str:
        """The task's name."""
        return self.card.name

    @property
    def is_user_data(self) -> bool:
        """Whether it is a user's own table or folder, which needs no root."""
        return self._list_clips is not None

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
            The dataset's folder as downloaded. No recording is opened.
        audio : bool
            Whether recordings are to be read later: a user's own table needs a column ``path``
            then.

        Returns
        -------
        Manifest
            With labels, splits or folds, and groups. Its provenance says where counts differ from
            the card's, and whether the folder holds stand-in data.

        Raises
        ------
        DataError
            If the folder is not laid out as the card says; names the file that is missing.
        CardError
            If the card names a dataset module that does not exist.
        """
        root = Path(root) if root is not None else None
        if root is not None and not root.is_dir():
            problem = "is not a folder" if root.exists() else "no such folder"
            raise DataError(f"--root {root}: {problem}")
        if self._list_clips is not None:
            return self._list_clips(root, audio)
        manifest: Manifest = _dataset_module(self.card).load(self.card, root)
        if self.card.stand_in:
            notes = [self.card.stand_in]
        elif writer.is_standin(root):
            manifest, notes = replace(manifest, expected=None), [STAND_IN]
        else:
            notes = splits.count_mismatches(self.card, manifest)
        return replace(manifest, name=self.name, provenance=(*manifest.provenance, *notes))

    def write_standin(self, root: str | Path, clips: int = 60, seed: int = 0) -> None:
        """Write stand-in data: the dataset's exact layout with synthetic sounds.

        Parameters
        ----------
        root : str or pathlib.Path
            A new or empty folder, or one with earlier stand-in data, which is replaced.
        clips : int >= 1
            About how many clips; where a task needs more to fill its splits, more are written.
        seed : int >= 0
            Of all random numbers.

        Raises
        ------
        DataError
            If the folder holds other files.
        CardError
            If the task's dataset module has no ``make_standin``.
        """
        module = _dataset_module(self.card)
        if not hasattr(module, "make_standin"):
            raise cards.card_module_error(
                self.card, "no stand-in data, it has no function make_standin(card, writer)"
            )
        standin = writer.StandInWriter(Path(root), clips, seed)
        writer.prepare_folder(standin.root, self.name, self.card.dataset)
        module.make_standin(self.card, standin)
        writer.list_written(standin)


def load_task(text: str) -> Task:
    r"""Return the task of a name, a card, a CSV file or a folder of recordings.

    Parameters
    ----------
    text : str
        A task's name; a path that ends in ``.yaml`` (a card) or ``.csv`` (clips and labels); a
        folder of recordings, one sub-folder for each label, that is not called like a task.

    Returns
    -------
    Task
        Its ``card`` has the facts, its ``manifest`` the clips.

    Raises
    ------
    ProbekitError
        If the name is not known, or the file is not valid.

    See Also
    --------
    Task.write_standin : Write synthetic data in the layout of a task's dataset.
    probekit.extract : Extract embeddings of a task's clips.

    Examples
    --------
    >>> from probekit import load_task
    >>> load_task("esc50").card.metric
    'accuracy'

    A table of one's own is a task as well:

    >>> from pathlib import Path
    >>> table = Path("birds.csv")
    >>> _ = table.write_text("clip_id,path,label\na,a.wav,wren\nb,b.wav,robin\n")
    >>> load_task("birds.csv").manifest().class_names
    ('robin', 'wren')
    """
    path = Path(text)
    if path.suffix in (".yaml", ".yml"):
        return Task(cards.read_card(path, TaskCard))
    if path.suffix == ".csv":
        clips = readers.from_csv(path, need_path=False)
        return Task(infer_card(clips), partial(_from_table, path, clips.name))
    # an empty text is not the current folder
    if text and path.is_dir() and text not in cards.card_paths("tasks"):
        return Task(infer_card(readers.from_folder(path)), partial(_from_folder, path))
    return Task(cards.load_task_card(text))


def task_from_manifest(clips: Manifest) -> Task:
    """Return the task of clips that were extracted and have no card; see :func:`infer_card`."""
    return Task(infer_card(clips), partial(_from_manifest, clips))


def tasks_with_same_corpus(dataset: str) -> list[Task]:
    """Return all tasks on a dataset, by name; warns of cards that are not valid."""
    return [Task(card) for card in cards.load_valid_task_cards() if card.dataset == dataset]


def infer_card(clips: Manifest) -> TaskCard:
    """Return the card of a user's own table: protocol and metric as its columns suggest.

    A column ``fold`` gives cross-validation over those folds; a column ``split`` gives train,
    valid and test, and goes before folds that not every clip has; otherwise five stratified folds
    are made, which do not divide groups where there is a column ``group``. The metric is accuracy
    for one label a clip, macro PR-AUC for several, R² for numbers.
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


def _dataset_module(card: TaskCard) -> ModuleType:
    """Return the module that a card names: one of probekit's, or ``package.module`` of another."""
    module = cards.import_card_module(card, card.module, "probekit.tasks.datasets")
    if not hasattr(module, "load"):
        raise cards.card_module_error(card, "it has no function load(card, root)")
    return module
