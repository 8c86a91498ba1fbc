"""Stage 3: small networks that inherit from embeddings in the cache.

The package can be called: ``probekit.distill(…)`` is :func:`probekit.distill.run.distill`.
"""

import sys
from types import ModuleType
from typing import Any


class _Package(ModuleType):
    """A package that bears the name of what it does."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from probekit.distill.run import distill

        return distill(*args, **kwargs)


sys.modules[__name__].__class__ = _Package
