"""Dask clusters: this machine, several machines, or SLURM through dask-jobqueue."""

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
from probekit.parallel.resources import divide_cores, worker_environment

if TYPE_CHECKING:
    from distributed import Client

T = TypeVar("T")
R = TypeVar("R")

_VERSION = version("probekit")
_CONNECT_TIMEOUT = 5.0  # seconds for the scheduler's machine to answer
_NOT_INSTALLED = "--dask needs Dask: pip install 'probekit[cluster]'"
_NO_SCHEDULER = (
    "--dask {}: no Dask scheduler answers there. Give the address that 'dask scheduler' prints, "
    "such as tcp://node1:8786, or local"
)
_RETRIES = 2  # an exception may be due to one machine: a disk not mounted, a device in use


def check_scheduler(address: str) -> None:
    """Check, without loading Dask, that something listens at a scheduler's address.

    Parameters
    ----------
    address : str
        As for :func:`connect`. Only tcp and tls addresses are checked.

    Raises
    ------
    ProbekitError
        If Dask is not installed, or nothing listens there.
    """
    if find_spec("distributed") is None:
        raise ProbekitError(_NOT_INSTALLED)
    if address == "local":
        return
    try:
        url = urlsplit(address if "://" in address else f"tcp://{address}")
        if url.scheme in ("tcp", "tls") and url.hostname and url.port:
            socket.create_connection((url.hostname, url.port), _CONNECT_TIMEOUT).close()
    except (OSError, ValueError) as error:
        raise ProbekitError(_NO_SCHEDULER.format(address)) from error


@contextmanager
def connect(address: str, workers: int) -> Iterator["Client"]:
    """Connect to a cluster, or start one of local processes.

    Parameters
    ----------
    address : str
        ``"local"``, or a scheduler's address, such as ``tcp://node1:8786``.
    workers : int >= 1
        Number of processes of a local cluster, which share the cores of this one.

    Yields
    ------
    distributed.Client
        Connected.

    Raises
    ------
    ProbekitError
        If Dask is not installed, or no scheduler answers at the address.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ProbekitError(_NOT_INSTALLED) from error
    if address == "local":
        with (
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=0,
                env=worker_environment(divide_cores(workers)),
                preload=__name__,
                dashboard_address=":0",
                silence_logs="CRITICAL",
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise ProbekitError(_NO_SCHEDULER.format(address)) from error
    with client, _quiet():
        yield client


def dask_setup(worker: object) -> None:
    """Ignore Control-C in a worker of a local cluster; Dask calls this hook by its name."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def map_unordered(
    client: "Client", function: Callable[[T], R], items: Sequence[T], names: Sequence[str]
) -> Iterator[tuple[T, R | None]]:
    """Apply a function to many items on a cluster.

    The scheduler gives the item of a lost worker to another one.

    Parameters
    ----------
    client : distributed.Client
        From :func:`connect`.
    function : callable
        Takes one item; sent to the workers, like the items.
    items : sequence
        Its arguments.
    names : sequence of str
        Names of the items' tasks on Dask's dashboard.

    Yields
    ------
    item, result
        As they are ready. The result is None if the item crashed one worker after another (Dask's
        ``allowed-failures``), so that the scheduler gave it up.

    Raises
    ------
    ProbekitError
        If the cluster goes away, or cannot import what the function needs.
    """
    from distributed import KilledWorker, as_completed

    call, payload = _make_remote_call(), _pickle(function)
    # a scheduler stores results under their keys: another run's must not be returned for this one
    suffix = uuid.uuid4().hex[:8]
    futures = {
        client.submit(
            call, payload, _pickle(item), _VERSION, key=f"{name}-{suffix}", retries=_RETRIES
        ): item
        for item, name in zip(items, names, strict=True)
    }
    with translate_dask_errors():
        for future in as_completed(futures):
            item = futures.pop(future)
            try:
                result = future.result()
            except KilledWorker:
                yield item, None
            else:
                yield item, result


def map_ordered(client: "Client", function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Apply a function to items on a cluster; it is sent once, with the arrays that it holds.

    Raises
    ------
    ProbekitError
        If the cluster goes away, or an item crashed one worker after another.
    """
    call = _make_remote_call()
    with translate_dask_errors():
        client.wait_for_workers(1)  # a batch system may start them late
        [payload] = client.scatter([_pickle(function)], broadcast=True, hash=False)
        futures = [
            client.submit(call, payload, _pickle(item), _VERSION, retries=_RETRIES, pure=False)
            for item in items
        ]
        for future in futures:
            yield future.result()


def check_workers(client: "Client") -> None:
    """Wait for workers, and check that they have this version of probekit.

    Raises
    ------
    ProbekitError
        If one has another version or none, or the scheduler goes away.
    """
    with translate_dask_errors():
        client.wait_for_workers(1)
        client.run(_make_remote_call(), _pickle(bool), _pickle(0), _VERSION)


def _make_remote_call() -> Callable[[bytes, bytes, str], Any]:
    """Return the function that runs on a worker.

    A nested function is sent by value: a worker may lack probekit, and must be able to say so.
    """

    def call(function: bytes, item: bytes, required: str) -> Any:
        import pickle
        from importlib import metadata

        installed = metadata.version("probekit")
        if installed != required:
            raise ImportError(f"it has probekit {installed}, not {required}")
        return pickle.loads(function)(pickle.loads(item))  # noqa: S301 - from the client itself

    return call


def _pickle(value: object) -> bytes:
    """Pickle a value, so that only the task unpickles it.

    Dask would unpickle it while it reads the message; if that fails, the worker exits silently and
    the client hangs.
    """
    import cloudpickle

    pickled: bytes = cloudpickle.dumps(value)
    return pickled


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask from printing stacks when a scheduler goes away; one error message suffices."""
    logger = logging.getLogger("distributed.client")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def translate_dask_errors() -> Iterator[None]:
    """Turn the failures of a cluster into a :class:`ProbekitError`.

    Raises
    ------
    ProbekitError
        If a worker died, cannot import what it needs, or the scheduler went away.
    """
    from concurrent.futures import CancelledError

    from distributed import KilledWorker
    from distributed.comm.core import CommClosedError

    try:
        yield
    except KilledWorker as error:
        raise ProbekitError(
            "Dask gave up: the same item crashed one worker after another, most often because "
            "memory ran out. Give each worker more"
        ) from error
    except (CancelledError, CommClosedError, TimeoutError) as error:
        raise ProbekitError(
            "the Dask scheduler has stopped. Finished work is saved; start it and run the same "
            "command again"
        ) from error
    except ImportError as error:
        raise ProbekitError(
            f"a Dask worker cannot do this ({error}): install the same version of probekit, with "
            "what your extractor needs, on the machines of the workers"
        ) from error
