"""Speaker group factors: the Table 5 of kim2018 in small, on spoken digits.

``python -m benchmarks.artist_groups FSDD FOLDER``, where ``FSDD`` is the Free Spoken Digit Dataset
and ``FOLDER`` gets all files. A speaker stands for an artist, a digit for a genre. Every speaker
has recordings 5 to 9 of each digit for training and 0 to 4 for the test, as artists are on both
sides of the paper's split.
"""

import argparse
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
    parser.add_argument("fsdd", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    task = write_table(arguments.fsdd, folder / "digits.csv")
    losses: dict[tuple[str, str], list[np.ndarray]] = {row: [] for row in ROWS}
    hits: dict[tuple[str, str], list[np.ndarray]] = {row: [] for row in ROWS}
    for seed in SEEDS:
        networks = ArtistNetworks(
            str(task),
            folder / "cache",
            folder / "reports",
            arguments.fsdd,
            NetworkSettings(
                arguments.width, words=256, topics=6, epochs=arguments.epochs, batch=16, crop=0.5,
                seed=seed,
            ),
            device="cpu",
            report_step=lambda text: print("  ", text, flush=True),
        )  # fmt: skip
        for row in ROWS:
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
    for row in ROWS:
        rows.append((row[0], row[1].upper(), spread(losses[row]), spread(hits[row])))
    table("Mean ± standard deviation over seeds", rows)
    tests = [
        (first, second, name, *compare(values[first], values[second]))
        for name, values in (("log loss", losses), ("accuracy", hits))
        for first, second in PAIRS
    ]
    adjusted = holm([test[-1] for test in tests])
    rows = [("first", "second", "measure", "difference", "by seed", "p", "p, Holm")]
    for (one, two, name, mean, by_seed, p), q in zip(tests, adjusted, strict=True):
        seeds = " ".join(f"{each:+.3f}" for each in by_seed)
        rows.append(
            (*map(" ".join, (one, two)), name, f"{mean:+.4f}", seeds, f"{p:.3f}", f"{q:.3f}")
        )
    table("Paired tests", rows)


def write_table(fsdd: Path, path: Path) -> Path:
    """Write the clips with their split."""
    rows = ["clip_id,path,label,split,group"]
    for file in sorted((fsdd / "recordings").glob("*.wav")):
        digit, speaker, index = file.stem.split("_")
        if int(index) < 10:
            split = "test" if int(index) < 5 else "train"
            rows.append(f"{file.stem},recordings/{file.name},{digit},{split},{speaker}")
    path.write_text("\n".join(rows) + "\n")
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
