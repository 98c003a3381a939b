import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.spawn
def test_generated_python_is_fresh(tmp_path):
    pytest.importorskip("grpc_tools")
    from google.protobuf import descriptor_pb2

    from distflow.protos import cluster_pb2

    out = tmp_path / "set.bin"
    command = [sys.executable, "-m", "grpc_tools.protoc", "-Idistflow/protos=protos"]
    command += [f"--descriptor_set_out={out}", "distflow/protos/cluster.proto"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)
    fresh = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file[0]
    for message in fresh.message_type:
        for field in message.field:
            field.ClearField("json_name")
    committed = descriptor_pb2.FileDescriptorProto()
    cluster_pb2.DESCRIPTOR.CopyToProto(committed)
    for message in committed.message_type:
        for field in message.field:
            field.ClearField("json_name")
    assert committed == fresh


def test_nothing_in_the_room_unpickles():
    forbidden = ("pickle", "marshal", "shelve", "eval(", "exec(")
    for path in (ROOT / "distflow" / "cluster").rglob("*.py"):
        text = path.read_text()
        assert not [word for word in forbidden if word in text], path
