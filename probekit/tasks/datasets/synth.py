"""The corpus that ``probekit demo`` synthesizes."""

from pathlib import Path

from probekit.cards import TaskCard
from probekit.data import readers
from probekit.data.manifest import Manifest
from probekit.tasks.datasets import _tables
from probekit.tasks.standin import corpus
from probekit.tasks.standin.sounds import CLASSES
from probekit.tasks.standin.writer import MARKER, StandInWriter


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the clips of a corpus that :func:`probekit.tasks.standin.corpus.write_corpus` wrote."""
    table = _tables.locate(root, "clips.csv", card=card)
    return readers.from_csv(table, root=root, name=card.dataset)


def make_standin(card: TaskCard, stage: StandInWriter) -> None:
    """Write the corpus itself, a clip of each class a fold at least."""
    clips = max(stage.clips, corpus.FOLDS * len(CLASSES))
    corpus.write_corpus(stage.root, clips=clips, seed=int(stage.rng.integers(2**31)))
    stage.written += [
        path.relative_to(stage.root).as_posix()
        for path in sorted(stage.root.rglob("*"))
        if path.is_file() and path.name != MARKER
    ]
