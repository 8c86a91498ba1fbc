"""AudioSet: ten-second segments of YouTube videos with any of 527 sound events."""

from collections.abc import Iterator
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.data.readers import check_spreadsheet_ids
from probekit.errors import CardError, DataError
from probekit.extractors import labels as labels_of_networks
from probekit.tasks.datasets._files import locate, match_recordings
from probekit.tasks.datasets._tables import read_table, to_manifest
from probekit.tasks.standin.writer import StandInWriter
from probekit.utils.suggest import unknown_name_error

OPTIONS = ("train", "validate", "files")
NEEDED = ("train", "files")
_CLASSES = "class_labels_indices.csv"
_COLUMNS = ("ytid", "start", "end", "mids")
_STANDIN_CLASSES = (
    ("/m/09x0r", "Speech"),
    ("/m/05zppz", "Male speech, man speaking"),
    ("/m/04rlf", "Music"),
    ("/m/0bt9lr", "Dog"),
    ("/m/03l9g", "Hammer"),
)
_STANDIN_SOUNDS = 40
_WHOLE_VOCABULARY = 1000  # clips of a stand-in from which it has all classes


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the segments of the lists that option ``train`` names, and of the evaluation list.

    Segments of the list that option ``validate`` names, if any, are validation clips.

    Recordings are matched by name wherever they lie in ``root``; segments without one are left out
    and counted as missing. The option ``files`` says what recordings are called without suffix, in
    fields ``{ytid}``, ``{start}`` and ``{end}`` (as in the list), ``{start_ms}``, ``{end_ms}``,
    ``{start_s}``, ``{end_s}``. Classes are the display names of ``class_labels_indices.csv``.
    """
    classes = _classes(locate(root, _CLASSES, card=card))
    assert root is not None
    tables = [
        locate(root, f"{part}_segments.csv", card=card) for part in (*card.options["train"], "eval")
    ]
    segments = chain.from_iterable(_segments(card, table, classes) for table in tables)
    rows, absent = match_recordings(card, root, segments)
    names = list(classes.values())
    return to_manifest(
        card, rows, root, tables[0].parent, target="multi", class_names=names, absent=absent
    )


def make_standin(card: TaskCard, writer: StandInWriter) -> None:
    """Write lists and recordings of five classes; one recording in twelve is missing.

    Of 1,000 clips and more they are of AudioSet's 527 classes, by their names; these have 40
    different sounds, so that a small network learns something in minutes.
    """
    header = ("index", "mid", "display_name")
    names: tuple[tuple[str, str], ...] = _STANDIN_CLASSES
    if writer.clips >= _WHOLE_VOCABULARY:
        vocabulary = labels_of_networks.load_labels("audioset.csv")
        names = tuple((f"/t/dd{k:05d}", name) for k, name in enumerate(vocabulary))
    count = len(names)
    classes = [(k, *each) for k, each in enumerate(names)]
    writer.write_table(_CLASSES, classes, header=header)
    parts = [*card.options["train"], "eval"]
    number = 0
    for part in parts:
        rows = []
        for k in range(max(24, writer.clips // len(parts))):
            labels = [k % count, (k + 2) % count][: 2 if k % 3 == 0 else 1]
            video, begin = f"{'-_a'[k % 3]}b{number:09d}", 10 * (k % 4)
            if k % 12 != 7:
                sounds = [j % _STANDIN_SOUNDS for j in labels]
                writer.write_audio(f"{part}/Y{video}.wav", sounds, seconds=1.0, sr=16000)
            mids = ",".join(names[j][0] for j in labels)
            rows.append(f'{video}, {begin}.000, {begin + 10}.000, "{mids}"')
            number += 1
        preamble = (
            "# Segments csv of stand-in data\n"
            f"# num_ytids={len(rows)}, num_segs={len(rows)}\n"
            "# YTID, start_seconds, end_seconds, positive_labels\n"
        )
        writer.write_text(f"{part}_segments.csv", preamble + "\n".join(rows) + "\n")


def _classes(table: Path) -> dict[str, str]:
    """Return the display names of the classes by their machine ids, in their order."""
    rows = read_table(table, ("index", "mid", "display_name"))
    classes = {row["mid"]: row["display_name"] for row in rows}
    numbers = [str(k) for k in range(len(set(classes.values())))]
    if [row["index"] for row in rows] != numbers:
        raise DataError(
            f"{table}: column index must count from 0 without a gap, and each class occur once: "
            "get the original file again"
        )
    return classes


def _segments(
    card: TaskCard, table: Path, classes: dict[str, str]
) -> Iterator[tuple[dict[str, Any], Iterator[str]]]:
    """Yield each segment of a list as a row of the manifest, with the names its file may have."""
    with table.open(encoding="utf-8-sig", errors="replace") as stream:
        comments = sum(1 for _ in takewhile(lambda line: line.startswith("# "), stream))
    lines = read_table(table, _COLUMNS, header=False, skip=comments, skipinitialspace=True)
    check_spreadsheet_ids(table, (line["ytid"] for line in lines))
    part = table.name.removesuffix("_segments.csv")
    split = {"eval": "test", card.options.get("validate", ""): "valid"}.get(part, "train")
    labels: dict[str, tuple[str, ...]] = {}  # two million clips share far fewer sets of labels
    lines.reverse()
    while lines:  # each line is freed as soon as it is used: there may be two million
        line = lines.pop()
        fields = _fields(table, line)
        mids = line["mids"]
        if mids not in labels:
            labels[mids] = tuple(
                _display_name(table, line["ytid"], mid, classes) for mid in mids.split(",")
            )
        row = {"clip_id": line["ytid"], "split": split, "labels": labels[mids]}
        yield row, _names(card, fields)


def _display_name(table: Path, video: str, mid: str, classes: dict[str, str]) -> str:
    """Return the display name of a machine id."""
    if mid not in classes:
        raise unknown_name_error(f"machine id in {table.name}, video {video}", mid, classes)
    return classes[mid]


def _fields(table: Path, line: dict[str, str]) -> dict[str, str | int]:
    """Return the fields of which the name of a segment's file may be made."""
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
