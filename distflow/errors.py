"""tf.errors: error classes by cause, and TensorFlow's codes of the causes."""

from distflow._missing import lookup
from distflow.base.errors import (
    AbortedError,
    AlreadyExistsError,
    CancelledError,
    CollectiveMismatchError,
    DataLossError,
    DeadlineExceededError,
    DtypeMismatchError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    MissingExtraError,
    NotFoundError,
    OpError,
    OutOfRangeError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnavailableError,
    UnimplementedError,
    UnknownError,
    WorkerLateError,
    WorkerLostError,
)

OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND = range(6)
ALREADY_EXISTS, PERMISSION_DENIED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION = range(6, 10)
ABORTED, OUT_OF_RANGE, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS = range(10, 16)
UNAUTHENTICATED = 16

__all__ = [
    "ABORTED", "ALREADY_EXISTS", "AbortedError", "AlreadyExistsError", "CANCELLED",
    "CancelledError", "CollectiveMismatchError", "DATA_LOSS", "DEADLINE_EXCEEDED",
    "DataLossError", "DeadlineExceededError", "DtypeMismatchError", "FAILED_PRECONDITION",
    "FailedPreconditionError", "INTERNAL", "INVALID_ARGUMENT", "InternalError",
    "InvalidArgumentError", "MissingExtraError", "NOT_FOUND", "NotFoundError", "OK",
    "OUT_OF_RANGE", "OpError", "OutOfRangeError", "PERMISSION_DENIED", "PermissionDeniedError",
    "RESOURCE_EXHAUSTED", "ResourceExhaustedError", "UNAUTHENTICATED", "UNAVAILABLE",
    "UNIMPLEMENTED", "UNKNOWN", "UnavailableError", "UnimplementedError", "UnknownError",
    "WorkerLateError", "WorkerLostError",
]  # fmt: skip

__getattr__ = lookup("errors")
