"""The command line. Heavy imports happen inside the commands, so that ``--help`` stays fast."""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code.

    0 nothing to label, 1 something found, 2 usage, 3 unreadable input or missing part, 130 interrupted.
    """
    import warnings

    from countermark.cli.app import run

    if not os.environ.get("COUNTERMARK_DEBUG"):
        warnings.simplefilter("ignore")  # decoders warn about damaged files; the report says it better
    try:
        code = run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        code = 130
    except BrokenPipeError:  # the reader of our output went away; that is its right
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    if argv is None:
        sys.exit(code)
    return code
