import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def without_json_names(messages):
    """The compiler may leave them out."""
    for message in messages:
        for field in message.field:
            field.ClearField("json_name")
        without_json_names(message.nested_type)


@pytest.mark.spawn
@pytest.mark.parametrize("name", ["cluster", "summary"])
def test_generated_python_is_fresh(tmp_path, name):
    pytest.importorskip("grpc_tools")
    from google.protobuf import descriptor_pb2

    module = importlib.import_module(f"distflow.protos.{name}_pb2")
    out = tmp_path / "set.bin"
    command = [sys.executable, "-m", "grpc_tools.protoc", "-Idistflow/protos=protos"]
    command += [f"--descriptor_set_out={out}", f"distflow/protos/{name}.proto"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)
    fresh = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file[0]
    without_json_names(fresh.message_type)
    committed = descriptor_pb2.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(committed)
    without_json_names(committed.message_type)
    assert committed == fresh


def test_nothing_in_the_room_unpickles():
    forbidden = ("pickle", "marshal", "shelve", "eval(", "exec(")
    for path in (ROOT / "distflow" / "cluster").rglob("*.py"):
        text = path.read_text()
        assert not [word for word in forbidden if word in text], path
