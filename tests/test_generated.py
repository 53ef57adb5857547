"""Generated code is committed and is what `make proto` makes of the .proto files beside it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
WIRE = ROOT / "node" / "chordial_node" / "wire"


def test_the_committed_protobuf_code_is_what_the_definitions_give(tmp_path: Path) -> None:
    definitions = sorted(str(path) for path in WIRE.glob("*.proto"))
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"--proto_path={ROOT / 'node'}",
            *outputs,
            *definitions,
        ],
        check=True,
    )
    made = {path.name: path.read_text() for path in tmp_path.rglob("*_pb2*")}
    committed = {path.name: path.read_text() for path in WIRE.glob("*_pb2*")}
    assert made == committed, "run make proto, and commit what it makes"
