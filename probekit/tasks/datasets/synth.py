"""The corpus that ``probekit demo`` synthesizes."""

from pathlib import Path

from probekit.cards import TaskCard
from probekit.data import readers
from probekit.data.manifest import Manifest
from probekit.tasks.datasets._files import locate
from probekit.tasks.standin import corpus
from probekit.tasks.standin.sounds import CLASSES
from probekit.tasks.standin.writer import MARKER, StandInWriter

OPTIONS = ()


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the clips of a corpus that ``write_corpus`` wrote."""
    table = locate(root, "clips.csv", card=card)
    return readers.from_csv(table, root=root, name=card.dataset, extra=("rate", "channels"))


def make_standin(card: TaskCard, writer: StandInWriter) -> None:
    """Write the corpus itself, a clip of each class a fold at least."""
    clips = max(writer.clips, corpus.FOLDS * len(CLASSES))
    corpus.write_corpus(writer.root, clips=clips, seed=int(writer.rng.integers(2**31)))
    writer.written += [
        path.relative_to(writer.root).as_posix()
        for path in sorted(writer.root.rglob("*"))
        if path.is_file() and path.name != MARKER
    ]
