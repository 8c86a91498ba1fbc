"""Training steps with the C library's malloc as it is, and as training sets it.

``python -m benchmarks.malloc [NETWORK …]``; each side runs in a process of its own, in turn.
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from statistics import median
from time import perf_counter

import torch

from benchmarks.timing import table
from probekit.extractors.students import zoo
from probekit.parallel import resources

NETWORKS = {  # seconds of a crop, and crops of a batch
    "harmonic-cnn": (5, 8),
    "short-chunk": (5, 8),
    "talnet:width=8": (10, 16),
    "weanet:width=16": (10, 8),
    "resnet50v2": (5, 8),
    "cf-net": (30, 4),
    "artist-net": (5, 8),
}
CLASSES, STEPS, ROUNDS = 10, 5, 3


def main(names: tuple[str, ...] = tuple(NETWORKS)) -> None:
    rows: list[tuple[object, ...]] = [
        ("network", "as it is, s a step", "as in training, s a step", "ratio")
    ]
    for name in names:
        plain, tuned = [], []
        for _ in range(ROUNDS):
            for tune, seconds in ((False, plain), (True, tuned)):
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                    seconds.append(process.submit(time_steps, name, tune).result())
        before, after = median(plain), median(tuned)
        rows.append((name, f"{before:.3f}", f"{after:.3f}", f"{before / after:.2f} ×"))
    table(f"Training steps, {resources.cpu_count()} threads", rows)


def time_steps(name: str, tune: bool) -> float:
    """Return the median time of a step in seconds: forward pass, gradients, Adam."""
    if tune:
        resources.tune_malloc()
    torch.manual_seed(0)
    student = zoo.build_student(name, CLASSES).train()
    seconds, crops = NETWORKS[name]
    optimizer = torch.optim.Adam(student.parameters())
    targets = torch.randint(0, CLASSES, (crops,))
    with torch.no_grad():
        features = student.frontend(0.1 * torch.randn(crops, int(student.rate * seconds)))
    times = []
    for _ in range(STEPS):
        start = perf_counter()
        optimizer.zero_grad()
        logits = student.decode(student.embed(features))
        torch.nn.functional.cross_entropy(logits, targets).backward()
        optimizer.step()
        times.append(perf_counter() - start)
    return median(times[1:])


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or tuple(NETWORKS))
