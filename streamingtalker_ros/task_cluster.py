# SPDX-License-Identifier: Apache-2.0
"""Runs a function over many items: in this process, in local processes, or on a Dask cluster.

    with TaskCluster(num_workers, scheduler) as cluster:
        for result in cluster.map(build_clip, jobs, [job.name for job in jobs]):
            ...                                     # None for an item that failed
    cluster.failures                                # which, and why

Results come in the order of the items, whatever computes them. An exception costs its item, and a worker
process that dies the item that it worked on, if that happens again and again. Dask's `distributed` is needed
for more than one process only. It starts processes afresh: a script that asks for several runs under
`if __name__ == "__main__":`.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import traceback
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

from streamingtalker_ros import __version__
from streamingtalker_ros.errors import TalkerError, one_line, require
from streamingtalker_ros.process import LOGGER_NAME

T = TypeVar("T")
R = TypeVar("R")

CONNECT_TIMEOUT_S: Final = 20.0
"""Time for a scheduler to answer, and for its first worker to appear."""

EXIT_ITEMS_FAILED: Final = 1
"""Exit code of a command some of whose items failed."""

_TASKS_PER_THREAD: Final = 4  # submitted at a time: workers never wait, and few arguments are in memory
_MAX_TRACEBACK_FRAMES: Final = 12
_LOGGER = logging.getLogger(LOGGER_NAME)
_process_lock = threading.Lock()


@dataclass(frozen=True)
class TaskFailure:
    """An item that could not be processed.

    Attributes:
        name: of the item.
        reason: one sentence.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True)
class _Outcome:
    """Result of an item, or why there is none, with a traceback if the reason may be a defect."""

    value: Any = None
    reason: str | None = None
    trace: str = ""


_KILLED: Final = _Outcome(
    reason="each worker process that tried it ended: too little memory, or a library that crashes"
)


class TaskCluster:
    """Processes that work on items; a context manager.

    Args:
        num_workers: local processes; 1: this process, without Dask. Ignored if there is a scheduler.
        scheduler: address of a Dask scheduler, such as tcp://10.0.0.1:8786; None: local processes.
        folder: that the items read or write; all workers of a scheduler must see it.

    Attributes:
        failures: the items that failed, in their order.
    """

    def __init__(
        self, num_workers: int = 1, scheduler: str | None = None, folder: Path | None = None
    ) -> None:
        self.failures: list[TaskFailure] = []
        self._num_workers = num_workers
        self._scheduler = scheduler
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self._client: Any = None
        self._logged: set[str] = set()
        self._crashed = False  # whether a worker process has

    def __enter__(self) -> TaskCluster:
        """Start the processes, or connect to the scheduler.

        Raises:
            TalkerError: if Dask is not installed, no scheduler or no worker answers, or a worker has another
                version of this package or does not see the folder.
        """
        if self._scheduler is not None or self._num_workers > 1:
            self._distributed: Any = require("distributed", "work in several processes")
            try:
                self._client = (
                    self._start_local() if self._scheduler is None else self._connect(self._scheduler)
                )
                self._check_workers()
            except BaseException:
                self._stack.close()
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._crashed and self._scheduler is None:
            # a process that starts while its cluster closes prints a traceback
            with contextlib.suppress(Exception):
                self._client.wait_for_workers(self._num_workers, timeout=CONNECT_TIMEOUT_S)
        self._stack.close()

    def map(self, function: Callable[[T], R], items: Sequence[T], names: Sequence[str]) -> Iterator[R | None]:
        """Apply a function to items.

        Args:
            function: of a module; a worker process runs one call at a time.
            items: its arguments.
            names: of the items, for `failures`.

        Yields:
            The results in the order of the items; None for one that failed.

        Raises:
            TalkerError: if the connection to the scheduler is lost.
        """
        run = self._run_here if self._client is None else self._submit
        outcomes = run(function, items)
        with contextlib.closing(outcomes):
            for name, outcome in zip(names, outcomes, strict=True):
                if outcome.reason is not None:
                    self._report(name, outcome)
                yield outcome.value

    def _run_here(self, function: Callable[[T], R], items: Sequence[T]) -> Generator[_Outcome, None, None]:
        for item in items:
            yield _run_item(function, item)

    def _submit(self, function: Callable[[T], R], items: Sequence[T]) -> Generator[_Outcome, None, None]:
        client, numbers = self._client, iter(range(len(items)))
        capacity = _TASKS_PER_THREAD * max(1, sum(client.nthreads().values()))
        run, name = uuid.uuid4().hex[:12], getattr(function, "__name__", "task").strip("_")
        done = self._distributed.as_completed(loop=client.loop)
        pending: dict[Any, int] = {}
        outcomes: dict[int, _Outcome] = {}  # of items whose predecessors are not complete
        # Dask blames all tasks of a worker that dies; those that it gives up are tried again, one by one
        suspects: deque[int] = deque()

        def submit(number: int, attempt: str = "") -> None:
            key = f"{name}-{run}-{number}{attempt}"
            future = client.submit(_run_item, function, items[number], key=key, pure=False)
            pending[future] = number
            done.add(future)

        try:
            for number in itertools.islice(numbers, capacity):
                submit(number)
            for number in range(len(items)):
                while number not in outcomes:
                    is_last_attempt = not pending
                    if is_last_attempt:
                        submit(suspects.popleft(), "-again")
                    future = next(done)
                    finished = pending.pop(future)
                    outcome = self._outcome(future)
                    if outcome is _KILLED and not is_last_attempt:
                        suspects.append(finished)
                    else:
                        outcomes[finished] = outcome
                    for following in itertools.islice(numbers, 0 if is_last_attempt else 1):
                        submit(following)
                yield outcomes.pop(number)
        finally:
            for future in pending:
                with contextlib.suppress(Exception):
                    future.cancel()

    def _outcome(self, future: Any) -> _Outcome:
        try:
            return future.result()  # computed again if the worker that held it has ended
        except self._distributed.CancelledError:
            raise TalkerError(
                "the connection to the scheduler was lost: run the command again, what is finished is kept"
            ) from None
        except self._distributed.KilledWorker:
            self._crashed = True
            return _KILLED
        except Exception as error:
            text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
            return _Outcome(reason=f"it could not be run ({type(error).__name__}: {error})", trace=text)

    def _report(self, name: str, outcome: _Outcome) -> None:
        self.failures.append(TaskFailure(name, one_line(outcome.reason)))
        frames = [line for line in outcome.trace.splitlines() if line.lstrip().startswith("File ")]
        place = "".join(frames[-1:])
        if outcome.trace and place not in self._logged:
            self._logged.add(place)
            _LOGGER.error("%s failed (please report it; logged once):\n%s", name, outcome.trace.rstrip())

    # --------------------------------------------------------------------------------------------- connection

    def _start_local(self) -> Any:
        distributed = self._distributed
        cluster = distributed.LocalCluster(
            n_workers=self._num_workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            # Dask's web pages would listen on every address of the machine
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            worker_dashboard_address="127.0.0.1:0",
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        )
        self._stack.enter_context(cluster)
        return self._stack.enter_context(distributed.Client(cluster))

    def _connect(self, scheduler: str) -> Any:
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # its own words; ours follow
        try:
            if not scheduler:  # Dask would start processes
                raise ValueError("the address is empty")
            client = self._distributed.Client(scheduler, timeout=CONNECT_TIMEOUT_S)
        except Exception as error:  # of the address's syntax, of the network, of versions
            raise TalkerError(
                f"no Dask scheduler answers at '{scheduler}' ({_first_line(error)}): "
                "start one with `dask scheduler`, and give its address"
            ) from None
        self._stack.enter_context(client)
        try:
            client.wait_for_workers(1, timeout=CONNECT_TIMEOUT_S)
        except Exception:
            raise TalkerError(
                f"the scheduler {scheduler} has no workers: start some with `dask worker {scheduler}`"
            ) from None
        return client

    def _check_workers(self) -> None:
        """Raise TalkerError if a worker cannot do the work."""
        if self._scheduler is None:
            return
        versions: dict[str, Any] = self._client.run(_package_version, on_error="return")
        for worker, version in versions.items():
            if version != __version__:
                found = f"version {version}" if isinstance(version, str) else "no usable one"
                raise TalkerError(
                    f"the worker {worker} has {found} of streamingtalker_ros: install {__version__} there"
                )
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        probe = self._folder / f".cluster-{uuid.uuid4().hex}"
        probe.touch()
        try:
            seen: dict[str, Any] = self._client.run(_is_file, str(probe), on_error="return")
        finally:
            probe.unlink(missing_ok=True)
        for worker, sees in seen.items():
            if sees is not True:
                raise TalkerError(
                    f"the worker {worker} does not see {self._folder}: use a folder that all machines share"
                )


def _run_item(function: Callable[[Any], Any], item: Any) -> _Outcome:
    """Run one call; libraries with a state of their own allow one at a time in a process."""
    with _process_lock:
        try:
            return _Outcome(function(item))
        except TalkerError as error:
            return _Outcome(reason=str(error))
        except Exception as error:
            text = "".join(
                traceback.format_exception(
                    type(error), error, error.__traceback__, limit=-_MAX_TRACEBACK_FRAMES
                )
            )
            return _Outcome(reason=f"{type(error).__name__}: {error}", trace=text)


def _package_version() -> str:
    return __version__


def _is_file(path: str) -> bool:
    return Path(path).is_file()


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
