"""How the API server refuses, in words of ours; no library's error leaves this package.

What a refusal means for a turn is decided in `turns/`, never here.
"""


class ClusterError(Exception):
    """The API server refused, or was not there; the message is its own sentence."""


class ConflictError(ClusterError):
    """409: it exists already, somebody else owns a field, or it has changed meanwhile."""


class NotFoundError(ClusterError):
    """404: there is no such object, or no such kind."""


class ForbiddenError(ClusterError):
    """401 and 403: the operator's account may not do that."""


class InvalidError(ClusterError):
    """400 and 422: the object breaks the schema or a rule of the API server."""


class TooManyRequestsError(ClusterError):
    """429: the server is busy, or an eviction would break a disruption budget."""

    def __init__(self, message: str, after: float = 1.0) -> None:
        super().__init__(message)
        self.after = after


class UnreachableError(ClusterError):
    """No answer, or one that says that the server is not well: it may have been done or not."""
