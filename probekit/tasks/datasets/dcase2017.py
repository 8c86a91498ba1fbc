"""DCASE2017 Task 4: weakly labelled YouTube clips of 17 sounds of traffic and warning."""

from pathlib import Path
from typing import Any

import numpy as np

from probekit.cards import TaskCard
from probekit.data import manifest as manifests
from probekit.data.manifest import Manifest
from probekit.data.readers import check_spreadsheet_ids
from probekit.errors import DataError
from probekit.tasks.datasets import _tables
from probekit.tasks.standin.writer import StandInWriter
from probekit.tasks.task import check_labels
from probekit.utils.text import summarize_ids

_AUDIO = {
    "training": "unbalanced_train_segments_training_set_audio_formatted_and_segmented_downloads",
    "testing": "unbalanced_train_segments_testing_set_audio_formatted_and_segmented_downloads",
    "evaluation": "evaluation_set_formatted_audio_segments",
}
_COLUMNS = ("file", "start", "end", "label")


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the clips of the three lists, with the validation clips that Won et al. drew.

    Parameters
    ----------
    card : TaskCard
        The task; its labels are in the order in which validation clips are drawn, ``share`` and
        ``seed`` say how.
    root : pathlib.Path or None
        The folder that holds the lists, and the three audio folders.

    Returns
    -------
    Manifest
        Training and testing lists are ``train`` and ``valid``, the evaluation list is ``test``.

    Raises
    ------
    DataError
        If a list is not there or not as published, or a clip is in two of them.
    """
    assert card.labels is not None
    labels: dict[str, list[str]] = {}
    origin: dict[str, str] = {}
    drawn_from: dict[str, list[str]] = {label: [] for label in card.labels}
    for part in _AUDIO:
        own = f"groundtruth_weak_label_{part}_set.csv"
        table = _tables.locate(root, f"groundtruth_release/{own}", own, card=card)
        lines = _tables.rows(table, _COLUMNS, delimiter="\t", header=False)
        check_spreadsheet_ids(table, [row["file"] for row in lines])
        twice = sorted({row["file"] for row in lines} & set(origin))
        if twice:
            raise DataError(f"{table}: clips that another list has, too: {summarize_ids(twice)}")
        for row in lines:
            label = check_labels(card, row["label"], table, row["file"])
            labels.setdefault(row["file"], []).append(label)
            origin[row["file"]] = part
            if part != "evaluation":
                drawn_from[label].append(row["file"])
    valid = _draw(drawn_from, card.options["share"], card.options["seed"])
    rows: list[dict[str, Any]] = []
    for file, own_labels in labels.items():
        split = "test" if origin[file] == "evaluation" else "train"
        rows.append(
            {
                "clip_id": file.removesuffix(".wav"),
                "path": f"{_AUDIO[origin[file]]}/Y{file}",  # the audio's names have a Y in front
                "split": "valid" if file in valid else split,
                "labels": tuple(own_labels),
            }
        )
    return manifests.from_rows(
        card.dataset,
        rows,
        root=root,
        target="multi",
        names=card.labels,
        expected=card.counts.get("clips"),
    )


def _draw(files: dict[str, list[str]], share: float, seed: int) -> set[str]:
    """Return a share of each class's files.

    As ``DataFrame.sample(frac=share, random_state=seed)`` of pandas draws them, class by class;
    put in terms of numpy's generator, whose stream does not change between versions.
    """
    drawn: set[str] = set()
    for own in files.values():
        chosen = np.random.RandomState(seed).choice(
            len(own), size=round(share * len(own)), replace=False
        )
        drawn |= {own[k] for k in chosen}
    return drawn


def make_standin(card: TaskCard, stage: StandInWriter) -> None:
    """Write the layout with stand-in sounds; each class played has enough clips for validation.

    Parameters
    ----------
    card : TaskCard
        The task; the first of its classes are played.
    stage : Stage
        Where to write.
    """
    assert card.labels is not None
    count = max(2, min(len(card.labels), stage.clips // 12))
    number = 0
    sizes = {"training": 8, "testing": 2, "evaluation": 4}
    for part, folder in _AUDIO.items():
        rows = []
        for k in range(max(sizes[part], stage.clips * sizes[part] // (14 * count)) * count):
            own = [k % count, (k + 1) % count][: 2 if k % 5 == 0 else 1]
            file = f"{'-' if k % 3 == 0 else 'a'}b_{number:08d}_30.000_40.000.wav"
            stage.write_audio(f"{folder}/Y{file}", own, seconds=1.0, rate=44100)
            rows += [(file, "30.000", "40.000", card.labels[j]) for j in own]
            number += 1
        place = f"groundtruth_release/groundtruth_weak_label_{part}_set.csv"
        stage.table(place, rows, delimiter="\t")
