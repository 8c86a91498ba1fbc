"""Kinetics-700 by its sound: ten-second stretches of YouTube videos of 700 human actions."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from probekit.cards import TaskCard
from probekit.data import manifest as manifests
from probekit.data.manifest import Manifest
from probekit.data.readers import check_spreadsheet_ids
from probekit.errors import DataError
from probekit.tasks.datasets import _files, _tables
from probekit.tasks.standin.writer import StandInWriter
from probekit.utils.suggest import unknown_name_error

_LISTS = {
    "train": ("train.csv", "annotations/train.csv"),
    "val": ("val.csv", "validate.csv", "annotations/val.csv", "annotations/validate.csv"),
}
_COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")
_PLAYED = (  # the classes of stand-in data
    "abseiling",
    "air drumming",
    "ice skating",
    "peeling banana",
    "playing bagpipes",
    "playing guitar",
    "rolling eyes",
    "tap dancing",
)


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the clips of the official training and validation lists.

    A part of the training clips, drawn at random, chooses hyper-parameters; the official
    validation clips are the test clips. Recordings are found by name wherever they lie in
    ``root``; clips without one are left out, and counted as missing.

    Parameters
    ----------
    card : TaskCard
        The task; ``validation`` is the number of clips to draw (a tenth of the training clips
        where the list is short), ``seed`` their seed, ``edition`` the name of the lists.
    root : pathlib.Path or None
        The folder that holds the lists, and the recordings as video or audio.

    Returns
    -------
    Manifest
        Classes are the labels of the training list in alphabetical order; the provenance names
        the edition and the lists' sizes.

    Raises
    ------
    DataError
        If a list is not there or not as published, or no recording is one of the dataset's.
    """
    tables = {kind: _tables.locate(root, *places, card=card) for kind, places in _LISTS.items()}
    lists = {kind: _tables.rows(table, _COLUMNS[:4]) for kind, table in tables.items()}
    assert root is not None
    classes = sorted({row["label"] for row in lists["train"]})
    train = [_row(tables["train"], row, "train") for row in lists["train"]]
    test = [_row(tables["val"], row, "test") for row in lists["val"]]
    for kind, rows in (("train", train), ("val", test)):
        check_spreadsheet_ids(tables[kind], [row["youtube_id"] for row in lists[kind]])
        strange = {row["labels"][0] for row in rows} - set(classes)
        if strange:
            raise unknown_name_error(f"label in {tables[kind]}", min(strange), classes)
    count = min(card.options["validation"], len(train) // 10)
    # drawn from the sorted list, before clips go missing: everybody's draw is the same
    places = sorted(range(len(train)), key=lambda k: train[k]["clip_id"])
    for k in np.random.RandomState(card.options["seed"]).permutation(len(train))[:count]:
        train[places[k]]["split"] = "valid"
    kept, absent = _files.match_recordings(
        card, root, ((row, [row["clip_id"]]) for row in train + test)
    )
    found = manifests.from_rows(
        card.dataset,
        kept,
        root=root,
        names=classes,
        provenance=[
            f"{card.options['edition']}, lists of {len(train):,} training and {len(test):,} "
            "validation clips"
        ],
        expected=len(kept) + len(absent),
        source=tables["train"].parent,
    )
    return replace(found, absent=absent)


def make_standin(card: TaskCard, stage: StandInWriter) -> None:
    """Write lists and videos with stand-in sounds; one video in twelve is gone.

    Parameters
    ----------
    card : TaskCard
        The task.
    stage : Stage
        Where to write.
    """
    lists: dict[str, list[tuple[object, ...]]] = {"train": [], "val": []}
    for k in range(max(stage.clips, 40)):
        number, kind = k % len(_PLAYED), "val" if k // len(_PLAYED) % 4 == 3 else "train"
        label, video, begin = _PLAYED[number], f"{'-_a'[k % 3]}b{k:09d}", 7 * k
        lists[kind].append((label, video, begin, begin + 10, kind))
        if k % 12 != 7:
            path = f"{kind}/{label}/{video}_{begin:06d}_{begin + 10:06d}.mp4"
            stage.write_audio(path, [number], seconds=1.0, rate=44100, channels=2)
    for kind, rows in lists.items():
        stage.table(_LISTS[kind][0], rows, header=_COLUMNS)


def _row(table: Path, row: dict[str, str], split: str) -> dict[str, Any]:
    """Return one clip of the manifest; its id is the name that its file has by convention."""
    try:
        start, end = (round(float(row[column])) for column in ("time_start", "time_end"))
    except ValueError:
        raise DataError(
            f"{table}: video {row['youtube_id']!r}: time_start {row['time_start']!r} and time_end "
            f"{row['time_end']!r} must be numbers of seconds"
        ) from None
    stem = f"{row['youtube_id']}_{start:06d}_{end:06d}"
    return {
        "clip_id": stem,
        "path": f"{'train' if split == 'train' else 'val'}/{row['label']}/{stem}.mp4",
        "split": split,
        "labels": (row["label"],),
    }
