"""FSDKaggle2019: clips with any of 80 labels, a curated and a noisy training set."""

from pathlib import Path
from typing import Any

from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.data.readers import check_spreadsheet_ids
from probekit.errors import DataError
from probekit.tasks.datasets._files import locate
from probekit.tasks.datasets._tables import read_table, to_manifest
from probekit.tasks.standin.writer import StandInWriter
from probekit.utils.suggest import unknown_name_error

OPTIONS = ("train", "exclude_known_bad")
NEEDED = ("train",)
_META = "FSDKaggle2019.meta"
_TABLE = f"{_META}/train_{{}}_post_competition.csv"  # Zenodo's; Kaggle's is train_{}.csv
_TEST = f"{_META}/test_post_competition.csv"
_VOCABULARY = f"{_META}/vocabulary.csv"
_SPLITS = {"Public": "valid", "Private": "test"}
_STANDIN_CLASSES = (
    "Accelerating_and_revving_and_vroom",
    "Bark",
    "Bathtub_(filling_or_washing)",
    "Church_bell",
    "Fart",
    "Glockenspiel",
    "Hi-hat",
    "Marimba_and_xylophone",
    "Tick-tock",
    "Yell",
)


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the clips of the training set that option ``train`` names, and of the test set.

    ``train`` is ``curated`` or ``noisy``; the option ``exclude_known_bad`` leaves out the clips
    that the card lists as such. Public test clips are ``valid``, Private ones ``test``. Zenodo's
    layout and Kaggle's are both read; labels of the test clips are in Zenodo's only.
    """
    kind = card.options["train"]
    table = locate(root, _TABLE.format(kind), f"train_{kind}.csv", card=card)
    assert root is not None
    if not (root / _TEST).exists():
        raise DataError(
            f"{root}: labels of the test clips not found: expected {_TEST}. Kaggle's copy lacks "
            f"them; download {_META} from the Zenodo record 3612637 into that folder"
        )
    classes = _classes(root, table)
    test = root / _TEST
    rows = [
        _row(table, row, _folder(root, f"train_{kind}"), "train", classes)
        for row in read_table(table, ("fname", "labels"))
    ]
    rows += [
        _row(test, row, _folder(root, "test"), _split(test, row), classes)
        for row in read_table(test, ("fname", "labels", "usage"))
    ]
    check_spreadsheet_ids(table, [row["clip_id"] for row in rows])
    expected = card.counts.get("clips")
    provenance: list[str] = []
    if card.options.get("exclude_known_bad"):
        good = [row for row in rows if row["clip_id"] not in card.known_bad]
        n_bad = len(rows) - len(good)
        provenance = [f"{n_bad} known-bad clips left out"]
        expected = expected and expected - n_bad
        rows = good
    return to_manifest(
        card,
        rows,
        root,
        table,
        target="multi",
        class_names=list(classes),
        expected=expected,
        provenance=provenance,
    )


def freesound_ids(root: Path) -> dict[str, str]:
    """Return numbers of Freesound recordings by clip id; Kaggle's tables have none."""
    numbers = {}
    for name in (_TABLE.format("curated"), _TEST):
        if (root / name).exists():
            for row in read_table(root / name, ("fname",)):
                numbers[row["fname"].removesuffix(".wav")] = row.get("freesound_id", "")
    return {clip_id: number for clip_id, number in numbers.items() if number}


def make_standin(card: TaskCard, writer: StandInWriter) -> None:
    """Write Zenodo's layout, both training sets, with ten of the classes."""
    train, half = max(20, writer.clips // 3), max(10, writer.clips // 6)
    writer.write_table(_VOCABULARY, enumerate(_STANDIN_CLASSES))
    _write_set(writer, "train_curated", _TABLE.format("curated"), "freesound_id", 0, [()] * train)
    _write_set(writer, "train_noisy", _TABLE.format("noisy"), "flickr_video_URL", 1, [()] * train)
    _write_set(writer, "test", _TEST, "freesound_id", 2, [("Public",), ("Private",)] * half)


def _write_set(
    writer: StandInWriter,
    name: str,
    table: str,
    source: str,
    prefix: int,
    usages: list[tuple[str, ...]],
) -> None:
    """Write one set: its table, and a sound for each entry of ``usages``."""
    rows = []
    for k, usage in enumerate(usages):
        numbers = [k % 10, (k + 3) % 10][: 2 if k % 4 == 0 else 1]
        file = f"{prefix}{k:07x}.wav"
        writer.write_audio(f"FSDKaggle2019.audio_{name}/{file}", numbers, seconds=1.0, sr=44100)
        labels = ",".join(_STANDIN_CLASSES[number] for number in numbers)
        rows.append((file, labels, *usage, 100_000 + k, "CC0"))
    columns = ["fname", "labels", *(["usage"] if usages[0] else []), source, "license"]
    writer.write_table(table, rows, header=columns)


def _classes(root: Path, table: Path) -> dict[str, int]:
    """Return the classes in their order: the vocabulary's, else the training labels' sorted."""
    vocabulary = root / _VOCABULARY
    if vocabulary.exists():
        names = [row["label"] for row in read_table(vocabulary, ("index", "label"), header=False)]
    else:
        labels = {name for row in read_table(table, ("labels",)) for name in _labels(row)}
        names = sorted(labels)
    return {name: k for k, name in enumerate(names)}


def _folder(root: Path, name: str) -> str:
    """Return the audio folder of a set: Zenodo's name, or Kaggle's where only that exists."""
    official = f"FSDKaggle2019.audio_{name}"
    return name if (root / name).is_dir() and not (root / official).is_dir() else official


def _labels(row: dict[str, str]) -> tuple[str, ...]:
    """Return a clip's labels."""
    return tuple(row["labels"].split(","))


def _split(table: Path, row: dict[str, str]) -> str:
    """Return the split that a test clip is in."""
    if row["usage"] not in _SPLITS:
        raise DataError(
            f"{table}: {row['fname']}: column usage must be Public or Private, got {row['usage']!r}"
        )
    return _SPLITS[row["usage"]]


def _row(
    table: Path, row: dict[str, str], folder: str, split: str, classes: dict[str, int]
) -> dict[str, Any]:
    """Return one clip of the manifest."""
    labels = _labels(row)
    for name in labels:
        if name not in classes:
            raise unknown_name_error(f"label in {table.name}, clip {row['fname']}", name, classes)
    return {
        "clip_id": row["fname"].removesuffix(".wav"),
        "path": f"{folder}/{row['fname']}",
        "split": split,
        "labels": labels,
    }
