"""What every test may rely on."""

import signal


def pytest_configure() -> None:
    """Handle SIGINT: a shell's background job ignores it, and its child processes would, too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
