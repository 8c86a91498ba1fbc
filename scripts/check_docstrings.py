"""Validate docstrings with numpydoc: everything for public names, correctness for all others.

The names that a user meets (:data:`PUBLIC`) need every parameter, the return value, an example and
See Also. All other functions and classes need a summary line; sections are optional, and must be
right where they are written. Run by ``make check``.
"""

import importlib
import inspect
import pkgutil
import sys

from numpydoc.validate import validate

import probekit

PUBLIC = (
    "probekit.analysis.dendrogram.dendrogram",
    "probekit.api.load_extractor",
    "probekit.api.open_cache",
    "probekit.audio.recording.load",
    "probekit.cache.embeddings.Embeddings",
    "probekit.data.manifest.Manifest",
    "probekit.distillation.distill.distill",
    "probekit.extraction.extract.extract",
    "probekit.extractors.frontends.dct_matrix",
    "probekit.extractors.frontends.mel_filterbank",
    "probekit.extractors.frontends.power_to_db",
    "probekit.probes.evaluate.evaluate",
    "probekit.probes.linear_classifier.LinearProbe",
    "probekit.scores.comparison.compare",
    "probekit.scores.result_table.results",
    "probekit.tasks.task.Task",
    "probekit.api.load_task",
    "probekit.api.load_xy",
    "probekit.tasks.task.load_task",
)
COMPLETE = {"PR01", "RT01", "SA01", "EX01"}  # asked of public names only
CORRECT = {
    "GL03", "GL05", "GL06", "GL07", "GL08", "SS02", "SS03", "SS04",
    "PR02", "PR03", "PR04", "PR05", "PR07", "PR08", "RT03",
}  # fmt: skip
# Not asked: GL01, GL02 (line breaks at the quotes: ruff's), RT02 (unnamed single values), PR09,
# PR10, RT04, RT05 (full stops and capitals, which formulas do not have).


def documented() -> list[str]:
    """Return the import names of all functions and classes without a leading underscore."""
    names = []
    for info in pkgutil.walk_packages(probekit.__path__, "probekit."):
        if info.name.endswith("__main__") or info.name.startswith("probekit.cli"):
            continue  # the command line's docstrings are the help texts
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            is_local = getattr(value, "__module__", None) == module.__name__
            is_code = inspect.isfunction(value) or inspect.isclass(value)
            if is_local and is_code and not name.startswith("_"):
                names.append(f"{module.__name__}.{name}")
    return names


def faults(name: str) -> list[str]:
    """Return what numpydoc finds wrong with one docstring."""
    is_class = inspect.isclass(_resolve(name))
    codes = CORRECT | (COMPLETE if name in PUBLIC else set())
    if is_class:  # attributes are documented where parameters would be
        codes = codes - {"PR02", "RT01"}
    return [f"{name}: {code} {text}" for code, text in validate(name)["errors"] if code in codes]


def _resolve(name: str) -> object:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def main() -> int:
    """Print every fault; return 1 if there is one."""
    names = documented()
    problems = [fault for name in dict.fromkeys([*PUBLIC, *names]) for fault in faults(name)]
    print("\n".join([*problems, f"{len(names)} docstrings, {len(problems)} faults"]))  # noqa: T201
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
