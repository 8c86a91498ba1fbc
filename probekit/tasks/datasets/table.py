"""A user's own CSV as a dataset: the card's option ``csv`` says which."""

from dataclasses import replace
from pathlib import Path

from probekit.cards import TaskCard
from probekit.data import readers
from probekit.data.manifest import Manifest
from probekit.errors import CardError
from probekit.tasks.datasets import _tables
from probekit.tasks.task import check_labels


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the clips of a card whose option ``csv`` names a table inside ``root``."""
    if "csv" not in card.options:
        raise CardError(f"{card.name}: a task of module 'table' needs options: {{csv: FILE}}")
    table = _tables.locate(root, str(card.options["csv"]), card=card)
    found = readers.from_csv(table, root=root, name=card.dataset)
    if card.labels is None or found.target not in ("single", "multi"):
        return replace(found, expected=card.counts.get("clips"))
    for label in found.names:
        check_labels(card, label, table)
    return replace(found, names=tuple(card.labels), expected=card.counts.get("clips"))
