"""`distill-client`: dispatches to a subcommand and maps errors to exit codes."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module

from cache.errors import CacheError
from cache.standard_output import accept_any_text, discard_output
from student.commands.names import ONLY_PRINTS, SUBCOMMANDS, module_of
from student.distributed.launch import launched, speaker
from student.errors import BadInput, StudentError
from student.training.process import let_waiting_threads_sleep

INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended
_RENAMED = {"plan": "forecast"}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a subcommand or, if none is given, buys and distils; returns the exit code.

    0 done, 1 other error, 2 bad input, 3 over budget, 4-7 vendor, 8 training, 130 interrupted.
    """
    let_waiting_threads_sleep()  # before a subcommand imports torch
    arguments = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    # The plan names the images that a vendor would refuse, by name and with its limit.
    warnings.filterwarnings("ignore", message=r"Image size .* could be decompression bomb")
    first = arguments[0] if arguments else ""
    if first in _RENAMED:
        print(
            f"distill-client {first} is now called distill-client {_RENAMED[first]}",
            file=sys.stderr,
        )
        first = _RENAMED[first]
    accept_any_text()
    try:
        code = _run(first, arguments)
        sys.stdout.flush()
    except BrokenPipeError as error:
        discard_output()
        if first in ONLY_PRINTS:
            return 0  # the reader of the pipe, such as `head`, has seen enough
        return _failed(error)
    except KeyboardInterrupt:
        print(
            "\ninterrupted: every paid answer is stored; run the same command again to resume",
            file=sys.stderr,
        )
        return INTERRUPTED
    except CacheError as error:
        print(f"{speaker()}error: the cache: {error}", file=sys.stderr)
        return 1
    except StudentError as error:
        print(f"{speaker()}error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        return _failed(error)
    return code


def _failed(error: OSError) -> int:
    """Says in one line which file cannot be read or written; returns the exit code."""
    where = f"{error.filename}: " if error.filename else ""
    reason = f"{where}{error.strerror or error}".partition("\n")[0]
    print(
        f"{speaker()}error: {reason}. Every paid answer that was received is stored; mend this, "
        "then run the same command again",
        file=sys.stderr,
    )
    return BadInput.exit_code


def _run(command: str, arguments: list[str]) -> int:
    """Imports only the subcommand that is asked for: torch, which some need, loads slowly."""
    launch = launched()
    if command in SUBCOMMANDS:
        if launch is not None:
            message = f"distill-client {command} runs in one process: leave the launcher out"
            raise BadInput(message)
        module = import_module(module_of(command))
        return int(module.main(arguments[1:]))
    from student.options.output import output_options
    from student.options.read import read_options

    output, others = output_options(arguments)
    options = read_options(others)  # first, so that --help does not wait for torch
    if launch is not None:
        from student.commands import distill_together

        return distill_together.main(launch, options, output, arguments)
    from student.commands import distill

    return distill.main(options, output, arguments)


if __name__ == "__main__":
    sys.exit(main())
