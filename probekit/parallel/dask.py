"""Units of work on a Dask cluster: this machine, several, SLURM through dask-jobqueue."""

import logging
import signal
import socket
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from probekit.errors import ProbekitError

if TYPE_CHECKING:
    from distributed import Client

U = TypeVar("U")
R = TypeVar("R")

_VERSION = version("probekit")
_PATIENCE = 5.0  # seconds for a scheduler's machine to answer
_LACKING = "--dask needs Dask: pip install 'probekit[cluster]'"
_SILENT = (
    "--dask {}: no Dask scheduler answers there. Give the address that 'dask scheduler' prints, "
    "such as tcp://node1:8786, or local"
)
_RETRIES = 2  # an exception may be one machine's fault: a disk not mounted, a device taken


def check(address: str) -> None:
    """Find out, without loading Dask, whether there can be a scheduler at an address.

    Parameters
    ----------
    address : str
        As for :func:`connect`. Of other protocols than tcp and tls nothing can be said.

    Raises
    ------
    ProbekitError
        If Dask is not installed, or nothing listens there.
    """
    if find_spec("distributed") is None:
        raise ProbekitError(_LACKING)
    if address == "local":
        return
    try:
        found = urlsplit(address if "://" in address else f"tcp://{address}")
        if found.scheme in ("tcp", "tls") and found.hostname and found.port:
            socket.create_connection((found.hostname, found.port), _PATIENCE).close()
    except (OSError, ValueError) as error:
        raise ProbekitError(_SILENT.format(address)) from error


@contextmanager
def connect(address: str, workers: int, environment: dict[str, str]) -> Iterator["Client"]:
    """Connect to a cluster, or make one of processes of this machine.

    Parameters
    ----------
    address : str
        ``"local"``, or a scheduler's address, such as ``tcp://node1:8786``.
    workers : int >= 1
        Number of processes of a local cluster.
    environment : dict of str to str
        What to set in each of them.

    Yields
    ------
    distributed.Client
        Connected.

    Raises
    ------
    ProbekitError
        If Dask is not installed, or there is no scheduler at the address.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ProbekitError(_LACKING) from error
    if address == "local":
        with (
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=0,
                env=environment,
                preload=__name__,
                dashboard_address=":0",
                silence_logs="CRITICAL",
            ) as local,
            Client(local) as client,
        ):
            yield client
        return
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise ProbekitError(_SILENT.format(address)) from error
    with client, _quiet():
        yield client


def dask_setup(worker: object) -> None:
    """Leave Control-C to the parent, in a worker of a local cluster; Dask calls this by its name.

    Parameters
    ----------
    worker : distributed.Worker
        Just started.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def map_unordered(
    client: "Client", function: Callable[[U], R], units: Sequence[U], names: Sequence[str]
) -> Iterator[tuple[U, R | None]]:
    """Apply a function to units on a cluster.

    The scheduler gives what a lost worker was at to another one.

    Parameters
    ----------
    client : distributed.Client
        From :func:`connect`.
    function : callable
        Takes one unit; travels to the workers, as the units do.
    units : sequence
        Independent pieces of work.
    names : sequence of str
        What the units' tasks are called on Dask's pages.

    Yields
    ------
    object
        A unit.
    object or None
        Its result; None where it ended one worker after another (Dask's ``allowed-failures``), so
        that the scheduler gave it up.

    Raises
    ------
    ProbekitError
        If the cluster goes away, or cannot import what the function needs.
    """
    from distributed import KilledWorker, as_completed

    call, work = _make_remote_call(), _pickle(function)
    # a scheduler keeps results under their keys: another run must not be taken for this one
    mark = uuid.uuid4().hex[:8]
    futures = {
        client.submit(
            call, work, _pickle(unit), _VERSION, key=f"{name}-{mark}", retries=_RETRIES
        ): unit
        for unit, name in zip(units, names, strict=True)
    }
    with translate_dask_errors():
        for future in as_completed(futures):
            unit = futures.pop(future)
            try:
                result = future.result()
            except KilledWorker:
                yield unit, None
            else:
                yield unit, result


def map_ordered(client: "Client", function: Callable[[U], R], units: Sequence[U]) -> Iterator[R]:
    """Apply a function to units on a cluster; it travels once, with the arrays that it holds.

    Parameters
    ----------
    client : distributed.Client
        From :func:`connect`.
    function : callable
        Takes one unit.
    units : sequence
        Independent pieces of work.

    Yields
    ------
    object
        Results in the order of the units.

    Raises
    ------
    ProbekitError
        If the cluster goes away, or a unit ended one worker after another.
    """
    call = _make_remote_call()
    with translate_dask_errors():
        client.wait_for_workers(1)  # of a batch system they may come late
        [work] = client.scatter([_pickle(function)], broadcast=True, hash=False)
        futures = [
            client.submit(call, work, _pickle(unit), _VERSION, retries=_RETRIES, pure=False)
            for unit in units
        ]
        for future in futures:
            yield future.result()


def ready(client: "Client") -> None:
    """Wait for workers, and make sure that they have this probekit.

    Parameters
    ----------
    client : distributed.Client
        From :func:`connect`.

    Raises
    ------
    ProbekitError
        If one has another version or none, or the scheduler goes away.
    """
    with translate_dask_errors():
        client.wait_for_workers(1)
        client.run(_make_remote_call(), _pickle(bool), _pickle(0), _VERSION)


def _make_remote_call() -> Callable[[bytes, bytes, str], Any]:
    """Return what runs on a worker.

    A function inside a function travels by value: a worker may lack probekit, and must say so.
    """

    def call(function: bytes, unit: bytes, wanted: str) -> Any:
        import pickle
        from importlib import metadata

        there = metadata.version("probekit")
        if there != wanted:
            raise ImportError(f"it has probekit {there}, not {wanted}")
        return pickle.loads(function)(pickle.loads(unit))  # noqa: S301 - from the client itself

    return call


def _pickle(value: object) -> bytes:
    """Pickle a value, so that only the task opens it.

    Dask would open it while it reads the message; where that fails, the worker ends without a word
    and the client waits for ever.
    """
    import cloudpickle

    packed: bytes = cloudpickle.dumps(value)
    return packed


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask from printing stacks where a scheduler goes away; that is said in one line."""
    logger = logging.getLogger("distributed.client")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def translate_dask_errors() -> Iterator[None]:
    """Turn what a cluster can die of into a message.

    Raises
    ------
    ProbekitError
        If in here a worker died, cannot import what it needs, or the scheduler went away.
    """
    from concurrent.futures import CancelledError

    from distributed import KilledWorker
    from distributed.comm.core import CommClosedError

    try:
        yield
    except KilledWorker as error:
        raise ProbekitError(
            "Dask gave up: the same piece of work ended one worker after another, most often since "
            "memory ran out. Give each worker more"
        ) from error
    except (CancelledError, CommClosedError, TimeoutError) as error:
        raise ProbekitError(
            "the Dask scheduler is gone. What was finished is kept; start it and run the same "
            "command again"
        ) from error
    except ImportError as error:
        raise ProbekitError(
            f"a Dask worker cannot do this ({error}): install the same version of probekit, with "
            "what your extractor needs, where the workers run"
        ) from error
