"""Do work that may never end, such as what waits for a server, in a thread that can be left to
itself."""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

Job = Callable[[], Any]


class PatientThread:
    """Does one job after the other. It does not keep the process from ending."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="wandb", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """Jobs not yet begun."""
        return self._jobs.qsize()

    @property
    def is_current(self) -> bool:
        """Whether it is one of its jobs that asks."""
        return threading.current_thread() is self._thread

    def do(self, job: Job) -> None:
        """Later, without waiting; the job must not raise."""
        self._jobs.put(job)

    def wait_for(self, job: Job, seconds: float) -> Any:
        """What the job returns, or raises.

        Raises:
            TimeoutError: where it, and what was asked before, is not done in time. It may still be
                done later.
        """
        outcome = _Outcome(job)
        self._jobs.put(outcome.find)
        if not outcome.known.wait(seconds):
            raise TimeoutError(f"not done within {seconds:.0f} s")
        return outcome.tell()

    def _work(self) -> None:
        while True:
            self._jobs.get()()


class _Outcome:
    def __init__(self, job: Job) -> None:
        self.job = job
        self.known = threading.Event()
        self.result: Any = None
        self.error: Exception | None = None

    def find(self) -> None:
        try:
            self.result = self.job()
        except Exception as error:
            self.error = error
        except BaseException as error:  # it wants to end the process, as W&B's teardown may
            self.error = RuntimeError(repr(error))
        self.known.set()

    def tell(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.result
