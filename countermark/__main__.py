"""``python -m countermark`` is the same as ``countermark``."""

from countermark.cli import main

if __name__ == "__main__":
    main()
