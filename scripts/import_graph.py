"""Print the floors of probekit's import graph, its upward arrows and its circles.

Run by ``make check``: the exit code is 1 if modules import one another in a circle, also inside of
functions; imports for type checking only are left out. ``import-linter`` holds the order of
packages.
"""

import sys

import grimp
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

ROOT = "probekit"


def circles(modules: list[str], arrows: list[tuple[str, str]]) -> list[list[str]]:
    """Return the groups of modules that reach one another."""
    number = {name: k for k, name in enumerate(modules)}
    rows, columns = zip(*[(number[a], number[b]) for a, b in arrows], strict=True)
    graph = csr_array(([1] * len(rows), (rows, columns)), shape=(len(modules),) * 2)
    count, labels = connected_components(graph, connection="strong")
    groups = [[m for m, k in zip(modules, labels, strict=True) if k == j] for j in range(count)]
    return [group for group in groups if len(group) > 1]


def floors(modules: list[str], arrows: list[tuple[str, str]]) -> dict[str, int]:
    """Return the length of the longest way down from each module; circles count as one floor."""
    height = dict.fromkeys(modules, 0)
    for _ in modules:
        higher = {a: height[b] + 1 for a, b in arrows if height[a] <= height[b]}
        if not higher:
            break
        height.update(higher)
    return height


def main() -> int:
    """Print the summary; return 1 if there is a circle."""
    graph = grimp.build_graph(ROOT, exclude_type_checking_imports=True)
    modules = sorted(m for m in graph.modules if m.startswith(ROOT + "."))
    arrows = [
        (a, b)
        for a in modules
        for b in graph.find_modules_directly_imported_by(a)
        if b.startswith(ROOT + ".")
    ]
    packages = sorted({m.split(".")[1] for m in modules})
    between = sorted(
        {(a.split(".")[1], b.split(".")[1]) for a, b in arrows} - {(p, p) for p in packages}
    )
    loops = circles(modules, arrows)
    package_loops = circles(packages, between)
    top = floors(packages, between) if not package_loops else {}
    print(  # noqa: T201
        f"{len(modules)} modules, {len(packages)} packages on {1 + max(top.values(), default=0)} "
        f"floors, {len(between)} arrows between packages, {len(package_loops)} circles of "
        f"packages, {len(loops)} circles of modules"
    )
    for loop in [*package_loops, *loops]:
        print("circle: " + ", ".join(loop))  # noqa: T201
    return 1 if loops or package_loops else 0


if __name__ == "__main__":
    sys.exit(main())
