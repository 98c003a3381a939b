"""Error classes by cause, with TensorFlow's names, and the one form of their messages.

A message says what was expected, what came, and what to do:

    InvalidArgumentError: matmul: inner dimensions must agree; received a: [32, 128], b: [64, 10].
    Did you mean matmul(a, b, transpose_b=True)?
"""

from __future__ import annotations


class OpError(Exception):
    """Base of all distflow errors that have a cause code (TF's `tf.errors.OpError`).

    Attributes:
      told: what another worker has told of it, if it came from there.
    """

    code = "UNKNOWN"
    told: str | None = None

    @property
    def message(self) -> str:
        """The text of the error."""
        return str(self.args[0]) if self.args else ""


class CancelledError(OpError):
    """The operation was cancelled, usually by the caller."""

    code = "CANCELLED"


class UnknownError(OpError):
    """An error whose cause is not known."""


class InvalidArgumentError(OpError, ValueError):
    """An argument has a wrong value, shape or dtype, whatever the state of the system."""

    code = "INVALID_ARGUMENT"


class DtypeMismatchError(InvalidArgumentError, TypeError):
    """Operands whose dtypes do not go together; also a TypeError, as some callers expect."""


class DeadlineExceededError(OpError):
    """An operation did not finish before its deadline."""

    code = "DEADLINE_EXCEEDED"


class NotFoundError(OpError):
    """A file, key or variable that was asked for is not there."""

    code = "NOT_FOUND"


class AlreadyExistsError(OpError):
    """Something that was to be created is there already."""

    code = "ALREADY_EXISTS"


class PermissionDeniedError(OpError):
    """The caller may not do this."""

    code = "PERMISSION_DENIED"


class ResourceExhaustedError(OpError):
    """Memory, disk space or a quota has run out."""

    code = "RESOURCE_EXHAUSTED"


class FailedPreconditionError(OpError):
    """The system is not in the state that the operation needs (an unbuilt model, say)."""

    code = "FAILED_PRECONDITION"


class AbortedError(OpError):
    """The operation was aborted, usually because another participant failed."""

    code = "ABORTED"


class OutOfRangeError(OpError):
    """Reading went past the end of a valid range (a data set, say)."""

    code = "OUT_OF_RANGE"


class UnimplementedError(OpError, NotImplementedError):
    """The operation is known but not there in this version."""

    code = "UNIMPLEMENTED"


class InternalError(OpError):
    """A broken invariant inside distflow: please report it."""

    code = "INTERNAL"


class UnavailableError(OpError):
    """A service or peer cannot be reached at the moment."""

    code = "UNAVAILABLE"


class DataLossError(OpError):
    """A file or message is damaged."""

    code = "DATA_LOSS"


class WorkerLostError(UnavailableError):
    """A worker of the job died or left; `rank` says which one.

    Args:
      message: the whole sentence, naming rank, peer, operation and elapsed time.
      rank: rank of the lost worker, or None if it is not known.
    """

    def __init__(self, message: str, rank: int | None = None):
        super().__init__(message)
        self.rank = rank


class WorkerLateError(DeadlineExceededError):
    """A worker has not answered before the deadline; `rank` says which one."""

    def __init__(self, message: str, rank: int | None = None):
        super().__init__(message)
        self.rank = rank


class CollectiveMismatchError(InvalidArgumentError):
    """Workers disagree about what they reduce (name, shape, dtype or order)."""


class NumericMismatchError(FailedPreconditionError):
    """Workers compute other bits than each other: other CPUs, libraries or versions."""


class MissingExtraError(ImportError):
    """An optional package is needed; the message holds the pip command."""


def missing_extra(package: str, extra: str, purpose: str) -> MissingExtraError:
    """Returns the error for an optional package that is not installed."""
    return MissingExtraError(
        f"{purpose} needs the package {package!r}, which is not installed. "
        f'Run: pip install "distflow[{extra}]"'
    )


def invalid(where: str, expected: str, received: str = "", hint: str = "") -> InvalidArgumentError:
    """Returns an InvalidArgumentError in the one form: where, expected, received, what to do."""
    return InvalidArgumentError(message(where, expected, received, hint))


def message(where: str, expected: str, received: str = "", hint: str = "") -> str:
    """Returns `where: expected; received received.` with the hint on a line of its own."""
    text = f"{where}: {expected}"
    if received:
        text += f"; received {received}"
    text += "."
    return f"{text}\n{hint}" if hint else text
