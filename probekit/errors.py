"""What can go wrong, and how a person is told.

A :class:`ProbekitError` is a message for people: what is wrong, with which file or value, and what
to do. The command line prints it without a traceback and leaves with exit code 2.
"""


class ProbekitError(Exception):
    """Anything that a user can mend."""


class AudioError(ProbekitError):
    """One recording cannot be used; extraction records it as a failure of that clip and goes on."""


class CardError(ProbekitError):
    """A card (YAML) is not what its schema asks for."""


class CacheError(ProbekitError):
    """An embedding cache is damaged, mixed, or lacks what was asked of it."""


class DataError(ProbekitError):
    """A manifest, a dataset folder or its metadata is not usable as it is."""


class WeightsError(ProbekitError):
    """A weights file is missing, damaged, or belongs to another network."""


class UnknownNameError(ProbekitError):
    """A name that nothing is registered under."""
