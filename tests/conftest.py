"""What every test may rely on."""

import signal


def pytest_configure() -> None:
    """Hears Ctrl-C: a shell's background job ignores it, and so would the programs under test."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
