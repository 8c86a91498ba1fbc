"""Tasks: a card, and the clips that its dataset module lists."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

from probekit import cards
from probekit.cards import Protocol, TaskCard
from probekit.data import readers
from probekit.data.manifest import Manifest, group_by_recording, groups_are_recordings
from probekit.errors import CardError, DataError
from probekit.tasks import splits
from probekit.tasks.standin import writer
from probekit.utils.suggest import unknown_name_error

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
    source : pathlib.Path, optional
        The table or folder that ``list_clips`` reads each time.
    saved_clips : callable, optional
        Returns the clips that were extracted last, or None: what the manifest is without a folder.

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

    def __init__(
        self,
        card: TaskCard,
        list_clips: ClipLister | None = None,
        source: Path | None = None,
        saved_clips: Callable[[], Manifest | None] | None = None,
    ) -> None:
        self.card = card
        self.source = source
        self.list_clips = list_clips
        self._saved_clips = saved_clips

    def __repr__(self) -> str:
        """Return name, metric and protocol."""
        protocol = self.card.protocol.description.partition(";")[0] or self.card.protocol.kind
        return f"Task({self.name!r}, metric={self.card.metric!r}, protocol={protocol!r})"

    @property
    def name(self) -> str:
        """The task's name."""
        return self.card.name

    @property
    def is_user_data(self) -> bool:
        """Whether it is a user's own table or folder, which needs no root."""
        return self.list_clips is not None

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
            The dataset's folder as downloaded. No recording is opened. Without it, the clips that
            were extracted last, if the task is from :func:`probekit.load_task`.
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
        UnknownNameError
            If the card has an option that its module does not know.
        """
        root = Path(root) if root is not None else None
        if root is not None and not root.is_dir():
            problem = "is not a folder" if root.exists() else "no such folder"
            raise DataError(f"--root {root}: {problem}")
        if self.list_clips is not None:
            return self.list_clips(root, audio)
        saved = self._saved_clips() if root is None and self._saved_clips else None
        if saved is not None:
            return saved
        manifest: Manifest = _dataset_module(self.card).load(self.card, root)
        if self.card.stand_in:
            notes = [self.card.stand_in]
        elif writer.is_standin(root):
            manifest, notes = replace(manifest, expected=None), [STAND_IN]
        else:
            notes = splits.count_mismatches(self.card, manifest)
        provenance = (*manifest.provenance, *notes)
        return replace(manifest, name=self.name, provenance=provenance, source=None)

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
            raise cards.module_error(
                self.card, "no stand-in data, it has no function make_standin(card, writer)"
            )
        standin = writer.StandInWriter(Path(root), clips, seed)
        writer.prepare_folder(standin.root, self.name, self.card.dataset)
        module.make_standin(self.card, standin)


def load_task(text: str) -> Task:
    """Return the task of a name, a card, a CSV file or a folder of recordings.

    Parameters
    ----------
    text : str
        A task's name; a path that ends in ``.yaml`` (a card), ``.csv`` or ``.tsv`` (clips and
        labels); a folder of recordings, one sub-folder for each label, that is not called like a
        task.

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
    probekit.load_task : The same, and extracted datasets.
    Task.write_standin : Write synthetic data in the layout of a task's dataset.

    Examples
    --------
    >>> load_task("esc50").card.metric
    'accuracy'
    """
    path = Path(text)
    if path.suffix in (".yaml", ".yml"):
        return Task(cards.read_card(path, TaskCard))
    if is_user_data(text):
        return load_user_task(path)
    return Task(cards.load_task_card(text))


def is_user_data(text: str) -> bool:
    """Tell whether a text names a table, or a folder that is not called like a task."""
    if text in cards.card_paths("tasks"):
        return False
    # an empty text is not the current folder
    return Path(text).suffix.lower() in readers.TABLE_SUFFIXES or bool(text and Path(text).is_dir())


def load_user_task(
    path: Path,
    name: str | None = None,
    root: Path | None = None,
    find_dataset: Callable[[Manifest], str] | None = None,
) -> Task:
    """Return the task of a user's own table or folder.

    Parameters
    ----------
    path : pathlib.Path
        The table or folder.
    name : str, optional
        Name of the task; by default that of the file or folder.
    root : pathlib.Path, optional
        The folder of a table's recordings; by default the table's.
    find_dataset : callable, optional
        Returns the name of the dataset in the cache; by default it is that of the task.
    """
    if path.is_dir():
        clips = readers.from_folder(path, name)
        list_clips: ClipLister = partial(_from_folder, path, clips.name)
    else:
        clips = readers.from_csv(path, root=root, name=name, need_path=False)
        list_clips = partial(_from_table, path, clips.name)
    card = infer_card(clips, find_dataset(clips) if find_dataset else None)
    return Task(card, list_clips, path)


def task_from_manifest(clips: Manifest, dataset: str | None = None) -> Task:
    """Return the task of clips that were extracted and have no card; see :func:`infer_card`.

    Segments of one recording, which manifests of earlier versions do not group, are grouped.
    """
    clips = group_by_recording(clips)
    return Task(infer_card(clips, dataset), partial(_from_manifest, clips))


def tasks_with_same_corpus(dataset: str) -> list[Task]:
    """Return all tasks on a dataset, by name; warns of cards that are not valid."""
    return [Task(card) for card in cards.load_valid_task_cards() if card.dataset == dataset]


def infer_card(clips: Manifest, dataset: str | None = None) -> TaskCard:
    """Return the card of a user's own table: protocol and metric as its columns suggest.

    A column ``fold`` gives cross-validation over those folds, a column ``split`` train, valid and
    test; otherwise five stratified folds are made, which do not divide groups: those of a column
    ``group``, or recordings. The metric is accuracy for one label a clip, macro PR-AUC for several,
    R² for numbers.

    Parameters
    ----------
    clips : Manifest
        The clips of the table.
    dataset : str, optional
        Name of their dataset in the cache; by default that of the clips.

    Raises
    ------
    DataError
        If there are splits and folds.
    """
    has = {name: bool((clips.column(name) != "").any()) for name in ("fold", "split", "group")}
    if has["fold"] and has["split"]:
        raise DataError(
            f"{clips.source or clips.name}: columns 'split' and 'fold': only one of them may be "
            "used. Call the other one 'extra:split' or 'extra:fold'"
        )
    if has["fold"]:
        protocol = Protocol(kind="folds", description="the folds of the table")
    elif has["split"]:
        protocol = Protocol(kind="split", description="the split of the table")
    else:
        units = "recordings" if groups_are_recordings(clips) else "groups"
        grouped = f" that keep {units} together" if has["group"] else ""
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
        dataset=dataset or clips.name,
        module="table",
        target="single" if clips.target == "none" else clips.target,
        protocol=protocol,
        metric=metric[clips.target],
    )


def _from_table(path: Path, name: str, root: Path | None, audio: bool) -> Manifest:
    return readers.from_csv(path, root=root, name=name, need_path=audio)


def _from_folder(path: Path, name: str, root: Path | None, audio: bool) -> Manifest:
    if root is not None:
        raise DataError(f"--root {root}: {path} is a folder of recordings; leave out --root")
    return readers.from_folder(path, name)


def _from_manifest(clips: Manifest, root: Path | None, audio: bool) -> Manifest:
    return clips if root is None else replace(clips, root=root)


def _dataset_module(card: TaskCard) -> ModuleType:
    """Return the module that a card names: one of probekit's, or a user's module or file.

    Raises
    ------
    CardError
        If there is none, it has no function ``load``, or the card lacks an option among its
        ``NEEDED``.
    UnknownNameError
        If the card has an option that is not among the module's ``OPTIONS``.
    """
    module = cards.import_card_module(card, "probekit.tasks.datasets")
    if not hasattr(module, "load"):
        raise cards.module_error(card, "it has no function load(card, root)")
    known = getattr(module, "OPTIONS", card.options)  # a user's module need not list them
    for name in card.options:
        if name not in known:
            raise unknown_name_error(f"option of {card.name} (module {card.module})", name, known)
    for name in getattr(module, "NEEDED", ()):
        if name not in card.options:
            raise CardError(
                f"{card.name}: a task of module {card.module!r} needs option {name!r}. Write it "
                f"into its card: options: {{{name}: …}}"
            )
    return module
