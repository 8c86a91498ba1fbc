"""probekit: what audio embeddings know, what a probe learned, which student inherits it.

All public names are here, and imported when first used::

    import probekit

    probekit.extract(["melstats"], task="fsdd", root="free-spoken-digit-dataset")
    probekit.evaluate("fsdd", ["melstats"])
    probekit.results()                                   # a pandas DataFrame
    x, y, groups = probekit.load_xy("fsdd", "melstats")             # numpy arrays
"""

from importlib import import_module
from inspect import isfunction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probekit.analysis.dendrogram import dendrogram
    from probekit.api import load_extractor, load_task, load_xy, open_cache
    from probekit.data.manifest import Manifest
    from probekit.distillation.distill import distill
    from probekit.extraction.extract import extract
    from probekit.probes.evaluate import evaluate
    from probekit.probes.linear_classifier import LinearProbe
    from probekit.scores.comparison import compare
    from probekit.scores.result_table import results
    from probekit.training.train import train

_LAZY = {
    "LinearProbe": "probekit.probes.linear_classifier:LinearProbe",
    "Manifest": "probekit.data.manifest:Manifest",
    "compare": "probekit.scores.comparison:compare",
    "dendrogram": "probekit.analysis.dendrogram:dendrogram",
    "distill": "probekit.distillation.distill:distill",
    "evaluate": "probekit.probes.evaluate:evaluate",
    "extract": "probekit.extraction.extract:extract",
    "load_extractor": "probekit.api:load_extractor",
    "load_task": "probekit.api:load_task",
    "load_xy": "probekit.api:load_xy",
    "open_cache": "probekit.api:open_cache",
    "results": "probekit.scores.result_table:results",
    "train": "probekit.training.train:train",
}

__version__ = "0.2.0"
__all__ = [
    "LinearProbe",
    "Manifest",
    "compare",
    "dendrogram",
    "distill",
    "evaluate",
    "extract",
    "load_extractor",
    "load_task",
    "load_xy",
    "open_cache",
    "results",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'probekit' has no attribute {name!r}")
    module, _, attribute = _LAZY[name].partition(":")
    value = getattr(import_module(module), attribute)
    if isfunction(value):
        from probekit.errors import with_argument_names

        return with_argument_names(value)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
