"""`python -m ghostwire.cli`: the same as the command `ghostwire`."""

from ghostwire.cli import main

if __name__ == "__main__":
    main()
