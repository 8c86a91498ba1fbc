"""probekit: how much does an audio embedding know, what did the probe learn, who can inherit it.

Everything a user needs is here, imported when it is first used::

    import probekit

    probekit.extract(["melstats"], task="fsdd", root="free-spoken-digit-dataset")
    probekit.evaluate("fsdd", ["melstats"])
    probekit.results()                                   # a pandas DataFrame
    x = probekit.open_cache("melstats", "fsdd").vectors(clip_ids)   # a numpy array
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probekit.analysis.dendrogram import dendrogram
    from probekit.api import load_extractor, open_cache
    from probekit.distill.run import distill
    from probekit.extraction.run import extract
    from probekit.manifest import Manifest
    from probekit.probes.estimator import LinearProbe
    from probekit.probes.evaluation import evaluate
    from probekit.probes.results import frame as results
    from probekit.tasks.base import load_task

_PLACES = {
    "LinearProbe": "probekit.probes.estimator:LinearProbe",
    "Manifest": "probekit.manifest:Manifest",
    "dendrogram": "probekit.analysis.dendrogram:dendrogram",
    "distill": "probekit.distill.run:distill",
    "evaluate": "probekit.probes.evaluation:evaluate",
    "extract": "probekit.extraction.run:extract",
    "load_extractor": "probekit.api:load_extractor",
    "load_task": "probekit.tasks.base:load_task",
    "open_cache": "probekit.api:open_cache",
    "results": "probekit.probes.results:frame",
}

__version__ = "0.1.0"
__all__ = [
    "LinearProbe",
    "Manifest",
    "dendrogram",
    "distill",
    "evaluate",
    "extract",
    "load_extractor",
    "load_task",
    "open_cache",
    "results",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'probekit' has no attribute {name!r}")
    module, _, attribute = _PLACES[name].partition(":")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
