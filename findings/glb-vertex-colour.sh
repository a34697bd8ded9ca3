#!/usr/bin/env bash
# A mesh with vertex colours leaves trimesh as a GLB that conforming viewers show too bright, and as bare metal.
#
# Expected: glTF 2.0, section "Metallic-Roughness Material": COLOR_0 is a LINEAR multiplier of the base colour; a primitive
#   without a material gets the default one, whose metallicFactor is 1. An exporter from 8-bit display colours (trimesh's are:
#   its PLY and OBJ files carry them as they stand) has to convert and to name a material.
# What happens: the bytes are copied. Mid-grey 128 is stored as linear 0.502, which a conforming viewer displays as 188. No
#   material is written, so the surface is a rough metal, which is dark where the viewer has no surroundings to mirror: two
#   errors in opposite directions. Reading the file back with trimesh returns 128, so a round trip does not show it.
# Versions: trimesh 5.2.0, numpy 2.4.6.
# Why it matters here: text-to-3D results are exported with vertex colours and judged by eye or by re-rendering in another tool;
#   the colours measured there are not those that were optimised.
# What to do instead: convert to linear before the export (16 bits keep the dark tones) and attach a PBRMaterial with
#   metallicFactor=0, or bake a texture, which glTF defines as sRGB.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet trimesh==5.2.0 numpy==2.4.6

"$work/venv/bin/python" - <<'PY'
import io
import json
import struct
import sys
import numpy as np
import trimesh

mesh = trimesh.Trimesh(vertices=[[0, 0, 0], [1, 0, 0], [0, 1, 0]], faces=[[0, 1, 2]], process=False)
mesh.visual.vertex_colors = np.full((3, 4), [128, 128, 128, 255], dtype=np.uint8)
glb = mesh.export(file_type="glb")
(length,) = struct.unpack_from("<I", glb, 12)  # of the JSON chunk, which starts at byte 20; 8 more bytes head the binary one
tree = json.loads(glb[20 : 20 + length])
(primitive,) = tree["meshes"][0]["primitives"]
accessor = tree["accessors"][primitive["attributes"]["COLOR_0"]]
start = 28 + length + tree["bufferViews"][accessor["bufferView"]].get("byteOffset", 0) + accessor.get("byteOffset", 0)
stored = list(glb[start : start + 4])
shown = round(255 * (1.055 * (stored[0] / 255) ** (1 / 2.4) - 0.055))
again = trimesh.load(io.BytesIO(glb), file_type="glb", force="mesh").visual.vertex_colors[0].tolist()
print(f"COLOR_0 of display colour 128: {stored}, normalised {accessor['normalized']}; read as linear it is shown as {shown}")
print(f"material of the primitive: {primitive.get('material')}; materials in the file: {tree.get('materials')}")
print(f"read back by trimesh: {again}")
if (stored, shown, again) != ([128, 128, 128, 255], 188, [128, 128, 128, 255]) or accessor["componentType"] != 5121:
    sys.exit(f"changed: stored {stored}, shown {shown}, read back {again}")
if "material" in primitive or "materials" in tree:
    sys.exit(f"changed: a material is written, {tree.get('materials')}")
PY
