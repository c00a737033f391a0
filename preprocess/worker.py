"""What a worker process does for its command: it ends when the command is gone, however that ended."""

import multiprocessing
import os
import threading
import time

#: What a person is told when a worker ends and no file is to blame.
WORKER_DIED = (
    "a worker process was ended from outside, as the system does when memory runs out. What is complete is kept: "
    "give the same command again, with fewer --jobs if it happens twice"
)
_SECONDS_BETWEEN_LOOKS = 0.5


def end_with_parent() -> None:
    """Ends this worker soon after the process that started it; does nothing in the command's own process.

    The initializer of every pool. A command that is killed cannot stop its workers, and those of joblib would go on
    with the file in hand and then wait for five minutes.
    """
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        threading.Thread(target=_watch, args=(parent.pid,), daemon=True).start()


def _watch(command: int) -> None:
    # A process whose parent dies gets another one at once, and keeps it. So this also sees a command that died
    # before the worker got here; asking whether a process of that number is alive would not, while it is a zombie.
    while os.getppid() == command:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    os._exit(1)
