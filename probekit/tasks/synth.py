"""The corpus that ``probekit demo`` synthesizes."""

from pathlib import Path

from probekit import listing
from probekit.cards import TaskCard
from probekit.manifest import Manifest
from probekit.tasks import corpus, reading
from probekit.tasks.rehearsal import MARKER, Stage
from probekit.tasks.synthesis import CLASSES


def build(card: TaskCard, root: Path | None) -> Manifest:
    """Return the clips of a corpus that :func:`probekit.tasks.corpus.write_corpus` wrote."""
    table = reading.inside(root, "clips.csv", card=card)
    return listing.from_csv(table, root=root, name=card.dataset)


def rehearse(card: TaskCard, stage: Stage) -> None:
    """Write the corpus itself, a clip of each class a fold at least."""
    clips = max(stage.clips, corpus.FOLDS * len(CLASSES))
    corpus.write_corpus(stage.root, clips=clips, seed=int(stage.rng.integers(2**31)))
    stage.written += [
        path.relative_to(stage.root).as_posix()
        for path in sorted(stage.root.rglob("*"))
        if path.is_file() and path.name != MARKER
    ]
