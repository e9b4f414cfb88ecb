"""Pictures: what is stored comes out, what is broken is named, sizes change without inventing labels."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from polytask.data.images import Blob, decode, read_image, resized, resized_labels, resized_values, stacked
from polytask.errors import PolytaskError

PICTURE = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def encoded(picture: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, **options)
    return file.getvalue()


def blob(contents: list[bytes], head: bytes = b"") -> Blob:
    offset = np.cumsum([0, *map(len, contents)])
    return Blob(np.frombuffer(b"".join(contents), np.uint8), offset, "the set", head)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_lossless_pictures_come_out_as_they_went_in(kind: str) -> None:
    assert np.array_equal(decode(encoded(PICTURE, kind, lossless=True), "a"), PICTURE)


def test_label_maps_keep_their_numbers_and_modes_are_converted() -> None:
    labels = PICTURE[..., 0] % 14
    assert np.array_equal(decode(encoded(labels), "a"), labels)
    deep = PICTURE[..., 0].astype(np.uint16) * 200
    assert np.array_equal(decode(encoded(deep), "a"), deep)  # 16 bits, millimetres for instance
    assert decode(encoded(labels), "a", "RGB").shape == (6, 8, 3)
    assert decode(encoded(PICTURE), "a", "L").shape == (6, 8)
    assert decode(encoded(PICTURE, "JPEG"), "a").shape == PICTURE.shape


def test_a_photo_that_says_it_lies_on_its_side_is_put_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "a.png").write_bytes(encoded(PICTURE, "PNG", exif=exif))
    assert np.array_equal(read_image(tmp_path / "a.png"), np.rot90(PICTURE, -1))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.8])
def test_a_corrupt_picture_is_named(kind: str, keep: float, tmp_path: Path) -> None:
    whole = encoded(np.kron(PICTURE, np.ones((9, 9, 1), np.uint8)), kind)
    cut = whole[: int(keep * len(whole))]
    with pytest.raises(PolytaskError, match=r"picture 1 of the set can't be read as a picture .*copy it again"):
        blob([whole, cut, whole]).stacked([0, 1, 2])
    (tmp_path / "kitchen.png").write_bytes(cut)
    with pytest.raises(PolytaskError, match=r"kitchen\.png can't be read as a picture"):
        read_image(tmp_path / "kitchen.png")
    with pytest.raises(PolytaskError, match=r"nowhere\.png can't be read: No such file"):
        read_image(tmp_path / "nowhere.png")


def test_what_is_no_picture_is_told_without_the_memory_of_the_machine() -> None:
    with pytest.raises(PolytaskError, match=r"notes can't be read as a picture \(it is no picture of a known kind\)"):
        decode(b"dear diary", "notes")
    with pytest.raises(PolytaskError, match=r"\(it is empty\)"):
        decode(b"", "nothing")


def test_a_blob_gives_its_pictures_in_any_order() -> None:
    pictures = [np.roll(PICTURE, k, 0) for k in range(4)]
    contents = [encoded(each) for each in pictures]
    assert len(blob(contents)) == 4
    assert np.array_equal(blob(contents).stacked([3, 0]).numpy(), np.stack([pictures[3], pictures[0]]))
    head = contents[0][:20]
    assert np.array_equal(blob([each[20:] for each in contents], head).picture(2), pictures[2])


def test_pictures_of_different_sizes_are_named() -> None:
    other = PICTURE[:5]
    with pytest.raises(PolytaskError, match=r"a is 6 x 8 with 3 channels, c is 5 x 8 with 3 channels; bring all"):
        stacked([PICTURE, PICTURE, other, other[:3]], ["a", "b", "c", "d"])
    with pytest.raises(PolytaskError, match="picture 0 of the set is 6 x 8 with 3 channels, picture 1 of"):
        blob([encoded(PICTURE), encoded(PICTURE[..., 0])]).stacked(range(2))


def test_shrinking_takes_the_mean_of_the_area() -> None:
    images = torch.from_numpy(PICTURE).permute(2, 0, 1)[None]
    means = images.double().reshape(1, 3, 3, 2, 4, 2).mean((3, 5))
    found = resized(images, (3, 4))
    assert found.dtype == torch.uint8 and (found.double() - means).abs().max() <= 0.5 + 1e-6
    torch.testing.assert_close(resized(images.float(), (3, 4)).double(), means)
    assert resized(images, (6, 8)) is images
    assert resized(images, (12, 16)).shape == (1, 3, 12, 16)
    assert torch.equal(resized(torch.full((1, 1, 6, 8), 7, dtype=torch.uint8), (9, 5)).unique(), torch.tensor([7]))


def test_labels_are_taken_never_mixed() -> None:
    labels = torch.tensor([[[0, 0, 5, 5], [0, 0, 5, 5], [-100, -100, 9, 9]]], dtype=torch.int8)
    assert resized_labels(labels, (3, 2)).tolist() == [[[0, 5], [0, 5], [-100, 9]]]
    assert torch.equal(resized_labels(labels.repeat_interleave(2, 1).repeat_interleave(2, 2), (3, 4)), labels)
    assert set(resized_labels(labels, (7, 9)).unique().tolist()) == {-100, 0, 5, 9}


def test_missing_numbers_do_not_count() -> None:
    values = torch.rand(1, 2, 4, 6)
    torch.testing.assert_close(resized_values(values, (2, 3)), resized(values, (2, 3)))
    values[0, 0, 0, :2], values[0, 0, 2:, 2:4] = torch.nan, torch.nan
    values[0, 0, 3, 3] = 5.0
    found = resized_values(values, (2, 3))
    torch.testing.assert_close(found[0, 0, 0, 0], values[0, 0, 1, :2].mean())  # half of them are there
    assert found[0, 0, 1, 1].isnan()  # one in four is
    assert not found[0, 1].isnan().any()
    assert resized_values(values, (4, 6)) is values
