import sys
import threading

import pytest

from blocklearn.reporting.patient_thread import PatientThread


def test_jobs_are_done_in_their_order_and_what_is_waited_for_comes_back() -> None:
    thread, done = PatientThread(), []
    for number in range(3):
        thread.do(lambda number=number: done.append(number))
    assert thread.wait_for(lambda: list(done), 5) == [0, 1, 2]


def test_what_never_ends_is_left_to_itself() -> None:
    thread, never = PatientThread(), threading.Event()
    with pytest.raises(TimeoutError, match="not done within 0 s"):
        thread.wait_for(never.wait, 0.1)
    thread.do(lambda: None)
    assert thread.num_waiting == 1
    never.set()


def test_a_job_may_raise_but_not_end_the_process() -> None:
    thread = PatientThread()
    with pytest.raises(ValueError, match="no"):
        thread.wait_for(lambda: (_ for _ in ()).throw(ValueError("no")), 5)
    with pytest.raises(RuntimeError, match="SystemExit"):
        thread.wait_for(lambda: sys.exit(3), 5)
    assert thread.wait_for(lambda: 1, 5) == 1
