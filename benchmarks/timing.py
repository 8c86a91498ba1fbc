"""Interleaved timing: each side in turn, several rounds, medians."""

from collections.abc import Callable
from statistics import median
from time import perf_counter


def interleaved(
    sides: dict[str, Callable[[], object]], rounds: int = 5, *, warm: bool = True
) -> dict[str, float]:
    """Return the median seconds of each side, timed in turn so that both see the same machine."""
    for run in sides.values() if warm else ():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            begin = perf_counter()
            run()
            seconds[name].append(perf_counter() - begin)
    return {name: median(values) for name, values in seconds.items()}


def table(title: str, rows: list[tuple[object, ...]]) -> None:
    """Print a Markdown table; the first row is its head."""
    print(f"### {title}\n")
    head, *body = rows
    print("| " + " | ".join(map(str, head)) + " |")
    print("|" + " --- |" * len(head))
    for row in body:
        print("| " + " | ".join(map(str, row)) + " |")
    print()
