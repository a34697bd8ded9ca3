"""mesh.glb as any reader of glTF 2.0 sees it: its chunks taken apart by hand, colours brought back to the screen's by hand."""

import json
import struct
from typing import Any

import numpy as np
import pytest

pytest.importorskip("trimesh", reason="the extra mesh is not installed")

import trimesh

from sdi_bench.export import glb

BYTES = np.array([[0, 10, 11], [255, 128, 1], [3, 64, 200], [254, 12, 90]], dtype=np.uint8)
"""As shown; on both sides of the curve's straight part, which ends at 10.3."""


def tetrahedron() -> Any:
    corners = [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    return trimesh.Trimesh(corners, [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], vertex_colors=BYTES, process=False)


def opened(content: bytes) -> tuple[dict[str, Any], bytes]:
    """(JSON, binary chunk): glTF 2.0, section 4.4."""
    magic, version, length = struct.unpack("<4sII", content[:12])
    assert (magic, version, length) == (b"glTF", 2, len(content))
    size, kind = struct.unpack("<I4s", content[12:20])
    assert kind == b"JSON"
    more, second = struct.unpack("<I4s", content[20 + size : 28 + size])
    assert second == b"BIN\0" and 28 + size + more == length
    return json.loads(content[20 : 20 + size]), content[28 + size :]


def accessed(content: bytes, name: str) -> np.ndarray:
    """An attribute of the only primitive; integers, where normalised, as what they stand for."""
    tree, binary = opened(content)
    accessor = tree["accessors"][tree["meshes"][0]["primitives"][0]["attributes"][name]]
    view = tree["bufferViews"][accessor["bufferView"]]
    kind = {5121: np.uint8, 5123: np.uint16, 5126: np.float32}[accessor["componentType"]]
    columns = {"VEC3": 3, "VEC4": 4}[accessor["type"]]
    start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    found = np.frombuffer(binary, kind, accessor["count"] * columns, start).reshape(-1, columns)
    return found / np.iinfo(kind).max if accessor.get("normalized") else found.astype(np.float64)


def on_a_screen(linear: np.ndarray) -> np.ndarray:
    """Light to bytes, sRGB's transfer function (IEC 61966-2-1)."""
    return np.array([[255 * (12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055) for v in row] for row in linear])


def test_colours_are_linear_and_come_out_as_they_are_shown() -> None:
    content = glb(tetrahedron())
    np.testing.assert_allclose(
        on_a_screen(accessed(content, "COLOR_0")[:, :3]), BYTES, atol=0.01
    )  # the curve has two constants
    assert accessed(content, "COLOR_0")[1, 1] == pytest.approx(0.2158605, abs=1e-6)  # of 128, as tables of sRGB have it
    np.testing.assert_array_equal(accessed(content, "POSITION"), tetrahedron().vertices)


def test_bytes_as_they_are_shown_would_be_noticed() -> None:
    """The fault that was: trimesh's own file."""
    content = tetrahedron().export(file_type="glb")
    assert np.abs(on_a_screen(accessed(content, "COLOR_0")[:, :3]) - BYTES).max() > 50
    assert "material" not in opened(content)[0]["meshes"][0]["primitives"][0]


def test_it_is_no_metal() -> None:
    tree, _ = opened(glb(tetrahedron()))
    (part,) = tree["meshes"][0]["primitives"]
    assert tree["materials"][part["material"]]["pbrMetallicRoughness"] == {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    assert not any(name.startswith("_") for name in part["attributes"])


def test_other_files_hold_what_is_shown(tmp_path) -> None:
    for kind in ("ply", "obj"):
        tetrahedron().export(tmp_path / f"a.{kind}")
        again = trimesh.load(tmp_path / f"a.{kind}", process=False)
        np.testing.assert_array_equal(again.visual.vertex_colors[:, :3], BYTES)
