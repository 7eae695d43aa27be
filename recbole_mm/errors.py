"""The errors a person sees as one line: what is wrong, where, and what to do."""


class WrongUse(ValueError):
    """The command, the configuration or a file given to us is wrong (exit code 2)."""


class Failure(RuntimeError):
    """The request was right but could not be carried out (exit code 1)."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during training; `checkpoint` is the file to resume from, None where a run can only start over."""

    def __init__(self, message: str, checkpoint: str | None = None):
        super().__init__(message)
        self.checkpoint = checkpoint
