"""Preconditions of a reproduction: what can be known before the first clip is embedded."""

from collections.abc import Iterator

import numpy as np

from probekit import cards
from probekit.cards import PaperCard
from probekit.cards.paper import Setting
from probekit.errors import DataError, ProbekitError
from probekit.reproduce import paper_figures
from probekit.reproduce.assets import Assets
from probekit.tasks import splits, subsample
from probekit.tasks.task import load_task


def check_settings(card: PaperCard, epochs: int | None, device: str) -> None:
    """Check options that hold for all runs of a paper.

    Parameters
    ----------
    card : PaperCard
        With the tables and figures to compute.
    epochs : int or None
        Epochs of all students.
    device : str
        Where networks run.

    Raises
    ------
    ProbekitError
        If there are too few epochs for a recipe, or the device does not exist.
    """
    from probekit.parallel.resources import resolve_device  # imports torch
    from probekit.training.schedules import get_recipe

    students = list(training_settings(card))
    for setting in students:
        get_recipe(setting.recipe, cards.load_task_card(setting.task).metric, epochs=epochs)
    if epochs is not None and not students:
        raise ProbekitError("--epochs is for students, and nothing here trains any: leave it out")
    if device != "auto":
        resolve_device(device)


def check_data(card: PaperCard, assets: Assets) -> None:
    """Check the data whose folders are known, without decoding any of it.

    Parameters
    ----------
    card : PaperCard
        With the tables and figures to compute.
    assets : Assets
        With the folders.

    Raises
    ------
    DataError
        If a folder is not laid out as its task says, or holds too few clips for a figure's
        smallest share of the training labels.
    """
    settings = [cell for table in card.tables for cell in table.cells()]
    names = [s.task for s in settings if s.computed and s.task and not s.count and not s.of]
    names += [figure.task for figure in card.figures if not figure.pending]
    names += [s.unlabeled_task for s in training_settings(card) if s.unlabeled_task]
    for name in dict.fromkeys(names):
        root = assets.root(name)
        if root is not None:
            load_task(name).manifest(root)
    for figure in card.figures:
        root = None if figure.pending else assets.root(figure.task)
        if root is not None and figure.shares and any(line.student for line in figure.lines):
            _check_share(figure.task, assets, min(figure.shares), figure.name)


def training_settings(card: PaperCard) -> Iterator[Setting]:
    """Yield the settings of students and networks to train, of several scores each."""
    for table in card.tables:
        for cell in table.cells():
            if cell.trains and cell.computed and not cell.count and not cell.of:
                yield cell
    for figure in card.figures:
        if not figure.pending:
            yield from (line for line in paper_figures.run_settings(figure) if line.trains)


def _check_share(name: str, assets: Assets, share: float, figure: str) -> None:
    """Raise if a share of a task's training labels is too small to train a student on."""
    task = load_task(name)
    clips = task.manifest(assets.root(name))
    protocol, targets = task.card.protocol, clips.targets()
    for split in splits.make_splits(protocol, clips, clips):
        rows = subsample.subsample_labels(split, share, targets, clips, 0).train
        problem = f"{len(rows)} clip{'s' * (len(rows) != 1)}"
        if not len(split.valid):
            try:
                rows = splits.inner_cv(protocol, clips, rows)[0][0]
            except DataError:
                rows = rows[:0]
        if len(rows) < 2:
            enough = int(np.ceil(2 / share))
            raise DataError(
                f"{figure}: {100 * share:g} % of the {len(split.train):,} training clips of {name} "
                f"are {problem}, too few to train a student. It needs at least {enough} training "
                "clips; in a rehearsal, raise --clips"
            )
