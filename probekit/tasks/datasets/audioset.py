"""AudioSet: ten-second stretches of YouTube videos with any of 527 sound events."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

from probekit.cards import TaskCard
from probekit.data import manifest as manifests
from probekit.data.manifest import Manifest
from probekit.data.readers import check_spreadsheet_ids
from probekit.errors import CardError, DataError
from probekit.tasks.datasets import _files, _tables
from probekit.tasks.standin.writer import StandInWriter
from probekit.utils.suggest import unknown_name_error

_CLASSES = "class_labels_indices.csv"
_COLUMNS = ("ytid", "start", "end", "mids")
_PLAYED = (
    ("/m/09x0r", "Speech"),
    ("/m/05zppz", "Male speech, man speaking"),
    ("/m/04rlf", "Music"),
    ("/m/0bt9lr", "Dog"),
    ("/m/03l9g", "Hammer"),
)


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the segments of the lists that option ``train`` names, and of the evaluation list.

    Recordings are found by name wherever they lie in ``root``; segments without one are left out,
    and counted as missing.

    Parameters
    ----------
    card : TaskCard
        The task; ``train`` names lists (``balanced_train``, ``unbalanced_train``), ``files`` what
        recordings are called without suffix: fields ``{ytid}``, ``{start}`` and ``{end}`` (as
        in the list), ``{start_ms}``, ``{end_ms}``, ``{start_s}``, ``{end_s}``.
    root : pathlib.Path or None
        The folder that holds the lists, the classes, and the recordings.

    Returns
    -------
    Manifest
        Classes are the display names of ``class_labels_indices.csv`` in its order.

    Raises
    ------
    DataError
        If a list is not there or not as published, or no recording is one of the dataset's.
    """
    classes = _classes(_tables.locate(root, _CLASSES, card=card))
    assert root is not None
    tables = [
        _tables.locate(root, f"{part}_segments.csv", card=card)
        for part in (*card.options["train"], "eval")
    ]
    clips = chain.from_iterable(_segments(card, table, classes) for table in tables)
    kept, absent = _files.match_recordings(card, root, clips)
    found = manifests.from_rows(
        card.dataset,
        kept,
        root=root,
        target="multi",
        names=list(classes.values()),
        expected=len(kept) + len(absent),
        source=tables[0].parent,
    )
    return replace(found, absent=absent)


def make_standin(card: TaskCard, stage: StandInWriter) -> None:
    """Write lists and recordings with stand-in sounds of five classes; one in twelve is gone.

    Parameters
    ----------
    card : TaskCard
        The task; its training lists and the evaluation list are played.
    stage : Stage
        Where to write.
    """
    header = ("index", "mid", "display_name")
    stage.table(_CLASSES, [(k, *names) for k, names in enumerate(_PLAYED)], header=header)
    parts = [*card.options["train"], "eval"]
    number = 0
    for part in parts:
        rows = []
        for k in range(max(24, stage.clips // len(parts))):
            own = [k % 5, (k + 2) % 5][: 2 if k % 3 == 0 else 1]
            video, begin = f"{'-_a'[k % 3]}b{number:09d}", 10 * (k % 4)
            if k % 12 != 7:
                stage.write_audio(f"{part}/Y{video}.wav", own, seconds=1.0, rate=16000)
            mids = ",".join(_PLAYED[j][0] for j in own)
            rows.append(f'{video}, {begin}.000, {begin + 10}.000, "{mids}"')
            number += 1
        before = (
            "# Segments csv of stand-in data\n"
            f"# num_ytids={len(rows)}, num_segs={len(rows)}\n"
            "# YTID, start_seconds, end_seconds, positive_labels\n"
        )
        stage.text(f"{part}_segments.csv", before + "\n".join(rows) + "\n")


def _classes(table: Path) -> dict[str, str]:
    """Return the display names of the classes by their machine ids, in their order."""
    rows = _tables.rows(table, ("index", "mid", "display_name"))
    found = {row["mid"]: row["display_name"] for row in rows}
    numbers = [str(k) for k in range(len(set(found.values())))]
    if [row["index"] for row in rows] != numbers:
        raise DataError(
            f"{table}: column index must count from 0 without a gap, and each class be there once: "
            "get the original file again"
        )
    return found


def _segments(
    card: TaskCard, table: Path, classes: dict[str, str]
) -> Iterator[tuple[dict[str, Any], Iterator[str]]]:
    """Yield each segment of a list as a row of the manifest, with the names its file may have."""
    with table.open(encoding="utf-8-sig", errors="replace") as stream:
        comments = sum(1 for _ in takewhile(lambda line: line.startswith("# "), stream))
    lines = _tables.rows(table, _COLUMNS, header=False, skip=comments, skipinitialspace=True)
    check_spreadsheet_ids(table, (line["ytid"] for line in lines))
    split = "test" if table.name.startswith("eval") else "train"
    labels: dict[str, tuple[str, ...]] = {}  # two million clips share far fewer sets of labels
    lines.reverse()
    while lines:  # each line is let go as soon as it is used: there may be two million
        line = lines.pop()
        fields = _fields(table, line)
        mids = line["mids"]
        if mids not in labels:
            labels[mids] = tuple(
                _display(table, line["ytid"], mid, classes) for mid in mids.split(",")
            )
        row = {"clip_id": line["ytid"], "split": split, "labels": labels[mids]}
        yield row, _names(card, fields)


def _display(table: Path, video: str, mid: str, classes: dict[str, str]) -> str:
    """Return the display name of a machine id."""
    if mid not in classes:
        raise unknown_name_error(f"machine id in {table.name}, video {video}", mid, classes)
    return classes[mid]


def _fields(table: Path, line: dict[str, str]) -> dict[str, str | int]:
    """Return what the name of a segment's file may be made of."""
    try:
        start, end = float(line["start"]), float(line["end"])
    except ValueError:
        raise DataError(
            f"{table}: video {line['ytid']!r}: start {line['start']!r} and end {line['end']!r} "
            "must be numbers of seconds: is this the original file, without a header of columns?"
        ) from None
    return {
        "ytid": line["ytid"],
        "start": line["start"],
        "end": line["end"],
        "start_ms": round(1000 * start),
        "end_ms": round(1000 * end),
        "start_s": round(start),
        "end_s": round(end),
    }


def _names(card: TaskCard, fields: dict[str, str | int]) -> Iterator[str]:
    """Yield what a segment's file may be called, without suffix."""
    for template in card.options["files"]:
        try:
            name = template.format_map(fields)
        except (KeyError, ValueError, IndexError, AttributeError) as error:
            raise CardError(
                f"{card.name}: option files: cannot fill {template!r}: {error}; fields are "
                f"{', '.join(sorted(fields))}"
            ) from None
        yield name
