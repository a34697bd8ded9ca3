"""The reader of pictures: every mode against the array its file was made from, and folders as people have them."""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from sdi_bench import picture_files
from sdi_bench.picture_files import FIRST, PROFILED, TRANSPARENT, UNPROFILED, key_of, read, read_folder

RNG = np.random.default_rng(0)
WIDE = RNG.integers(0, 65536, (5, 7, 4), dtype=np.uint16)
BYTES = (WIDE >> 8).astype(np.uint8)
GREY = BYTES[..., 0]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(path: Path, rows: list[bytes], width: int, bits: int, kind: int, *extra: bytes) -> None:
    """As the PNG specification has it (kind 0 grey, 2 colour, 4 grey and alpha, 6 colour and alpha), no filter."""
    head = struct.pack(">IIBBBBB", width, len(rows), bits, kind, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [chunk(b"IHDR", head), *extra, chunk(b"IDAT", body), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def png16(path: Path, array: np.ndarray, kind: int, *extra: bytes) -> None:
    png(path, [row.astype(">u2").tobytes() for row in array], array.shape[1], 16, kind, *extra)


def pixels(path: Path) -> np.ndarray:
    """What the reader gives, [h, w, 3] in [0, 1]."""
    return (read(path).pixels.transpose(1, 2, 0) + 1) / 2


def same(found: np.ndarray, want: np.ndarray, atol: float = 1e-12) -> None:
    """In [0, 1], grey as three equal channels; 1e-12 is float64's rounding, far below the 1.5e-5 of 16 bits."""
    np.testing.assert_allclose(found, np.broadcast_to(want, found.shape), rtol=0, atol=atol)


def on_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return colour * alpha + (1 - alpha)


# ------------------------------------------------------------------------------------------------------ 16 bits a channel


def test_sixteen_bits_a_channel_are_kept(tmp_path) -> None:
    path, exact = tmp_path / "a.png", WIDE / 65535
    png16(path, WIDE[..., :1], 0)
    same(pixels(path), exact[..., :1])
    png16(path, WIDE[..., :3], 2)
    same(pixels(path), exact[..., :3])
    assert np.abs(np.asarray(Image.open(path)) / 255 - exact[..., :3]).max() > 1e-3  # Pillow alone keeps eight of them
    png16(path, WIDE[..., :2], 4)
    same(pixels(path), on_white(exact[..., :1], exact[..., 1:2]))
    png16(path, WIDE, 6)
    same(pixels(path), on_white(exact[..., :3], exact[..., 3:]))


def test_a_transparent_colour_of_sixteen_bits_is_white(tmp_path) -> None:
    for kind, array in ((0, WIDE[..., :1].copy()), (2, WIDE[..., :3].copy())):
        array[3, 2] = array[0, 0]
        want = array / 65535
        want[0, 0] = want[3, 2] = 1
        png16(tmp_path / "a.png", array, kind, chunk(b"tRNS", array[0, 0].astype(">u2").tobytes()))
        same(pixels(tmp_path / "a.png"), want)
        assert read(tmp_path / "a.png").remarks == (TRANSPARENT,)


def tiff(path: Path, array: np.ndarray, order: str, photometric: int, **tags: object) -> None:
    """Uncompressed, one strip. order: < or >. tags: further ones, by the names below."""
    height, width, n = array.shape
    data, bits = array.astype(array.dtype.newbyteorder(order)).tobytes(), 8 * array.dtype.itemsize
    known = {"planes": 284, "format": 339, "extra": 338, "orientation": 274}
    entries: dict[int, tuple[int, ...]] = {256: (width,), 257: (height,), 258: (bits,) * n, 259: (1,), 262: (photometric,)}
    entries |= {277: (n,), 278: (height,)} | {known[name]: value for name, value in tags.items()}  # type: ignore[misc]
    count = len(entries) + 2
    long_at = 8 + 2 + 12 * count + 4
    longs, body = b"", b""
    for tag in sorted([*entries, 273, 279]):
        values, kind = entries.get(tag), 3
        if tag in (273, 279):
            total = long_at + sum(2 * len(v) for v in entries.values() if len(v) > 2)
            values, kind = ((total,) if tag == 273 else (len(data),)), 4
        assert values is not None
        packed = struct.pack(f"{order}{len(values)}{'HI'[kind == 4]}", *values)
        if len(packed) > 4:
            packed, longs = struct.pack(f"{order}I", long_at + len(longs)), longs + packed
        body += struct.pack(f"{order}HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    mark = b"II" if order == "<" else b"MM"
    path.write_bytes(mark + struct.pack(f"{order}HIH", 42, 8, count) + body + bytes(4) + longs + data)


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_in_both_byte_orders(tmp_path, order: str) -> None:
    path = tmp_path / "a.tif"
    for array, photometric, want in (
        (WIDE[..., :1], 1, WIDE[..., :1] / 65535),
        (WIDE[..., :1], 0, 1 - WIDE[..., :1] / 65535),  # white is zero, which Pillow heeds in 8 bits only
        (BYTES[..., :1], 0, 1 - BYTES[..., :1] / 255),
        (WIDE[..., :3], 2, WIDE[..., :3] / 65535),
        (BYTES[..., :3], 2, BYTES[..., :3] / 255),
    ):
        if (order, photometric, array.dtype) != (">", 0, np.dtype(np.uint16)):  # Pillow does not open that one
            tiff(path, array, order, photometric)
            same(pixels(path), want)
    tiff(path, WIDE, order, 2, extra=(2,))
    same(pixels(path), on_white(WIDE[..., :3] / 65535, WIDE[..., 3:] / 65535))
    tiff(path, WIDE[..., :3], order, 2, orientation=(6,))  # Pillow turns a TIFF itself: once is enough
    same(pixels(path), np.rot90(WIDE[..., :3] / 65535, -1))


def test_a_compressed_tiff(tmp_path) -> None:
    for array in (WIDE[..., 0], BYTES[..., 0], BYTES[..., :3], BYTES):
        Image.fromarray(array).save(tmp_path / "a.tif", compression="tiff_lzw")
        whole = array / (65535 if array.dtype == np.uint16 else 255)
        want = on_white(whole[..., :3], whole[..., 3:]) if array.shape[2:] == (4,) else whole.reshape(5, 7, -1)
        same(pixels(tmp_path / "a.tif"), want)


def test_floats_from_0_to_1_are_read_and_others_refused(tmp_path) -> None:
    values = RNG.random((5, 7)).astype(np.float32)
    Image.fromarray(values).save(tmp_path / "a.tif")
    same(pixels(tmp_path / "a.tif"), values[..., None].astype(np.float64))
    for factor in (255, np.nan):
        Image.fromarray(values * np.float32(factor)).save(tmp_path / "a.tif")
        with pytest.raises(ValueError, match=r"floats from .* to .*; 0, black, to 1, white, are read"):
            read(tmp_path / "a.tif")


def test_what_pillow_would_misread_is_refused(tmp_path) -> None:
    path = tmp_path / "a.tif"
    tiff(path, WIDE[..., :3], "<", 2, planes=(2,))
    with pytest.raises(ValueError, match="its channels apart"):
        read(path)
    for array in (BYTES[..., :1], WIDE[..., :1]):
        tiff(path, array, "<", 1, format=(2,))
        with pytest.raises(ValueError, match="integers with a sign or of 32 bits"):
            read(path)
    Image.fromarray(WIDE[..., 0].astype(np.int32)).save(path)
    with pytest.raises(ValueError, match="integers with a sign or of 32 bits"):
        read(path)


# -------------------------------------------------------------------------------------------------------- 8 bits and less


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".tiff", ".bmp", ".ppm", ".gif", ".webp", ".tga", ".pcx", ".jp2", ".qoi"])
def test_grey_and_colour_without_loss(tmp_path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    more = {"lossless": True} if suffix == ".webp" else {}
    for array in (BYTES[..., :3], GREY):
        if suffix == ".qoi" and array.ndim == 2:  # has no grey
            continue
        colours = array if suffix != ".gif" else array // 64 * 85  # fits 256 of them
        Image.fromarray(colours).save(path, **more)
        same(pixels(path), colours.reshape(5, 7, -1) / 255)
        assert read(path).remarks == ()


@pytest.mark.parametrize("suffix", [".jpg", ".JPE", ".jfif", ".jpeg", ".avif", ".pgm", ".pnm"])
def test_other_suffixes(tmp_path, suffix: str) -> None:
    flat = np.full((16, 16), 77, np.uint8)
    Image.fromarray(flat).save(tmp_path / f"a{suffix}")
    same(pixels(tmp_path / f"a{suffix}"), flat[..., None] / 255, 1.01 / 255)
    assert suffix.lower() in picture_files.suffixes()


def test_alpha_is_put_on_white(tmp_path) -> None:
    whole = BYTES / 255
    for mode, array in (("RGBA", BYTES), ("LA", BYTES[..., 2:])):
        Image.fromarray(array, mode).save(tmp_path / "a.png")
        want = on_white(array[..., :-1] / 255, array[..., -1:] / 255)
        same(pixels(tmp_path / "a.png"), want)
        assert read(tmp_path / "a.png").remarks == (TRANSPARENT,)
    Image.fromarray(np.dstack([BYTES[..., :3], np.full((5, 7), 255, np.uint8)])).save(tmp_path / "a.png")
    same(pixels(tmp_path / "a.png"), whole[..., :3])
    assert read(tmp_path / "a.png").remarks == ()  # nothing shines through


def test_palettes(tmp_path) -> None:
    table = BYTES[..., :3].reshape(-1, 3)
    index = RNG.integers(0, len(table), (5, 7)).astype(np.uint8)
    picture = Image.fromarray(index)
    picture.putpalette(table.tobytes())
    picture.save(tmp_path / "a.png")
    same(pixels(tmp_path / "a.png"), table[index] / 255)
    picture.save(tmp_path / "one.png", transparency=int(index[0, 0]))
    shine = (index != index[0, 0])[..., None].astype(float)
    same(pixels(tmp_path / "one.png"), on_white(table[index] / 255, shine))
    picture.save(tmp_path / "all.png", transparency=bytes(range(0, 7 * len(table), 7)))
    same(pixels(tmp_path / "all.png"), on_white(table[index] / 255, 7 * index[..., None] / 255))
    picture.save(tmp_path / "a.gif", transparency=int(index[0, 0]))
    same(pixels(tmp_path / "a.gif"), on_white(table[index] / 255, shine))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_greys_of_few_bits_and_their_transparent_one(tmp_path, bits: int) -> None:
    """Pillow scales the pixels of 2 and 4 bits, and not the transparent grey."""
    values = np.arange(8) % 2**bits
    row = int("".join(f"{v:0{bits}b}" for v in values), 2).to_bytes(bits, "big")
    png(tmp_path / "a.png", [row], 8, bits, 0)
    same(pixels(tmp_path / "a.png"), values[None, :, None] / (2**bits - 1))
    png(tmp_path / "b.png", [row], 8, bits, 0, chunk(b"tRNS", struct.pack(">H", 1)))
    same(pixels(tmp_path / "b.png"), np.where(values == 1, 1, values / (2**bits - 1))[None, :, None])


def test_a_transparent_colour(tmp_path) -> None:
    rows = [row.tobytes() for row in BYTES[..., :3]]
    png(tmp_path / "a.png", rows, 7, 8, 2, chunk(b"tRNS", BYTES[0, 0, :3].astype(">u2").tobytes()))
    want = BYTES[..., :3] / 255
    want[0, 0] = 1
    same(pixels(tmp_path / "a.png"), want)


def test_cmyk_is_the_ink_on_white(tmp_path) -> None:
    Image.fromarray(BYTES, "CMYK").save(tmp_path / "a.tif")
    ink = BYTES / 255
    same(pixels(tmp_path / "a.tif"), (1 - ink[..., :3]) * (1 - ink[..., 3:]), 1 / 255)  # Pillow rounds to 8 bits


def test_lab_is_cielab(tmp_path) -> None:
    """A grey of L* = 53.3 is 127 of 255 in sRGB (IEC 61966-2-1)."""
    Image.new("LAB", (2, 2), (136, 128, 128)).save(tmp_path / "a.tif")
    y = ((136 / 255 * 100 + 16) / 116) ** 3
    same(pixels(tmp_path / "a.tif"), np.array([1.055 * y ** (1 / 2.4) - 0.055]), 1 / 255)


# ----------------------------------------------------------------------------------------- orientation, profiles, frames


UPRIGHT = {
    **{1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: np.rot90(a, 2), 4: lambda a: a[::-1]},
    **{5: lambda a: np.swapaxes(a, 0, 1), 6: lambda a: np.rot90(a, -1)},
    **{7: lambda a: np.swapaxes(np.rot90(a, 2), 0, 1), 8: lambda a: np.rot90(a, 1)},
}
"""EXIF 2.32, tag 274: 6 is to be turned clockwise by 90 degrees, 8 the other way; 2, 4, 5, 7 are mirrored."""


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg"])
def test_pictures_stand_upright(tmp_path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    blocks = np.kron(np.array([[0, 80, 255], [160, 255, 30]], np.uint8), np.ones((16, 16), np.uint8))
    more = {"quality": 100} | ({"lossless": True} if suffix == ".webp" else {})
    Image.fromarray(blocks).save(tmp_path / f"a{suffix}", exif=exif, **more)
    same(pixels(tmp_path / f"a{suffix}"), UPRIGHT[orientation](blocks)[..., None] / 255, 4 / 255)


def test_sixteen_bits_stand_upright_too(tmp_path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    png16(tmp_path / "a.png", WIDE[..., :3], 2, chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))
    same(pixels(tmp_path / "a.png"), np.rot90(WIDE[..., :3], -1) / 65535)


def profile(columns: list[int], gamma: float = 2.2, space: bytes = b"RGB ") -> bytes:
    """An ICC profile (version 2): sRGB's primaries in this order, one gamma. Its numbers are the specification's s15Fixed16."""

    def xyz(*values: float) -> bytes:
        return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(v * 65536) for v in values))

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    name = b"a test"
    desc = b"desc" + bytes(4) + struct.pack(">I", len(name) + 1) + name + bytes(1 + 4 + 4 + 2 + 1 + 67)
    primaries = [(0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)]
    tags = {b"desc": desc, b"cprt": b"text" + bytes(4) + b"none\0", b"wtpt": xyz(0.9642, 1, 0.8249)}
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        for tag, place in zip("rgb", columns, strict=True):
            tags |= {f"{tag}XYZ".encode(): xyz(*primaries[place]), f"{tag}TRC".encode(): curve}
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for tag, value in tags.items():
        value += bytes(-len(value) % 4)
        table += tag + struct.pack(">II", start + len(body), len(value))
        body += value
    whole = struct.pack(">I", len(tags)) + table + body
    date = struct.pack(">6H", 2020, 1, 1, 0, 0, 0)
    head = struct.pack(">I4s4s4s4s4s", 128 + len(whole), bytes(4), b"\x02\x10\0\0", b"mntr", space, b"XYZ ") + date
    head += b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)  # where it points is D50
    return head + bytes(128 - len(head)) + whole


def srgb(linear: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def test_colours_of_another_profile_are_converted(tmp_path) -> None:
    """In a profile whose first primary is sRGB's green, red is green."""
    for array in (BYTES[..., :3], WIDE[..., :3]):
        want = srgb((array / np.iinfo(array.dtype).max) ** 2.2)[..., [2, 0, 1]]
        icc = profile([1, 2, 0])
        if array.dtype == np.uint8:
            Image.fromarray(array).save(tmp_path / "a.png", icc_profile=icc)
        else:
            png16(tmp_path / "a.png", array, 2, chunk(b"iCCP", b"x\0\0" + zlib.compress(icc)))
        same(pixels(tmp_path / "a.png"), want, 3 / 255)  # two roundings to 8 bits, of a slope up to 2
        assert read(tmp_path / "a.png").remarks == (PROFILED,)
    Image.fromarray(GREY).save(tmp_path / "grey.png", icc_profile=profile([], 1.8, b"GRAY"))
    same(pixels(tmp_path / "grey.png"), srgb((GREY / 255) ** 1.8)[..., None], 3 / 255)


def test_srgb_and_broken_profiles_leave_the_bits(tmp_path) -> None:
    standard = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for icc, remarks in ((standard, ()), (b"no profile at all", (UNPROFILED,)), (profile([], 1.0, b"GRAY"), (UNPROFILED,))):
        Image.fromarray(BYTES[..., :3]).save(tmp_path / "a.png", icc_profile=icc)
        same(pixels(tmp_path / "a.png"), BYTES[..., :3] / 255)
        assert read(tmp_path / "a.png").remarks == remarks


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif"])
def test_of_several_frames_the_first_is_read(tmp_path, suffix: str) -> None:
    frames = [Image.fromarray(np.full((4, 4, 3), value, np.uint8)) for value in (51, 204, 0)]
    more = {"lossless": True} if suffix == ".webp" else {}
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:], **more)
    same(pixels(tmp_path / f"a{suffix}"), np.array([0.2]))
    assert read(tmp_path / f"a{suffix}").remarks == (FIRST,)


# ---------------------------------------------------------------------------------------------------------------- folders


def said(folder: Path, **more: bool) -> tuple[picture_files.Folder, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = read_folder(folder, "folder", **more)
    return found, [str(warning.message) for warning in caught]


def test_helpers_are_left_out_quietly_and_what_is_broken_by_name(tmp_path) -> None:
    whole = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(whole, "PNG")
    for name in ("a.png", "b.JPEG", "._a.png", ".hidden.png"):  # a picture is what its bytes say
        (tmp_path / name).write_bytes(whole.getvalue())
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "a.txt", "metadata.jsonl", "captions.CSV"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "cut.png").write_bytes(whole.getvalue()[:3000])
    (tmp_path / "flipped.png").write_bytes(whole.getvalue().replace(b"IDAT", b"IDAX", 1))
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.png").write_bytes(b"no picture")
    (tmp_path / "film.mp4").write_bytes(b"x")
    vast = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(b""))
    (tmp_path / "vast.png").write_bytes(b"\x89PNG\r\n\x1a\n" + vast + chunk(b"IEND", b""))
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "linked.png").symlink_to(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    found, lines = said(tmp_path)
    assert [found.names[i] for i in found.read] == ["a.png", "b.JPEG", "linked.png"]
    assert found.images.shape == (3, 3, 64, 64)
    assert len(lines) == 1 and "8 of 11 files left out" in lines[0]
    for name in ("cut.png (", "flipped.png (", "empty.jpg (empty)", "text.png (not a picture", "film.mp4 (no picture)"):
        assert name in lines[0]
    for name in ("vast.png (more than 89,478,485 pixels)", "gone.png (no such file)", "pipe.png (no file)"):
        assert name in lines[0]


def test_what_was_done_to_pictures_is_said_once(tmp_path) -> None:
    for i in range(3):
        Image.fromarray(BYTES).save(tmp_path / f"{i}.png")
    _, lines = said(tmp_path)
    assert lines == [f"folder={str(tmp_path)!r}: 3 of 3 pictures with transparency, put on white, as 0.png"]


def test_subfolders_are_read_where_that_is_asked_for(tmp_path) -> None:
    for name in ("cats/1.png", "cats/deep/2.PNG", ".trash/3.png", "__MACOSX/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(GREY).save(tmp_path / name)
    (tmp_path / "cats" / "again").symlink_to(tmp_path)  # a link that leads back
    with pytest.raises(ValueError, match="recursive=true would find 2 in the folders inside it"):
        read_folder(tmp_path, "folder")
    found, lines = said(tmp_path, recursive=True)
    assert found.names == ("cats/1.png", "cats/deep/2.PNG") and not lines
    Image.fromarray(GREY).save(tmp_path / "0.png")
    found, lines = said(tmp_path)
    assert found.names == ("0.png",) and "recursive=true would find 2" in lines[0]


def test_a_folder_of_nothing_that_can_be_read_is_refused(tmp_path) -> None:
    (tmp_path / "a.heic").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"holds neither a finished run .* it holds a.heic"):
        read_folder(tmp_path, "real")
    (tmp_path / "a.png").write_bytes(b"x")
    wanted = pytest.raises(ValueError, match=r"real=.*: none of its 1 pictures can be read: a.png \(not a picture")
    with wanted, pytest.warns(UserWarning, match="2 of 2 files left out"):
        read_folder(tmp_path, "real")


def test_mixed_sizes_and_modes_make_one_set(tmp_path) -> None:
    Image.fromarray(GREY).save(tmp_path / "10.png")
    Image.fromarray(BYTES[:3, :4, :3]).save(tmp_path / "9.png")
    found, _ = said(tmp_path)
    assert found.names == ("9.png", "10.png")  # by value
    assert found.images.dtype == object and [image.shape for image in found.images] == [(3, 3, 4), (3, 5, 7)]
    same(found.images[1].transpose(1, 2, 0), GREY[..., None] / 127.5 - 1)


def test_names_are_paired_by_the_value_of_numbers() -> None:
    for one, other in (
        *(("7.png", "007.JPG"), ("a_1_b_02.png", "a_01_b_2.webp"), ("d/03.png", "d/3.png"), ("é.png", "é.png")),
        *(("x", "x.png"), ("a.b.png", "a.b.jpg")),
    ):
        assert key_of(one) == key_of(other), (one, other)
    for one, other in (("g1.05.png", "g1.5.png"), ("a1.png", "a2.png"), ("d/1.png", "e/1.png"), ("1.png", "A1.png")):
        assert key_of(one) != key_of(other), (one, other)
    assert sorted(["b10", "b9", "a", "10", "9"], key=key_of) == ["9", "10", "a", "b9", "b10"]
