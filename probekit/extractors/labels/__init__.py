"""What pretrained networks were trained to tell apart: class names in the order of their outputs.

``.csv`` files have a column ``display_name``, ``.txt`` files one name a line; lines that begin with
``#`` say where the list comes from.
"""

import csv
from importlib import resources


def load_labels(file: str) -> tuple[str, ...]:
    """Return the class names of a list that comes with probekit.

    Parameters
    ----------
    file : str
        Its file name, for example ``"audioset.csv"``.

    Returns
    -------
    tuple of str
        In the order of the network's outputs.
    """
    text = (resources.files(__name__) / file).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    if file.endswith(".csv"):
        return tuple(row["display_name"] for row in csv.DictReader(lines))
    return tuple(lines)
