"""Ctrl-C and SIGTERM as an event: the first one asks, the second one ends."""

import os
import signal
import threading

import pytest

from nlbs.system_calls import interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_raises(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), interrupts() as event:
        assert not event.is_set()
        os.kill(os.getpid(), number)
        assert event.is_set()
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_another_thread_has_an_event_that_no_signal_sets() -> None:
    found: list[bool] = []

    def run() -> None:
        with interrupts() as event:
            found.append(event.is_set())

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [False]
    assert signal.getsignal(signal.SIGINT) is before
