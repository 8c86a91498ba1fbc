"""Score where networks that were trained from weak labels place events in time.

For scenes of ``mixed_scenes.py``, whose onsets and offsets are known and were not learned::

    python examples/event_times.py scenes/events.csv scenes/scenes.csv runs/A runs/B --cache cache

A frame is positive for a class where its center lies in an event. The threshold of the
probabilities is one number for each network, the best on validation scenes; F1 is that of all
frames and classes together (micro) and the mean over classes (macro). Intervals and the difference
to the first network are those of 1,000 resamples of the test scenes.
"""

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score

from probekit.cache.embeddings import find_embeddings
from probekit.cards.selector import parse_selector
from probekit.errors import ProbekitError
from probekit.tasks.task_clips import resolve_clips

THRESHOLDS = np.unique(np.concatenate([np.geomspace(1e-3, 0.1, 20), np.linspace(0.1, 0.95, 35)]))
RESAMPLES = 1000
STREAM = "frame_probabilities"


def truth(events: list[tuple[int, float, float]], times: np.ndarray, classes: int) -> np.ndarray:
    """Return which classes sound at each time, shape (time, classes)."""
    active = np.zeros((len(times), classes), bool)
    for label, onset, offset in events:
        active[(times >= onset) & (times < offset), label] = True
    return active


def counts(active: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Return hits, positives found and positives by class, shape (3, classes)."""
    found = scores >= threshold
    return np.stack([(found & active).sum(0), found.sum(0), active.sum(0)])


def f1(sums: np.ndarray) -> tuple[float, float]:
    """Return micro and macro F1 of counts, shape (3, classes)."""
    hits, found, active = sums
    each = 2 * hits / np.maximum(found + active, 1)
    total = 2 * hits.sum() / max(found.sum() + active.sum(), 1)
    return float(total), float(each[active > 0].mean())


def read_scenes(options: argparse.Namespace, name: str) -> dict[str, list]:
    """Return truth and scores of the frames of each scene, by split."""
    _, clips = resolve_clips(options.task, Path(options.cache), None)
    embeddings = find_embeddings(Path(options.cache), parse_selector(name), clips.name)
    labels = {label: k for k, label in enumerate(clips.class_names)}
    events = defaultdict(list)
    with options.events.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            times = float(row["onset"]), float(row["offset"])
            events[row["clip_id"]].append((labels[row["label"]], *times))
    scenes = defaultdict(list)
    for clip_id, split in zip(clips.clip_ids, clips.column("split"), strict=True):
        if split == "train":
            continue
        times = embeddings.times(clip_id, STREAM)
        scores = embeddings.frames(clip_id, STREAM)
        scenes[split].append((truth(events[clip_id], times, len(labels)), scores))
    return scenes


def main() -> None:
    """Print a row for each network."""
    parser = argparse.ArgumentParser(description="Score event times of trained networks.")
    parser.add_argument("events", type=Path, help="events.csv")
    parser.add_argument("task", help="scenes.csv")
    parser.add_argument("networks", nargs="+", metavar="runs/ID")
    parser.add_argument("--cache", default="cache")
    options = parser.parse_args()
    rng, first, draws = np.random.default_rng(0), None, None
    for name in options.networks:
        scenes = read_scenes(options, name)
        sums = [sum(counts(a, s, t) for a, s in scenes["valid"]) for t in THRESHOLDS]
        best = THRESHOLDS[int(np.argmax([f1(each)[0] for each in sums]))]
        each = np.stack([counts(a, s, best) for a, s in scenes["test"]])
        if draws is None:
            draws = rng.integers(len(each), size=(RESAMPLES, len(each)))
        resampled = np.array([f1(each[rows].sum(0)) for rows in draws])
        active = np.concatenate([a for a, _ in scenes["test"]])
        scores = np.concatenate([s for _, s in scenes["test"]])
        ap = np.mean([average_precision_score(active[:, k], scores[:, k])
                      for k in range(active.shape[1]) if active[:, k].any()])  # fmt: skip
        (micro, macro), half = (
            f1(each.sum(0)),
            f1(sum(counts(a, s, 0.5) for a, s in scenes["test"])),
        )
        low, high = np.percentile(resampled, [2.5, 97.5], axis=0)
        line = (
            f"{name}: threshold {best:.3f}; micro F1 {micro:.3f} ({low[0]:.3f} – {high[0]:.3f}), "
            f"macro F1 {macro:.3f} ({low[1]:.3f} – {high[1]:.3f}), at 0.5 micro {half[0]:.3f}, "
            f"mAP of frames {ap:.3f}"
        )
        if first is None:
            first = resampled
        else:
            low, high = np.percentile(resampled - first, [2.5, 97.5], axis=0)
            line += f"; micro less the first: {low[0]:+.3f} – {high[0]:+.3f}"
        print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    try:
        main()
    except ProbekitError as error:
        raise SystemExit(f"error: {error}") from None
