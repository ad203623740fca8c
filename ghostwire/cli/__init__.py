"""The command line: one file a verb, loaded when it is called."""


def main() -> None:
    """Run the command line."""
