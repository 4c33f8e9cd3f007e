"""The one kind of failure that a user caused and can mend."""


class InputError(ValueError):
    """What was given cannot be used: a file, a folder, a setting, a datalist.

    The message is written for the person who gave it, one line a problem: what was expected, what came, what
    to do. On the command line it is all that is shown, and the exit code is 1.
    """
