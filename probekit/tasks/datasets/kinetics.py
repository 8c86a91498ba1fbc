"""Kinetics-700 by its sound: ten-second segments of YouTube videos of 700 human actions."""

from pathlib import Path
from typing import Any

import numpy as np

from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.data.readers import check_spreadsheet_ids
from probekit.errors import DataError
from probekit.tasks.datasets._files import locate, match_recordings
from probekit.tasks.datasets._tables import read_table, to_manifest
from probekit.tasks.standin.writer import StandInWriter
from probekit.utils.suggest import unknown_name_error

OPTIONS = ("edition", "validation", "seed")
NEEDED = ("edition", "validation", "seed")
_LISTS = {
    "train": ("train.csv", "annotations/train.csv"),
    "val": ("val.csv", "validate.csv", "annotations/val.csv", "annotations/validate.csv"),
}
_COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")
_STANDIN_CLASSES = (
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

    Training clips drawn at random choose hyper-parameters: as many as the option ``validation``
    says (a tenth of the training clips where the list is short), with the option ``seed``. The
    official validation clips are the test clips. Recordings are matched by name wherever they lie
    in ``root``; clips without one are left out, and counted as missing. The provenance has the
    lists' sizes and the option ``edition``.
    """
    tables = {kind: locate(root, *places, card=card) for kind, places in _LISTS.items()}
    lists = {kind: read_table(table, _COLUMNS[:4]) for kind, table in tables.items()}
    assert root is not None
    classes = sorted({row["label"] for row in lists["train"]})
    train = [_row(tables["train"], row, "train") for row in lists["train"]]
    test = [_row(tables["val"], row, "test") for row in lists["val"]]
    for kind, rows in (("train", train), ("val", test)):
        check_spreadsheet_ids(tables[kind], [row["youtube_id"] for row in lists[kind]])
        unknown = {row["labels"][0] for row in rows} - set(classes)
        if unknown:
            raise unknown_name_error(f"label in {tables[kind]}", min(unknown), classes)
    count = min(card.options["validation"], len(train) // 10)
    # drawn from the sorted list, before clips go missing: everybody's draw is the same
    by_id = sorted(range(len(train)), key=lambda k: train[k]["clip_id"])
    for k in np.random.RandomState(card.options["seed"]).permutation(len(train))[:count]:
        train[by_id[k]]["split"] = "valid"
    rows, absent = match_recordings(card, root, ((row, [row["clip_id"]]) for row in train + test))
    note = (
        f"{card.options['edition']}, lists of {len(train):,} training and {len(test):,} "
        "validation clips"
    )
    source = tables["train"].parent
    return to_manifest(
        card, rows, root, source, class_names=classes, absent=absent, provenance=[note]
    )


def make_standin(card: TaskCard, writer: StandInWriter) -> None:
    """Write lists and videos; one video in twelve is missing."""
    lists: dict[str, list[tuple[object, ...]]] = {"train": [], "val": []}
    for k in range(max(writer.clips, 40)):
        number, kind = (
            k % len(_STANDIN_CLASSES),
            "val" if k // len(_STANDIN_CLASSES) % 4 == 3 else "train",
        )
        label, video, begin = _STANDIN_CLASSES[number], f"{'-_a'[k % 3]}b{k:09d}", 7 * k
        lists[kind].append((label, video, begin, begin + 10, kind))
        if k % 12 != 7:
            path = f"{kind}/{label}/{video}_{begin:06d}_{begin + 10:06d}.mp4"
            writer.write_audio(path, [number], seconds=1.0, sr=44100, channels=2)
    for kind, rows in lists.items():
        writer.write_table(_LISTS[kind][0], rows, header=_COLUMNS)


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
