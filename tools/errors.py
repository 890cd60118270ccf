"""The root of Luthier's errors."""


class LuthierError(Exception):
    """An error whose message is one sentence for a person: the thing, the value, the way out."""
