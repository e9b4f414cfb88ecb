"""The errors that polytask raises on purpose: each says what was expected, what came and what to do."""


class PolytaskError(ValueError):
    """Something a user can mend; the command line prints it as one line and exits with code 2."""
