"""Group factors: the Table 5 of kim2018 in small, on sounds that are no music of artists.

``python -m benchmarks.artist_groups DATASET SOURCE FOLDER``, where ``SOURCE`` has the recordings
and ``FOLDER`` gets all files.

============  ==================  ==========  ====================================================
dataset       a group             a class     clips
============  ==================  ==========  ====================================================
fsdd          speaker             digit       of each speaker and digit 5 to train, 5 to test
philharmonia  pitch               instrument  of each instrument 10 and 10, of 0.6 s or more
esc10         source recording    category    of each category and fold 4; fold 5 is for the test
============  ==================  ==========  ====================================================

As in the paper, groups are on both sides of the split, except recordings of ESC-10.
"""

import argparse
import csv
from collections import Counter
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.timing import table
from probekit.metrics.significance import holm
from probekit.reproduce.artist_networks import ArtistNetworks, NetworkSettings
from probekit.scores import store
from probekit.scores.predictions import load_predictions

SEEDS = (0, 1, 2)
ROWS = (
    ("g", "stn"), ("m", "stn"), ("d", "stn"),
    ("gm", "stn"), ("gm", "mtn"), ("gm", "wstn"),
    ("gdm", "stn"), ("gdm", "mtn"), ("gdm", "wstn"),
)  # fmt: skip
PAIRS = (
    (("gm", "mtn"), ("g", "stn")), (("gm", "mtn"), ("gm", "stn")), (("gm", "mtn"), ("gm", "wstn")),
    (("gdm", "mtn"), ("g", "stn")), (("gdm", "mtn"), ("gdm", "stn")),
    (("gdm", "mtn"), ("gdm", "wstn")),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", choices=sorted(TABLES))
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--letters", default="gdm", help="gm: without d")
    arguments = parser.parse_args()
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    task = TABLES[arguments.dataset](arguments.source, folder / f"{arguments.dataset}-clips.csv")
    rows_used = [row for row in ROWS if set(row[0]) <= set(arguments.letters)]
    pairs = [pair for pair in PAIRS if set(pair) <= set(rows_used)]
    losses: dict[tuple[str, str], list[np.ndarray]] = {row: [] for row in rows_used}
    hits: dict[tuple[str, str], list[np.ndarray]] = {row: [] for row in rows_used}
    for seed in SEEDS:
        networks = ArtistNetworks(
            str(task),
            folder / "cache",
            folder / "reports",
            arguments.source,
            NetworkSettings(
                arguments.width, words=256, topics=6, epochs=arguments.epochs, batch=16, crop=0.5,
                seed=seed,
            ),
            device="cpu",
            report_step=lambda text: print("  ", text, flush=True),
        )  # fmt: skip
        for row in rows_used:
            result = networks.evaluate(*row)
            path = store.result_path(
                folder / "reports", result["task"], result["embedding"], result["run"]
            )
            predictions = load_predictions(path, result)
            order = np.argsort(predictions.clip_ids)
            scores, targets = predictions.scores[order], predictions.targets[order]
            own = scores[np.arange(len(scores)), targets]
            losses[row].append(-np.log(np.maximum(own, 1e-8)))
            hits[row].append((scores.argmax(1) == targets).astype(float))
    rows: list[tuple[object, ...]] = [("targets", "networks", "log loss", "accuracy")]
    for row in rows_used:
        rows.append((row[0], row[1].upper(), spread(losses[row]), spread(hits[row])))
    table("Mean ± standard deviation over seeds", rows)
    tests = [
        (first, second, name, *compare(values[first], values[second]))
        for name, values in (("log loss", losses), ("accuracy", hits))
        for first, second in pairs
    ]
    adjusted = holm([test[-1] for test in tests])
    rows = [("first", "second", "measure", "difference", "by seed", "p", "p, Holm")]
    for (one, two, name, mean, by_seed, p), q in zip(tests, adjusted, strict=True):
        seeds = " ".join(f"{each:+.3f}" for each in by_seed)
        rows.append(
            (*map(" ".join, (one, two)), name, f"{mean:+.4f}", seeds, f"{p:.3f}", f"{q:.3f}")
        )
    table("Paired tests", rows)


def write_digits(source: Path, path: Path) -> Path:
    """Write clips of the Free Spoken Digit Dataset with their split."""
    rows = []
    for file in sorted((source / "recordings").glob("*.wav")):
        digit, speaker, index = file.stem.split("_")
        if int(index) < 10:
            split = "test" if int(index) < 5 else "train"
            rows.append((file.stem, f"recordings/{file.name}", digit, split, speaker))
    return _write(path, rows)


def write_notes(source: Path, path: Path) -> Path:
    """Write notes of the Philharmonia Orchestra with their split."""
    import soundfile

    rows, counts = [], Counter[str]()
    with (source / "labels.csv").open(newline="") as file:
        notes = sorted(csv.DictReader(file), key=lambda row: row["file"])
    for k in np.random.default_rng(0).permutation(len(notes)):
        note = notes[k]
        instrument = note["instrument"]
        if counts[instrument] < 20 and soundfile.info(source / note["file"]).duration >= 0.6:
            split = ("train", "test")[counts[instrument] % 2]
            counts[instrument] += 1
            rows.append((Path(note["file"]).stem, note["file"], instrument, split, note["pitch"]))
    return _write(path, rows)


def write_environment(source: Path, path: Path) -> Path:
    """Write clips of ESC-10 with their split."""
    rows, counts = [], Counter[tuple[str, str]]()
    with (source / "esc10.csv").open(newline="") as file:
        for clip in csv.DictReader(file):
            place = clip["category"], clip["fold"]
            if counts[place] < 4:
                counts[place] += 1
                name, split = clip["esc50_filename"][:-4], "test" if place[1] == "5" else "train"
                rows.append((name, clip["file"], clip["category"], split, clip["src_file"]))
    return _write(path, rows)


TABLES = {"fsdd": write_digits, "philharmonia": write_notes, "esc10": write_environment}


def _write(path: Path, rows: list[tuple[str, ...]]) -> Path:
    lines = ["clip_id,path,label,split,group", *(",".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def spread(values: list[np.ndarray]) -> str:
    """Return mean and standard deviation over seeds of the means over clips."""
    means = [value.mean() for value in values]
    return f"{np.mean(means):.3f} ± {np.std(means, ddof=1):.3f}"


def compare(first: list[np.ndarray], second: list[np.ndarray]) -> tuple[float, list[float], float]:
    """Return the difference, that of each seed, and p of a paired test.

    Its variance is that of clips and that of seeds: the larger p of a t-test on the means over
    seeds by clip and one on the means over clips by seed would ignore either.
    """
    differences = np.array(first) - np.array(second)  # seeds, clips
    by_clip, by_seed = differences.mean(0), differences.mean(1)
    variance = by_clip.var(ddof=1) / len(by_clip) + by_seed.var(ddof=1) / len(by_seed)
    statistic = differences.mean() / np.sqrt(variance) if variance else 0.0
    p = 2 * stats.t.sf(abs(statistic), df=len(by_seed) - 1)
    return float(differences.mean()), by_seed.tolist(), float(p)


if __name__ == "__main__":
    main()
