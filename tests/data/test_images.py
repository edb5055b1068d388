"""MNIST's files, written here byte by byte."""

import gzip

import numpy as np
import pytest

from jaxdyn import data
from jaxdyn.data._idx import read_idx

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 4, 5), dtype=np.uint8)
LABELS = np.arange(40, dtype=np.uint8) * 7 % 10


def idx(array, magic=None):
    header = [2048 + array.ndim if magic is None else magic, *array.shape]
    return b"".join(int(number).to_bytes(4, "big") for number in header) + array.tobytes()


def fill(folder, images=None, labels=None, image_name="train-images-idx3-ubyte", label_name="train-labels-idx1-ubyte"):
    for name, content in ((image_name, idx(IMAGES) if images is None else images), (label_name, idx(LABELS) if labels is None else labels)):
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return folder


@pytest.mark.parametrize(
    ("image_name", "label_name", "split"),
    [
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "train"),
        ("train-images.idx3-ubyte", "train-labels-idx1-ubyte.gz", "train"),
        ("t10k-images.idx3-ubyte.gz", "t10k-labels.idx1-ubyte", "test"),
    ],
)
def test_the_two_digits_are_read_centred_and_scaled(tmp_path, image_name, label_name, split):
    got = data.mnist(str(fill(tmp_path, image_name=image_name, label_name=label_name)), 3, 8, split=split)
    kept = [k for k in range(40) if LABELS[k] in (3, 8)]
    np.testing.assert_array_equal(got.y, [-1 if LABELS[k] == 3 else 1 for k in kept])
    rows = np.array([[float(value) for line in IMAGES[k] for value in line] for k in kept])
    rows = rows - sum(rows) / len(rows)
    np.testing.assert_allclose(got.x, rows / np.sqrt(np.mean([row @ row for row in rows])), rtol=1e-13, atol=1e-15)
    few = data.mnist(tmp_path, 3, 8, 4, split)
    np.testing.assert_array_equal(few.y, got.y[:4])
    np.testing.assert_allclose(few.x.sum(axis=0), 0.0, atol=1e-14)
    assert few.name == "mnist_3_8"


def test_files_of_many_pieces(tmp_path):
    images = np.random.default_rng(1).integers(0, 256, (90, 300, 200), dtype=np.uint8)  # 17 images a piece
    fill(tmp_path, idx(images), image_name="train-images-idx3-ubyte.gz")
    kept = np.array([0, 16, 17, 50, 89])
    np.testing.assert_array_equal(read_idx(tmp_path, "train-images", 3, 90, kept), images[kept])
    np.testing.assert_array_equal(read_idx(tmp_path, "train-images", 3), images)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"images": idx(IMAGES)[:-1]}, "images-idx3-ubyte is shorter than its header says"),
        ({"images": idx(IMAGES)[:10]}, "images-idx3-ubyte ends within its header"),
        ({"images": b""}, "ends within its header"),
        ({"images": idx(IMAGES) + b"\0"}, "images-idx3-ubyte is longer than its header says"),
        ({"images": idx(IMAGES, magic=2052)}, "begins with 2052, not with 2051"),
        ({"images": idx(LABELS)}, "begins with 2049, not with 2051"),
        ({"images": idx(IMAGES[:39])}, "39 items for 40 labels; take both files from the same set"),
        ({"images": idx(IMAGES[:, :0])}, "holds nothing"),
        ({"images": b"\0\0\x08\x03\0\0\0\x28" + b"\xff" * 12}, "shorter than its header says"),
        ({"labels": idx(LABELS)[:-3]}, "labels-idx1-ubyte is shorter"),
        ({"labels": idx(LABELS) + b"abc"}, "labels-idx1-ubyte is longer"),
        ({"labels": idx(LABELS[:39])}, "40 items for 39 labels"),
        ({"labels": idx(LABELS[:0])}, "holds nothing"),
        ({"labels": b"\0\0\x08\x01" + b"\xff" * 4 + b"\3"}, "shorter than its header says"),
        ({"labels": idx(np.full(40, 5, np.uint8))}, "hold no digit 3"),
        ({"image_name": "images"}, "there is no train-images-idx3-ubyte in"),
        ({"label_name": "t10k-labels-idx1-ubyte"}, "there is no train-labels-idx1-ubyte in"),
    ],
)
def test_files_that_are_not_what_they_should_be(tmp_path, files, words):
    fill(tmp_path, **files)
    with pytest.raises(ValueError, match=words):
        data.mnist(tmp_path, 3, 5)


@pytest.mark.parametrize(
    "spoil", [lambda b: b[:-20], lambda b: b[:9], lambda b: idx(IMAGES), lambda b: b[:40] + b"\xff" * 40 + b[80:], lambda b: b + b"x"]
)
def test_broken_archives(tmp_path, spoil):
    fill(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").unlink()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(spoil(gzip.compress(idx(IMAGES), mtime=0)))
    with pytest.raises(ValueError, match="is no whole gzip file"):
        data.mnist(tmp_path, 3, 5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((3, 3), "two different digits"),
        ((3, 10), "second must be an integer from 0 to 9; 10 was given"),
        ((3, 5, 1), "n must be an integer from 2 to 8; 1 was given"),
        ((3, 5, 9), "n must be an integer from 2 to 8; 9 was given"),
        ((3, 5, None, "valid"), "split='valid' must be one of 'train', 'test'"),
        ((3, 5, None, "test"), "there is no t10k-labels-idx1-ubyte"),
    ],
)
def test_misuse_names_the_mend(tmp_path, arguments, words):
    with pytest.raises(ValueError, match=words):
        data.mnist(fill(tmp_path), *arguments)
