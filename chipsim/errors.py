"""The one exception family of the project: every expected failure is a `ChipsimError` with one clear sentence."""


class ChipsimError(Exception):
    """Anything chipsim refuses to do. The message says what was wrong, which value, why, and what to do."""


class ParameterError(ChipsimError, ValueError):
    """A parameter or an array that is unknown, of the wrong unit, shape or type, not finite, or out of range."""


class CapacityError(ChipsimError):
    """A network that does not fit on the chip."""


class StoredFileError(ChipsimError):
    """A file that is missing, truncated, of another kind or version, or cannot be written."""
