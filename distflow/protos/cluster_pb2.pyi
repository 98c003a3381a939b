from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Worker(_message.Message):
    __slots__ = ("rank", "world_size", "incarnation", "description")
    RANK_FIELD_NUMBER: _ClassVar[int]
    WORLD_SIZE_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    rank: int
    world_size: int
    incarnation: bytes
    description: str
    def __init__(self, rank: _Optional[int] = ..., world_size: _Optional[int] = ..., incarnation: _Optional[bytes] = ..., description: _Optional[str] = ...) -> None: ...

class RegisterRequest(_message.Message):
    __slots__ = ("worker", "address", "wait_seconds")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    WAIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    worker: Worker
    address: str
    wait_seconds: float
    def __init__(self, worker: _Optional[_Union[Worker, _Mapping]] = ..., address: _Optional[str] = ..., wait_seconds: _Optional[float] = ...) -> None: ...

class RegisterReply(_message.Message):
    __slots__ = ("addresses", "missing", "lost")
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    addresses: _containers.RepeatedScalarFieldContainer[str]
    missing: _containers.RepeatedScalarFieldContainer[int]
    lost: LostWorker
    def __init__(self, addresses: _Optional[_Iterable[str]] = ..., missing: _Optional[_Iterable[int]] = ..., lost: _Optional[_Union[LostWorker, _Mapping]] = ...) -> None: ...

class LostWorker(_message.Message):
    __slots__ = ("rank", "cause")
    RANK_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    rank: int
    cause: str
    def __init__(self, rank: _Optional[int] = ..., cause: _Optional[str] = ...) -> None: ...

class SetRequest(_message.Message):
    __slots__ = ("worker", "key", "value")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    worker: Worker
    key: str
    value: bytes
    def __init__(self, worker: _Optional[_Union[Worker, _Mapping]] = ..., key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...

class SetReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("keys", "wait_seconds")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    WAIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedScalarFieldContainer[str]
    wait_seconds: float
    def __init__(self, keys: _Optional[_Iterable[str]] = ..., wait_seconds: _Optional[float] = ...) -> None: ...

class GetReply(_message.Message):
    __slots__ = ("values", "missing", "lost")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[bytes]
    missing: _containers.RepeatedScalarFieldContainer[str]
    lost: LostWorker
    def __init__(self, values: _Optional[_Iterable[bytes]] = ..., missing: _Optional[_Iterable[str]] = ..., lost: _Optional[_Union[LostWorker, _Mapping]] = ...) -> None: ...

class BarrierRequest(_message.Message):
    __slots__ = ("worker", "name", "wait_seconds")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    WAIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    worker: Worker
    name: str
    wait_seconds: float
    def __init__(self, worker: _Optional[_Union[Worker, _Mapping]] = ..., name: _Optional[str] = ..., wait_seconds: _Optional[float] = ...) -> None: ...

class BarrierReply(_message.Message):
    __slots__ = ("missing", "lost")
    MISSING_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    missing: _containers.RepeatedScalarFieldContainer[int]
    lost: LostWorker
    def __init__(self, missing: _Optional[_Iterable[int]] = ..., lost: _Optional[_Union[LostWorker, _Mapping]] = ...) -> None: ...
