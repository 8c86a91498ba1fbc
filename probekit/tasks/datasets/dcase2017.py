"""DCASE2017 Task 4: weakly labeled YouTube clips of 17 sounds of traffic and warning."""

from pathlib import Path
from typing import Any

import numpy as np

from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.data.readers import check_spreadsheet_ids
from probekit.errors import DataError
from probekit.tasks.datasets._files import locate
from probekit.tasks.datasets._tables import check_label, read_table, to_manifest
from probekit.tasks.standin.writer import StandInWriter
from probekit.utils.text import summarize_ids

OPTIONS = ("share", "seed")
NEEDED = ("share", "seed")
_AUDIO = {
    "training": "unbalanced_train_segments_training_set_audio_formatted_and_segmented_downloads",
    "testing": "unbalanced_train_segments_testing_set_audio_formatted_and_segmented_downloads",
    "evaluation": "evaluation_set_formatted_audio_segments",
}
_COLUMNS = ("file", "start", "end", "label")


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the clips of the three lists, with the validation clips that Won et al. drew.

    Training and testing lists are ``train`` and ``valid``, the evaluation list is ``test``. The
    options ``share`` and ``seed`` say how validation clips are drawn, in the order of the labels.
    """
    assert card.labels is not None
    labels: dict[str, list[str]] = {}
    origin: dict[str, str] = {}
    by_label: dict[str, list[str]] = {label: [] for label in card.labels}
    for part in _AUDIO:
        name = f"groundtruth_weak_label_{part}_set.csv"
        table = locate(root, f"groundtruth_release/{name}", name, card=card)
        lines = read_table(table, _COLUMNS, delimiter="\t", header=False)
        check_spreadsheet_ids(table, [row["file"] for row in lines])
        repeated = sorted({row["file"] for row in lines} & set(origin))
        if repeated:
            raise DataError(f"{table}: clips are in another list, too: {summarize_ids(repeated)}")
        for row in lines:
            label = check_label(card, row["label"], table, row["file"])
            labels.setdefault(row["file"], []).append(label)
            origin[row["file"]] = part
            if part != "evaluation":
                by_label[label].append(row["file"])
    valid = _draw(by_label, card.options["share"], card.options["seed"])
    rows: list[dict[str, Any]] = []
    for file, names in labels.items():
        split = "test" if origin[file] == "evaluation" else "train"
        rows.append(
            {
                "clip_id": file.removesuffix(".wav"),
                "path": f"{_AUDIO[origin[file]]}/Y{file}",  # the audio's names have a Y in front
                "split": "valid" if file in valid else split,
                "labels": tuple(names),
            }
        )
    return to_manifest(card, rows, root, target="multi")


def _draw(files: dict[str, list[str]], share: float, seed: int) -> set[str]:
    """Return a share of each class's files, as ``DataFrame.sample(frac=share, random_state=seed)``.

    It is drawn by numpy's generator, whose stream does not change between versions.
    """
    drawn: set[str] = set()
    for names in files.values():
        rows = np.random.RandomState(seed).choice(
            len(names), size=round(share * len(names)), replace=False
        )
        drawn |= {names[k] for k in rows}
    return drawn


def make_standin(card: TaskCard, writer: StandInWriter) -> None:
    """Write the layout; each of its classes has enough clips for validation."""
    assert card.labels is not None
    count = max(2, min(len(card.labels), writer.clips // 12))
    number = 0
    sizes = {"training": 8, "testing": 2, "evaluation": 4}
    for part, folder in _AUDIO.items():
        rows = []
        for k in range(max(sizes[part], writer.clips * sizes[part] // (14 * count)) * count):
            numbers = [k % count, (k + 1) % count][: 2 if k % 5 == 0 else 1]
            file = f"{'-' if k % 3 == 0 else 'a'}b_{number:08d}_30.000_40.000.wav"
            writer.write_audio(f"{folder}/Y{file}", numbers, seconds=1.0, sr=44100)
            rows += [(file, "30.000", "40.000", card.labels[j]) for j in numbers]
            number += 1
        table = f"groundtruth_release/groundtruth_weak_label_{part}_set.csv"
        writer.write_table(table, rows, delimiter="\t")
