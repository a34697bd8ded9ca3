"""Every file that ships is what SHA256SUMS says, and a flipped byte in any of them is one line that names it."""

import subprocess

import pytest

from sdi_bench.data import shipped


@pytest.mark.parametrize("name", sorted(shipped.sums()))
def test_a_flipped_byte_is_named(name: str, monkeypatch, tmp_path) -> None:
    check = shipped.shipped.__wrapped__
    assert check(name) == shipped.HERE / name
    damaged = tmp_path / name
    damaged.parent.mkdir(parents=True, exist_ok=True)
    content = bytearray((shipped.HERE / name).read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    monkeypatch.setattr(shipped, "HERE", tmp_path)
    with pytest.raises(ValueError, match=f"{name}: damaged, its sha256 is [0-9a-f]{{12}}…; install the package anew") as error:
        check(name)
    assert "\n" not in str(error.value)
    damaged.unlink()
    with pytest.raises(ValueError, match=f"{name}: missing"):
        check(name)


def test_every_shipped_file_is_in_the_list_and_the_list_is_what_sha256sum_reads() -> None:
    kinds = {".npz", ".webp", ".gz", ".safetensors", ".txt", ".json", ".yaml"}
    there = {
        path.relative_to(shipped.HERE).as_posix()
        for path in shipped.HERE.rglob("*")
        if path.suffix in kinds or path.name == "DIGEST"
    }
    assert there == set(shipped.sums())
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=shipped.HERE, check=True)
