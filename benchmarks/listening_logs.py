"""Time and memory of ``probekit targets cf`` on synthetic triplets of the Taste Profile's shape.

``python -m benchmarks.listening_logs MILLIONS [--sweeps N] [--implicit PYTHON]``: 1,019,318 users,
384,546 songs and 48 million triplets, or the same share of all three for fewer; ids as long as the
original's. With ``implicit`` in the other interpreter, its alternating least squares (exact, and
called plainly, with conjugate gradients) and ours are timed in turn on the same cells.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import pyarrow as pa
import scipy.sparse
import torch
from pyarrow import csv

from benchmarks.timing import table
from probekit.targets import als

USERS, SONGS, TRIPLETS = 1_019_318, 384_546, 48_373_586
_IMPLICIT = """
import sys, time, scipy.sparse
from implicit.cpu.als import AlternatingLeastSquares
cells, exact = scipy.sparse.load_npz(sys.argv[1]), sys.argv[2] == "exact"
kind = "float64" if exact else "float32"
model = AlternatingLeastSquares(factors=40, regularization=10, use_cg=not exact, dtype=kind,
                                iterations=3, random_state=0, num_threads=1)
cells, start = cells.astype(kind), time.process_time()
model.fit(cells, show_progress=False)
print((time.process_time() - start) / 3)
"""


def draw_cells(share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return users, songs and counts; activity and popularity are log-normal."""
    rng = np.random.default_rng(seed)
    users, songs = round(USERS * share), round(SONGS * share)
    activity = rng.lognormal(0, 1.0, users)
    sizes = np.maximum(10, rng.poisson(activity * TRIPLETS * share / activity.sum()))
    edges = np.cumsum(rng.lognormal(0, 1.6, songs))
    user = np.repeat(np.arange(users, dtype=np.int32), sizes)
    song = np.searchsorted(edges / edges[-1], rng.random(len(user))).astype(np.int32)
    pairs = np.unique(user.astype(np.int64) * songs + song)
    user, song = (x.astype(np.int32) for x in np.divmod(pairs, songs))
    return user, song, rng.geometric(0.35, len(user)).astype(np.int32)


def write_triplets(path: Path, cells: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Write lines as in train_triplets.txt: 40 and 18 characters of ids."""
    user, song, count = cells
    ids = pa.array([f"{k * 2654435761 % 2**32:040x}" for k in range(int(user.max()) + 1)])
    names = pa.array([f"SO{k:016X}" for k in range(int(song.max()) + 1)])
    options = csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
    with path.open("wb") as stream:
        for start in range(0, len(user), 1 << 20):
            part = slice(start, start + (1 << 20))
            columns = [ids.take(pa.array(user[part])), names.take(pa.array(song[part]))]
            lines = pa.table([*columns, pa.array(count[part])], names=["u", "s", "c"])
            csv.write_csv(lines, stream, options)


def _draw_and_write(path: Path, share: float) -> int:
    """Write triplets, and return their number."""
    cells = draw_cells(share)
    write_triplets(path, cells)
    return len(cells[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("millions", type=float)
    parser.add_argument("--sweeps", type=int, default=30)
    parser.add_argument("--implicit", default="", metavar="PYTHON")
    arguments = parser.parse_args()
    share = min(1.0, arguments.millions * 1e6 / TRIPLETS)
    if arguments.implicit:
        compare(draw_cells(share), arguments.implicit)
        return
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder) / "triplets.txt"
        # in a process of its own: the peak memory of a child begins with that of its parent
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            rows = pool.submit(_draw_and_write, logs, share).result()
        size = logs.stat().st_size
        command = [sys.executable, "-m", "probekit", "targets", "cf", "--logs", str(logs)]
        command += ["-o", f"{folder}/cf.h5", "--sweeps", str(arguments.sweeps)]
        begin = perf_counter()
        process = subprocess.Popen(command)
        _, status, used = os.wait4(process.pid, 0)
        seconds = perf_counter() - begin
    if status:
        raise SystemExit(status)
    head = ("triplets", "file", "sweeps", "seconds", "processor seconds", "peak memory")
    row = (
        f"{rows:,}", f"{size / 1e9:.2f} GB", arguments.sweeps, f"{seconds:.0f}",
        f"{used.ru_utime + used.ru_stime:.0f}", f"{used.ru_maxrss / 1e6:.2f} GB",
    )  # fmt: skip
    table("probekit targets cf", [head, row])


def compare(cells: tuple[np.ndarray, np.ndarray, np.ndarray], interpreter: str) -> None:
    """Print processor seconds a sweep, one thread, medians of three."""
    user, song, count = cells
    counts = scipy.sparse.csr_matrix((count.astype(np.float32), (user, song)))
    added = als.confidence(counts)
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {"probekit": [], "exact": [], "plain": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cells.npz"
        scipy.sparse.save_npz(path, added + counts.sign())  # c = 1 + what is added
        for _ in range(3):
            begin = process_time()
            als.factorize(added, 40, 10.0, sweeps=3)
            seconds["probekit"].append((process_time() - begin) / 3)
            for form in ("exact", "plain"):
                command = [interpreter, "-c", _IMPLICIT, str(path), form]
                run = subprocess.run(command, check=True, capture_output=True, text=True)
                seconds[form].append(float(run.stdout))
    median = {name: float(np.median(values)) for name, values in seconds.items()}
    rows = [
        (name, f"{median[key]:.2f}", f"{median['probekit'] / median[key]:.2f} ×")
        for name, key in (
            ("probekit, exact, float64", "probekit"),
            ("implicit, exact, float64", "exact"),
            ("implicit, conjugate gradients, float32", "plain"),
        )
    ]
    head = ("40 factors", "processor seconds a sweep", "probekit's of it")
    table(f"{len(user):,} cells, one thread", [head, *rows])


if __name__ == "__main__":
    main()
