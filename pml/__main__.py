"""`pml` as it is installed, and `python -m pml`: Ctrl-C is quiet while it imports, too."""

from __future__ import annotations

import sys


def main() -> None:
    try:
        from pml.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
