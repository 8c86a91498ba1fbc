"""The corpus that ``probekit demo`` synthesizes."""

from pathlib import Path

from probekit import listing
from probekit.cards import TaskCard
from probekit.manifest import Manifest
from probekit.tasks.base import need_root


def build(card: TaskCard, root: Path | None) -> Manifest:
    """Return the clips of a corpus that :func:`probekit.tasks.corpus.write_corpus` wrote."""
    table = need_root(card, root, "clips.csv")
    return listing.from_csv(table, root=root, name=card.dataset)
