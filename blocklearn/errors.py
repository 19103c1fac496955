"""The one error that is meant for the user's eyes."""


class UserError(ValueError):
    """What is wrong, where, and what to do about it; the command line prints it as one line, without a traceback."""
