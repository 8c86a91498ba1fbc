"""Outcomes of steps by key: what was computed once is not computed again, nor what failed."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from probekit.errors import ProbekitError

Outcome = TypeVar("Outcome")


class Outcomes(Generic[Outcome]):
    """Values, or the errors that they ended in."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Outcome | ProbekitError] = {}

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: Hashable, compute: Callable[[], Outcome]) -> Outcome:
        """Return what was computed for a key before, or compute it.

        Parameters
        ----------
        key : hashable
            Names the step.
        compute : callable
            Computes it.

        Raises
        ------
        ProbekitError
            That of the computation; the same again if it is requested again.
        """
        if key not in self._known:
            try:
                self._known[key] = compute()
            except ProbekitError as error:
                self._known[key] = error
        outcome = self._known[key]
        if isinstance(outcome, ProbekitError):
            raise outcome
        return outcome
