"""FSDKaggle2019: clips with any of 80 labels, a curated and a noisy training set."""

from pathlib import Path
from typing import Any

from probekit.cards import TaskCard
from probekit.data import manifest as manifests
from probekit.data.manifest import Manifest
from probekit.data.readers import check_spreadsheet_ids
from probekit.errors import DataError
from probekit.tasks.datasets import _tables
from probekit.tasks.standin.writer import StandInWriter
from probekit.utils.suggest import unknown_name_error

_META = "FSDKaggle2019.meta"
_TABLE = f"{_META}/train_{{}}_post_competition.csv"  # Zenodo's; Kaggle's is train_{}.csv
_TEST = f"{_META}/test_post_competition.csv"
_VOCABULARY = f"{_META}/vocabulary.csv"
_SPLITS = {"Public": "valid", "Private": "test"}
_PLAYED = (  # the classes of stand-in data
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

    Zenodo's layout and Kaggle's are both read; labels of the test clips are in Zenodo's only.

    Parameters
    ----------
    card : TaskCard
        The task; ``train`` is ``curated`` or ``noisy``, ``exclude_known_bad`` leaves out the clips
        that the card lists as such.
    root : pathlib.Path or None
        The folder that holds the audio folders and the tables.

    Returns
    -------
    Manifest
        Public test clips are ``valid``, Private ones ``test``. Classes are in alphabetical order,
        as in ``vocabulary.csv``.

    Raises
    ------
    DataError
        If a table is not there or not as published.
    """
    kind = card.options["train"]
    table = _tables.locate(root, _TABLE.format(kind), f"train_{kind}.csv", card=card)
    assert root is not None
    if not (root / _TEST).exists():
        raise DataError(
            f"{root}: no labels of the test clips: looked for {_TEST}. Kaggle's copy has none; get "
            f"{_META} from the Zenodo record 3612637 and put it into that folder"
        )
    classes = _classes(root, table)
    test = root / _TEST
    rows = [
        _row(table, row, _folder(root, f"train_{kind}"), "train", classes)
        for row in _tables.rows(table, ("fname", "labels"))
    ]
    rows += [
        _row(test, row, _folder(root, "test"), _split(test, row), classes)
        for row in _tables.rows(test, ("fname", "labels", "usage"))
    ]
    check_spreadsheet_ids(table, [row["clip_id"] for row in rows])
    expected = card.counts.get("clips")
    provenance: list[str] = []
    if card.options.get("exclude_known_bad"):
        kept = [row for row in rows if row["clip_id"] not in card.known_bad]
        provenance = [f"{len(rows) - len(kept)} known-bad clips left out"]
        expected = expected and expected - (len(rows) - len(kept))
        rows = kept
    return manifests.from_rows(
        card.dataset,
        rows,
        root=root,
        target="multi",
        names=list(classes),
        expected=expected,
        source=table,
        provenance=provenance,
    )


def make_standin(card: TaskCard, stage: StandInWriter) -> None:
    """Write Zenodo's layout, both training sets, with stand-in sounds of ten of the classes.

    Parameters
    ----------
    card : TaskCard
        The task; the other task on the dataset can be evaluated on what is written, too.
    stage : Stage
        Where to write.
    """
    train, held = max(20, stage.clips // 3), max(10, stage.clips // 6)
    stage.table(_VOCABULARY, enumerate(_PLAYED))
    _play(stage, "train_curated", _TABLE.format("curated"), "freesound_id", 0, [()] * train)
    _play(stage, "train_noisy", _TABLE.format("noisy"), "flickr_video_URL", 1, [()] * train)
    _play(stage, "test", _TEST, "freesound_id", 2, [("Public",), ("Private",)] * held)


def _play(
    stage: StandInWriter,
    name: str,
    table: str,
    source: str,
    prefix: int,
    usages: list[tuple[str, ...]],
) -> None:
    """Write one set: its table, and a sound for each entry of ``usages``."""
    rows = []
    for k, usage in enumerate(usages):
        own = [k % 10, (k + 3) % 10][: 2 if k % 4 == 0 else 1]
        file = f"{prefix}{k:07x}.wav"
        stage.write_audio(f"FSDKaggle2019.audio_{name}/{file}", own, seconds=1.0, rate=44100)
        labels = ",".join(_PLAYED[number] for number in own)
        rows.append((file, labels, *usage, 100_000 + k, "CC0"))
    columns = ["fname", "labels", *(["usage"] if usages[0] else []), source, "license"]
    stage.table(table, rows, header=columns)


def _classes(root: Path, table: Path) -> dict[str, int]:
    """Return the classes in their order: the vocabulary's, else the training labels' sorted."""
    vocabulary = root / _VOCABULARY
    if vocabulary.exists():
        names = [row["label"] for row in _tables.rows(vocabulary, ("index", "label"), header=False)]
    else:
        found = {name for row in _tables.rows(table, ("labels",)) for name in _labels(row)}
        names = sorted(found)
    return {name: k for k, name in enumerate(names)}


def _folder(root: Path, name: str) -> str:
    """Return the audio folder of a set: Zenodo's name, or Kaggle's where that is the one there."""
    official = f"FSDKaggle2019.audio_{name}"
    return name if (root / name).is_dir() and not (root / official).is_dir() else official


def _labels(row: dict[str, str]) -> tuple[str, ...]:
    """Return a clip's labels."""
    return tuple(row["labels"].split(","))


def _split(table: Path, row: dict[str, str]) -> str:
    """Return the split that a test clip is in."""
    if row["usage"] not in _SPLITS:
        raise DataError(
            f"{table}: {row['fname']}: column usage is {row['usage']!r}, expected Public or Private"
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
