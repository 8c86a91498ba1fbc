"""Analyses and the page at the size of a paper: 700 classes, 8 extractors, 5 tasks."""

import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.timing import table
from probekit.analysis.class_weights import ClassWeights
from probekit.analysis.dendrogram import cluster
from probekit.analysis.similarity import linear_cka
from probekit.cache import import_export
from probekit.data import readers
from probekit.figures.files import save_drawing
from probekit.figures.tree import draw_dendrogram
from probekit.probes.evaluate import evaluate
from probekit.report import html
from probekit.scores import groups

_DIMS = (128, 160, 256, 512, 1024, 1024, 2048, 2048)  # of eight extractors


def main() -> None:
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        rows = [("700-label dendrogram, all files", _dendrogram(rng, Path(folder)))]
        rows.append(("linear CKA, 8 extractors (128 to 2,048 numbers), 10,000 clips", _cka(rng)))
        seconds, size = _page(rng, Path(folder))
        rows.append((f"page, 5 tasks × 8 extractors, 5,000 clips each, {size:.1f} MB", seconds))
    table("Analyses and the page", [("what", "seconds"), *((n, f"{s:.1f}") for n, s in rows)])


def _dendrogram(rng: np.random.Generator, folder: Path) -> float:
    families = rng.normal(size=(70, 1024))
    weights = ClassWeights(
        matrix=np.repeat(families, 10, axis=0) + rng.normal(size=(700, 1024)),
        names=tuple(f"playing instrument {k}" for k in range(700)),
        task="made", embedding="made", space="embedding", c=0.1, clips=1000, converged=True,
        fingerprint="f" * 64, manifest="m" * 64, provenance=("made up",),
    )  # fmt: skip
    begin = perf_counter()
    save_drawing(draw_dendrogram, cluster(weights), folder / "figures")
    return perf_counter() - begin


def _cka(rng: np.random.Generator) -> float:
    shared = rng.normal(size=(10_000, 64))
    several = [
        (shared @ rng.normal(size=(64, dim)) + rng.normal(size=(10_000, dim))).astype(np.float32)
        for dim in _DIMS
    ]
    begin = perf_counter()
    linear_cka(several)
    return perf_counter() - begin


def _page(rng: np.random.Generator, folder: Path) -> tuple[float, float]:
    """Score forty runs by nearest neighbours, and write the page of them."""
    for task in range(5):
        evaluate_made(rng, folder, f"task{task}", [f"made{k}" for k in range(8)])
    begin = perf_counter()
    made = html.write_page(
        folder / "index.html",
        [one for k in range(5) for one in groups.load_groups(f"task{k}", folder / "out")],
        title="",
        figures=folder / "figures",
        cache=folder / "cache",
        audio=[],
        budget=6_000_000,
    )
    return perf_counter() - begin, made.size / 1e6


def evaluate_made(rng: np.random.Generator, folder: Path, task: str, names: list[str]) -> None:
    """Import random embeddings of 5,000 clips, and score them by nearest neighbors."""
    table_file = folder / f"{task}.csv"
    labels = rng.integers(10, size=5000)
    lines = [f"clip{k},clip{k}.wav,class {label},{k % 5}" for k, label in enumerate(labels)]
    table_file.write_text("\n".join(["clip_id,path,label,fold", *lines]) + "\n")
    clips = readers.from_csv(table_file)
    for name in names:
        array = folder / f"{name}.npy"
        np.save(array, (rng.normal(size=(10, 32))[labels] + 2 * rng.normal(size=(5000, 32))))
        import_export.import_arrays(
            name, clips, [array], cache=folder / "cache", dataset=clips.name
        )
    evaluate(str(table_file), names, cache=folder / "cache", reports=folder / "out", probe="knn")


if __name__ == "__main__":
    main()
