"""Exceptions raised by probekit.

The message of a :class:`ProbekitError` is for users: what is wrong, with which file or value, and
what to do. The command line prints it without a traceback and exits with code 2.
"""


class ProbekitError(Exception):
    """Base class of errors caused by user input or files."""


class AudioError(ProbekitError):
    """A recording cannot be used; extraction records it as a failed clip and continues."""


class CardError(ProbekitError):
    """A card (YAML) does not match its schema."""


class CacheError(ProbekitError):
    """An embedding cache is damaged or mixed, or lacks what was requested."""


class DataError(ProbekitError):
    """A manifest, a dataset folder or its metadata cannot be used."""


class WeightsError(ProbekitError):
    """A weights file is missing, damaged, or belongs to another network."""


class UnknownNameError(ProbekitError):
    """A name of a task, extractor, probe … does not exist."""
