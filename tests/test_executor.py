"""Where work is done: a window of jobs, errors, and workers that die."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest

from catalog_builder.errors import BuildError
from catalog_builder.executor import SerialExecutor, open_executor, unordered


def test_no_more_than_a_window_of_jobs_is_under_way() -> None:
    ended: list[int] = []

    def jobs() -> Iterator[int]:
        for number in range(40):
            assert number - len(ended) < 5
            yield number

    with ThreadPoolExecutor(3) as executor:
        for job, future in unordered(executor, abs, jobs(), window=5):
            assert future.result() == job
            ended.append(job)
    assert sorted(ended) == list(range(40))


def test_an_error_is_handed_on_what_has_begun_ends_and_the_rest_is_cancelled() -> None:
    begun, ended, go_on = [], [], threading.Event()

    def work(job: int) -> None:
        begun.append(job)
        if job == 0:
            raise ValueError("bad tile")
        go_on.wait(10)
        ended.append(job)

    with ThreadPoolExecutor(1) as executor:
        threading.Timer(0.1, go_on.set).start()
        with pytest.raises(ValueError, match="bad tile"):
            [future.result() for _, future in unordered(executor, work, range(6), window=6)]
        assert begun[1:] == ended
        assert len(begun) <= 2


def test_a_cancelled_job_that_is_never_taken_notice_of_is_not_waited_for() -> None:
    """A Dask cluster cancels what it runs; nobody may hang on it."""

    class Cluster(Executor):
        def submit(self, _fn: Callable[..., Any], /, *args: Any, **_: Any) -> "Future[Any]":
            future: Future[Any] = Future()
            if args == (0,):
                future.set_exception(ValueError("bad tile"))
            return future

    def work() -> None:
        with pytest.raises(ValueError, match="bad tile"):
            [future.result() for _, future in unordered(Cluster(), abs, range(4), window=4)]

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def test_one_job_works_in_this_process_and_thread() -> None:
    with open_executor(1) as executor:
        assert isinstance(executor, SerialExecutor)
        assert executor.submit(threading.get_ident).result() == threading.get_ident()
        failed = executor.submit(int, "x")
    assert isinstance(failed.exception(), ValueError)


def test_a_worker_that_dies_is_an_error_of_the_build() -> None:
    with pytest.raises(BuildError, match="a worker died, perhaps for lack of memory"), open_executor(2) as executor:
        [future.result() for _, future in unordered(executor, os._exit, [3], window=1)]


def test_workers_have_the_environment_of_their_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process from which workers are forked lives on between pools, in the environment of the first."""
    seen = []
    for value in ("first", "second"):
        monkeypatch.setenv("CATALOG_BUILDER_TEST", value)
        with open_executor(2) as executor:
            seen.append(executor.submit(os.getenv, "CATALOG_BUILDER_TEST").result())
    assert seen == ["first", "second"]
