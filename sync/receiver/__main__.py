"""Run the receiver with `python -m sync.receiver`."""

from sync.receiver.cli import main

if __name__ == "__main__":
    main()
