"""Class names of pretrained networks, in the order of their outputs.

``.csv`` files have a column ``display_name``, ``.txt`` files one name a line; lines that begin with
``#`` name the source of the list.
"""

import csv
from importlib import resources


def load_labels(file: str) -> tuple[str, ...]:
    """Return the class names in a file of this package, for example ``"audioset.csv"``."""
    text = (resources.files(__name__) / file).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    if file.endswith(".csv"):
        return tuple(row["display_name"] for row in csv.DictReader(lines))
    return tuple(lines)
