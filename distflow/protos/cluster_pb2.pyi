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

class Member(_message.Message):
    __slots__ = ("id", "slot", "description", "address", "donor", "position", "has_state", "is_in_commit", "generation", "fingerprint")
    ID_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    DONOR_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    HAS_STATE_FIELD_NUMBER: _ClassVar[int]
    IS_IN_COMMIT_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    slot: int
    description: str
    address: str
    donor: str
    position: int
    has_state: bool
    is_in_commit: bool
    generation: int
    fingerprint: str
    def __init__(self, id: _Optional[bytes] = ..., slot: _Optional[int] = ..., description: _Optional[str] = ..., address: _Optional[str] = ..., donor: _Optional[str] = ..., position: _Optional[int] = ..., has_state: _Optional[bool] = ..., is_in_commit: _Optional[bool] = ..., generation: _Optional[int] = ..., fingerprint: _Optional[str] = ...) -> None: ...

class JoinRequest(_message.Message):
    __slots__ = ("member", "suspects", "known", "wait_seconds", "late")
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    SUSPECTS_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    WAIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LATE_FIELD_NUMBER: _ClassVar[int]
    member: Member
    suspects: _containers.RepeatedScalarFieldContainer[bytes]
    known: _containers.RepeatedScalarFieldContainer[bytes]
    wait_seconds: float
    late: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, member: _Optional[_Union[Member, _Mapping]] = ..., suspects: _Optional[_Iterable[bytes]] = ..., known: _Optional[_Iterable[bytes]] = ..., wait_seconds: _Optional[float] = ..., late: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Generation(_message.Message):
    __slots__ = ("number", "members")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    number: int
    members: _containers.RepeatedCompositeFieldContainer[Member]
    def __init__(self, number: _Optional[int] = ..., members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ...) -> None: ...

class JoinReply(_message.Message):
    __slots__ = ("generation", "donors", "waiting_for", "is_finished")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    DONORS_FIELD_NUMBER: _ClassVar[int]
    WAITING_FOR_FIELD_NUMBER: _ClassVar[int]
    IS_FINISHED_FIELD_NUMBER: _ClassVar[int]
    generation: Generation
    donors: _containers.RepeatedCompositeFieldContainer[Member]
    waiting_for: str
    is_finished: bool
    def __init__(self, generation: _Optional[_Union[Generation, _Mapping]] = ..., donors: _Optional[_Iterable[_Union[Member, _Mapping]]] = ..., waiting_for: _Optional[str] = ..., is_finished: _Optional[bool] = ...) -> None: ...

class BeatRequest(_message.Message):
    __slots__ = ("id", "generation", "position", "donor")
    ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    DONOR_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    generation: int
    position: int
    donor: str
    def __init__(self, id: _Optional[bytes] = ..., generation: _Optional[int] = ..., position: _Optional[int] = ..., donor: _Optional[str] = ...) -> None: ...

class BeatReply(_message.Message):
    __slots__ = ("generation", "is_awaited", "wanted")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    IS_AWAITED_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    generation: int
    is_awaited: bool
    wanted: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, generation: _Optional[int] = ..., is_awaited: _Optional[bool] = ..., wanted: _Optional[_Iterable[int]] = ...) -> None: ...

class LeaveRequest(_message.Message):
    __slots__ = ("id", "is_finished")
    ID_FIELD_NUMBER: _ClassVar[int]
    IS_FINISHED_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    is_finished: bool
    def __init__(self, id: _Optional[bytes] = ..., is_finished: _Optional[bool] = ...) -> None: ...

class LeaveReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
