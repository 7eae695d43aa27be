"""The two errors a person sees as one line: what is wrong, where, and what to do."""


class WrongUse(ValueError):
    """The command, the configuration or a file given to us is wrong (exit code 2)."""


class Failure(RuntimeError):
    """The request was right but could not be carried out (exit code 1)."""
