"""``python -m benchmarks [NAME …]``: run the benchmarks and print Markdown tables."""

import platform
import sys
from importlib import import_module
from importlib.metadata import version

from probekit.parallel import resources

NAMES = (
    "start",
    "extraction",
    "networks",
    "long",
    "cache",
    "planning",
    "probes",
    "analysis",
    "commands",
    "distill",
    "streams",
    "level_parts",
)


def main() -> None:
    names = sys.argv[1:] or NAMES
    libraries = ", ".join(
        f"{n} {version(n)}" for n in ("probekit", "torch", "numpy", "scikit-learn")
    )
    print(
        f"{platform.machine()}, {resources.cpu_count()} cores, Python {platform.python_version()}, "
        f"{libraries}\n"
    )
    for name in names:
        import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main()
