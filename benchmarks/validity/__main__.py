"""``python -m benchmarks.validity [NAME …]``: run the simulations and print Markdown tables."""

import argparse
from importlib import import_module
from time import perf_counter

NAMES = ("intervals", "groups", "folds", "leaderboard", "correlation")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.validity", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument(
        "--simulations", type=int, default=0, help="per row; each simulation's own by default"
    )
    options = parser.parse_args()
    for name in options.names or NAMES:
        start = perf_counter()
        print(f"## {name}\n")
        import_module(f"benchmarks.validity.{name}").main(options.simulations)
        print(f"\n{perf_counter() - start:,.0f} s\n", flush=True)


if __name__ == "__main__":
    main()
