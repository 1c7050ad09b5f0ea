"""`python -m modelkeep` is the command `modelkeep`."""

from modelkeep.cli import main

if __name__ == "__main__":
    main()
