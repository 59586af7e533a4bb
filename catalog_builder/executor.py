"""Where work is done: in this process, in local processes, or on a Dask cluster; one interface for all."""

import ctypes
import itertools
import logging
import multiprocessing
import os
import platform
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import wait as wait_for_handles
from multiprocessing.context import BaseContext
from typing import Any, TypeVar

from catalog_builder.errors import BuildError, CatalogBuilderError, UsageError

Job = TypeVar("Job")
Result = TypeVar("Result")

_BATCH_SECONDS = 0.05
"""Time that a batch of quick jobs should take: much longer than it takes to send it."""
_LARGEST_BATCH = 64
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""


class SerialExecutor(Executor):
    """Does the work at once, in this process: for one worker, and for debugging."""

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> "Future[Result]":
        """Run ``fn`` now and give a future that is done."""
        future: Future[Result] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def default_jobs() -> int:
    """Give the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def open_executor(
    jobs: int, scheduler: str | None = None, *, preload: str = "catalog_builder.tile"
) -> Iterator[Executor]:
    """Open the executor for ``jobs`` local processes, or for the Dask cluster of a scheduler's address.

    ``preload`` is the module that local processes share from their start.
    """
    if scheduler is not None:
        with _dask_executor(scheduler) as executor:
            yield executor
    elif jobs == 1:
        yield SerialExecutor()
    else:
        with _process_pool(jobs, _forkserver(preload)) as executor:
            yield executor


@contextmanager
def open_forked_executor(jobs: int, *, preload: str) -> Iterator[Executor]:
    """Open the executor for ``jobs`` local processes that begin as copies of this one, with all that it has imported.

    They are there half a second sooner than others. They come into being with the first job, and by then this process
    must have no connection, and neither GDAL nor Arrow at work. Where it has threads, or the system's own libraries do
    not bear a fork, ``preload`` is imported as ``open_executor`` does.
    """
    if jobs == 1:
        yield SerialExecutor()
    else:
        safe = sys.platform == "linux" and threading.active_count() == 1
        with _process_pool(jobs, multiprocessing.get_context("fork") if safe else _forkserver(preload)) as executor:
            yield executor


def _forkserver(preload: str) -> BaseContext:
    # Not forked: GDAL, Arrow and their threads do not survive a fork in the middle of work.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload])
    return context


@contextmanager
def _process_pool(jobs: int, context: BaseContext) -> Iterator[Executor]:
    pool = ProcessPoolExecutor(
        max_workers=jobs, mp_context=context, initializer=_start_worker, initargs=(dict(os.environ),)
    )
    try:
        yield pool
    except BrokenExecutor as error:
        raise BuildError("a worker died, perhaps for lack of memory; run the same command to go on") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(environment: dict[str, str]) -> None:
    # A fork server outlives a pool, and keeps the environment in which it began: credentials may be others by now.
    os.environ.clear()
    os.environ.update(environment)
    _end_with_parent()
    _keep_memory()


def _keep_memory() -> None:
    """Let the C library keep what is freed for the next tile, where it is glibc.

    By itself it gives arrays of some megabytes back to the kernel each time, and getting them anew, page by page, took
    a seventh of the time of a build. A worker's peak stays what it is.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for option, size in ((_M_MMAP_THRESHOLD, 32 * 2**20), (_M_TRIM_THRESHOLD, 256 * 2**20)):
            libc.mallopt(option, size)


def _end_with_parent() -> None:
    """Let a worker end when its build is killed, or it would go on writing to what another build has taken over."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            wait_for_handles([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _dask_executor(address: str) -> Iterator[Executor]:
    try:
        from distributed import Client, KilledWorker
        from distributed.comm.addressing import get_address_host_port
    except ImportError as error:
        raise UsageError("--scheduler needs Dask: pip install 'catalog-builder[dask]'") from error
    try:
        # A client of an address that is none would not end with this process.
        get_address_host_port(address)
    except ValueError as error:
        raise UsageError(f"--scheduler {address!r} is no address such as tcp://10.0.0.5:8786: {error}") from error
    try:
        client = Client(address, timeout="10s", set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TimeoutError) as error:
        raise UsageError(f"--scheduler {address}: no Dask scheduler answers there") from error
    # When this process goes, what was still to be sent is no news; what goes wrong is told by the jobs.
    logging.getLogger("distributed.batched").setLevel(logging.CRITICAL)
    with client:
        try:
            yield client.get_executor(pure=False)  # type: ignore[no-untyped-call]
        except (CancelledError, KilledWorker) as error:
            raise BuildError(f"--scheduler {address}: the cluster went away; run the same command to go on") from error


def unordered(
    executor: Executor, function: Callable[[Job], Result], jobs: Iterable[Job], window: int
) -> Iterator[tuple[Job, "Future[Result]"]]:
    """Run ``function`` over jobs and give each job with its finished future, as they end.

    At most ``window`` jobs are under way, so that neither jobs nor results pile up. When the caller stops early, what
    has not begun is cancelled and what has begun is waited for.
    """
    pending: dict[Future[Result], Job] = {}
    try:
        for job in jobs:
            pending[_submit(executor, function, job)] = job
            if len(pending) >= window:
                yield from _take_done(pending)
        while pending:
            yield from _take_done(pending)
    finally:
        wait([future for future in pending if not future.cancel()])


def ordered(
    executor: Executor, function: Callable[[Job], Result], jobs: Iterable[Job], window: int
) -> Iterator[tuple[Job, Result]]:
    """Run ``function`` over jobs and give each job with its result, in the order of the jobs.

    At most ``window`` jobs are under way or wait for one before them. Raises what a job raises; what has not begun is
    cancelled then, and what has begun is waited for.
    """
    pending: deque[tuple[Job, Future[Result]]] = deque()
    try:
        for job in jobs:
            pending.append((job, _submit(executor, function, job)))
            if len(pending) >= window:
                first, future = pending.popleft()
                yield first, future.result()
        while pending:
            first, future = pending.popleft()
            yield first, future.result()
    finally:
        wait([future for _, future in pending if not future.cancel()])


def in_batches(
    executor: Executor, function: Callable[[Job], Result], jobs: Iterable[Job], window: int
) -> Iterator[tuple[Job, Result | CatalogBuilderError]]:
    """Run ``function`` over jobs as ``unordered`` does, but send those that turn out to be quick several at a time.

    Gives each job with its result or its error. At most ``window`` batches are under way.
    """
    size, rest = 1, iter(jobs)

    def batches() -> Iterator[tuple[Job, ...]]:
        while batch := tuple(itertools.islice(rest, size)):
            yield batch

    for batch, future in unordered(executor, partial(_run_batch, function), batches(), window):
        outcomes, seconds = future.result()
        size = max(1, min(2 * len(batch), int(len(batch) * _BATCH_SECONDS / max(seconds, 1e-6)), _LARGEST_BATCH))
        yield from zip(batch, outcomes, strict=True)


def _run_batch(
    function: Callable[[Job], Result], batch: tuple[Job, ...]
) -> tuple[list[Result | CatalogBuilderError], float]:
    """Run jobs one after the other and tell how long they took. An error of one is no error of the others."""
    started = time.perf_counter()
    outcomes: list[Result | CatalogBuilderError] = []
    for job in batch:
        try:
            outcomes.append(function(job))
        except CatalogBuilderError as error:
            outcomes.append(error)
    return outcomes, time.perf_counter() - started


def _submit(executor: Executor, function: Callable[[Job], Result], job: Job) -> "Future[Result]":
    try:
        return executor.submit(function, job)
    except RuntimeError as error:  # a pool whose worker died, or a cluster that went away
        raise BuildError(f"the workers are gone: {error}; run the same command to go on") from error


def _take_done(pending: dict["Future[Result]", Job]) -> Iterator[tuple[Job, "Future[Result]"]]:
    done, _ = wait(pending, return_when=FIRST_COMPLETED)
    for future in done:
        yield pending.pop(future), future
