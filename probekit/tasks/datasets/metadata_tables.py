"""Datasets whose facts are in tables of metadata: the card says which columns to read.

Options of the card:

==============  ===================================================================================
tables          a table, names of which one exists, or ``train``, ``valid`` and ``test`` with one
                each; CSV, TSV, or JSON as of NSynth: an object of objects, whose keys are the
                column ``key``
folder          folders the recordings may be in; the first that exists is used
path            path of a clip's recording in it, with columns in braces
label           column of the label
label_names     label by the column's text, where they differ
group           group of a clip, with columns in braces
fold            column of the fold
split           column of the split
split_names     ``train``, ``valid`` or ``test`` by that column's text, where they differ
within          columns of whole numbers, each with the least and the greatest of the clips
standin         columns of the stand-in data: see :func:`make_standin`
==============  ===================================================================================
"""

import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from probekit.cards import TaskCard
from probekit.data.manifest import SPLITS, Manifest
from probekit.data.readers import check_spreadsheet_ids
from probekit.errors import CardError, DataError
from probekit.tasks.datasets._files import locate
from probekit.tasks.datasets._tables import (
    check_label,
    check_options,
    read_table,
    read_text,
    to_manifest,
    to_texts,
)
from probekit.tasks.standin.writer import StandInWriter
from probekit.utils.suggest import unknown_name_error

OPTIONS = (
    *("tables", "folder", "path", "label", "label_names", "group", "fold"),
    *("split", "split_names", "within", "standin"),
)
NEEDED = ("tables", "folder", "path", "label")

Row = dict[str, str]

_FIELD = re.compile(r"\{([^{}]+)\}")


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the clips of the tables; ids are the names of recordings without suffix."""
    options = card.options
    check_options(
        card,
        ("path", "label", "group", "fold", "split"),
        ("label_names", "split_names", "within"),
    )
    for column, ends in options.get("within", {}).items():
        if not isinstance(ends, list) or [type(end) for end in ends] != [int, int]:
            raise CardError(
                f"{card.name}: option within: {column}: must be [LEAST, GREATEST], got {ends!r}"
            )
    tables = {side: locate(root, *names, card=card) for side, names in _tables(card).items()}
    assert root is not None
    names = to_texts(options["folder"])
    existing = [name for name in names if (root / name).is_dir()]
    folder = (existing or names)[0]
    prefix = "" if folder == "." else f"{folder}/"
    clips: list[dict[str, Any]] = []
    for side, table in tables.items():
        first = len(clips)
        for row in _read(card, table, side):
            if not _is_within(card, table, row):
                continue
            path = prefix + _fill(options["path"], row)
            name = path.rpartition("/")[2].rpartition(".")[0]
            text = row[options["label"]]
            label = options.get("label_names", {}).get(text, text)
            clips.append(
                {
                    "clip_id": name,
                    "path": path,
                    "split": side or _split(card, table, row, name),
                    "fold": row.get(options.get("fold", ""), ""),
                    "group": _fill(options.get("group", ""), row),
                    "labels": (check_label(card, label, table, name),),
                }
            )
        check_spreadsheet_ids(table, (clip["clip_id"] for clip in clips[first:]))
    return to_manifest(card, clips, root, next(iter(tables.values())))


def make_standin(card: TaskCard, writer: StandInWriter) -> None:
    """Write tables and recordings of the option ``standin``.

    Its ``labels`` are columns with one value for each label, ``columns`` are written beside them:
    of a list, the next value is used each time that all labels are written, and a text may hold
    other columns, and ``n``, that number of times, in braces. ``header`` are the columns of the
    table in their order. With several tables, clips go by turns into train, train, valid and test.
    """
    assert card.labels is not None
    plan, tables = card.options["standin"], _tables(card)
    of_labels = {name: list(map(str, values)) for name, values in plan["labels"].items()}
    label_names = card.options.get("label_names", {})
    labels = of_labels[card.options["label"]]
    folder = to_texts(card.options["folder"])[0]
    rows: dict[str, list[Row]] = {side: [] for side in tables}
    for k in range(max(writer.clips, plan.get("rounds", 4) * len(labels))):
        number, index = divmod(k, len(labels))
        row = {"n": str(number)} | {name: values[index] for name, values in of_labels.items()}
        for name, value in plan["columns"].items():
            texts = to_texts(value)
            row[name] = _fill(texts[number % len(texts)], row)
        side = ("train", "train", "valid", "test")[number % 4] if "" not in tables else ""
        rows[side].append(row)
        label = card.labels.index(label_names.get(labels[index], labels[index]))
        path = posixpath.normpath(f"{folder}/{_fill(card.options['path'], {**row, 'split': side})}")
        writer.write_audio(path, [label], seconds=plan["seconds"], sr=plan["sr"])
    for side, names in tables.items():
        _write(writer, names[0], rows[side], plan["header"])


def _write(writer: StandInWriter, name: str, rows: list[Row], header: list[str]) -> None:
    """Write a table with the columns of ``header``."""
    if name.endswith(".json"):
        entries = {row["key"]: {column: _number(row[column]) for column in header} for row in rows}
        writer.write_text(name, json.dumps(entries))
    else:
        mark = "\t" if name.endswith(".tsv") else ","
        cells = [[row[column] for column in header] for row in rows]
        writer.write_table(name, cells, header=header, delimiter=mark)


def _number(text: str) -> str | int:
    return int(text) if text.isdecimal() else text


def _tables(card: TaskCard) -> dict[str, list[str]]:
    """Return the names that each table may have, by split; of a single table by no split."""
    tables = card.options["tables"]
    if not isinstance(tables, dict):
        return {"": to_texts(tables)}
    for side in tables:
        if side not in SPLITS:
            raise unknown_name_error(f"split of option tables of {card.name}", str(side), SPLITS)
    return {side: to_texts(names) for side, names in tables.items()}


def _read(card: TaskCard, table: Path, side: str) -> Iterator[Row]:
    """Yield the rows of a table, with its split, if any, as a column ``split``."""
    options = card.options
    columns = [options[key] for key in ("label", "fold", "split") if key in options]
    columns += [*options.get("within", {})]
    for key in ("path", "group"):
        columns += _FIELD.findall(options.get(key, ""))
    needed = [name for name in dict.fromkeys(columns) if name != "split" or not side]
    if table.suffix == ".json":
        rows: Iterator[Row] = _read_json(table, needed)
    else:
        mark = "\t" if table.suffix == ".tsv" else ","
        rows = iter(read_table(table, needed, delimiter=mark))
    for row in rows:
        yield {**row, "split": side} if side else row


def _read_json(table: Path, columns: list[str]) -> Iterator[Row]:
    try:
        entries = json.loads(read_text(table))
    except ValueError as error:
        raise DataError(f"{table}: not JSON ({error}). Get the original file again") from error
    if not isinstance(entries, dict) or not entries:
        raise DataError(f"{table}: expected a JSON object with an entry for each recording")
    for key, entry in entries.items():
        facts = {**entry, "key": key} if isinstance(entry, dict) else {"key": key}
        missing = [name for name in columns if name not in facts]
        if missing:
            raise DataError(f"{table}: {key!r} has no {missing[0]!r}. Get the original file again")
        yield {name: str(facts[name]) for name in columns}


def _is_within(card: TaskCard, table: Path, row: Row) -> bool:
    """Tell whether a row's numbers are in the ranges of the option ``within``."""
    for column, (least, greatest) in card.options.get("within", {}).items():
        if not row[column].isdecimal():
            raise DataError(f"{table}: column {column!r} must be a number, got {row[column]!r}")
        if not least <= int(row[column]) <= greatest:
            return False
    return True


def _split(card: TaskCard, table: Path, row: Row, clip: str) -> str:
    """Return a clip's split by the column that the card names."""
    if "split" not in card.options:
        return ""
    text = row[card.options["split"]]
    names = {**dict(zip(SPLITS, SPLITS, strict=True)), **card.options.get("split_names", {})}
    if text not in names:
        column = card.options["split"]
        raise unknown_name_error(f"{column} of clip {clip!r} in {table}:", text, names)
    return str(names[text])


def _fill(template: str, row: Row) -> str:
    """Put columns in the place of their names in braces."""
    return _FIELD.sub(lambda match: row[match[1]], template)
