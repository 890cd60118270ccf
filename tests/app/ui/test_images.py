"""A zip of images, as a file that the recipe trains on; and zips that are none, or worse."""

import io
import zipfile

import numpy as np
import pytest
from luthier.app.ui import images
from luthier.app.ui.images import ImagesError, pack
from luthier.tools.recipes import data
from PIL import Image


def picture(color, mode="RGB", size=(40, 20), form="PNG"):
    content = io.BytesIO()
    Image.new(mode, size, color).save(content, form)
    return content.getvalue()


@pytest.fixture
def archive(tmp_path):
    def make(files):
        path = tmp_path / "pets.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in files.items():
                file.writestr(name, content)
        return path

    return make


PETS = {f"pets/cat/{i}.png": picture("red") for i in range(3)} | {
    f"pets/dog/{i}.JPG": picture("blue", form="JPEG") for i in range(4)
}


def test_the_recipe_can_train_on_what_was_packed(archive, tmp_path):
    arrays, said = pack(archive(PETS | {"pets/readme.txt": b"", "__MACOSX/cat/._0.png": b"?"}))
    assert said == "7 images of 2 classes, made 32 x 32 pixels large"
    np.savez(tmp_path / "pets.npz", **arrays)
    examples = data.load(str(tmp_path / "pets.npz"), "", "classification")
    assert examples.features.shape == (7, 3, 32, 32)
    assert list(examples.target) == ["cat"] * 3 + ["dog"] * 4
    assert examples.features[0, :, 5, 5].tolist() == [255, 0, 0]


def test_grey_images_have_one_channel(archive):
    grey = {f"{c}/{i}.png": picture(90 * i, "L") for c in "ab" for i in range(2)}
    assert pack(archive(grey))[0]["X"].shape == (4, 1, 32, 32)


def test_names_that_climb_out_lead_nowhere(archive, tmp_path):
    before = {path for path in tmp_path.parent.rglob("*") if path.is_file()}
    path = archive(PETS | {"../../out/a.png": picture("red"), "/etc/b.png": picture("blue")})
    arrays, _ = pack(path)
    assert set(arrays["y"]) == {"cat", "dog", "etc"}
    assert {p for p in tmp_path.parent.rglob("*") if p.is_file()} - before == {path}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a.png": picture("red")}, "'a.png' is in no folder"),
        ({"cat/a.png": picture("red")}, "1 images in 1 folders; at least two"),
        ({"cat/a.txt": b"x"}, "0 images in 0 folders"),
        ({**PETS, "cat/bad.png": b"no image"}, "'bad.png' is no image"),
        ({**PETS, "cat/cut.png": picture("red")[:60]}, "'cut.png' is no image"),
    ],
)
def test_what_cannot_be_used_is_said(archive, files, words):
    with pytest.raises(ImagesError, match=words):
        pack(archive(files))


def test_a_file_that_is_no_zip_is_said(tmp_path):
    (tmp_path / "no.zip").write_bytes(b"no")
    with pytest.raises(ImagesError, match="cannot be unpacked"):
        pack(tmp_path / "no.zip")


def test_what_unpacks_to_too_much_is_not_unpacked(archive, monkeypatch):
    monkeypatch.setattr(images, "_MOST_BYTES", 1 << 20)
    bomb = archive({**PETS, "cat/bomb.png": bytes(50 << 20)})
    with pytest.raises(ImagesError, match="more than 1 MiB"):
        pack(bomb)


def test_an_image_of_too_many_pixels_is_not_decoded(archive, monkeypatch):
    monkeypatch.setattr(images, "_MOST_PIXELS", 100)
    with pytest.raises(ImagesError, match="40 x 20 pixels"):
        pack(archive(PETS))
