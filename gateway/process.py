"""Signal handling shared by all processes."""

import asyncio
import contextlib
import signal
from collections.abc import Callable


def stop_on_signals(stack: contextlib.AsyncExitStack, stop: Callable[[], None]) -> None:
    """Call `stop` at SIGTERM and SIGINT, until the stack is unwound."""
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop)
        stack.callback(loop.remove_signal_handler, name)
