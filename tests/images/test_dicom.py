import numpy as np
import pytest

from monai_ext.errors import InputError
from monai_ext.images import read_volume

sitk = pytest.importorskip("SimpleITK")
SHAPE = (5, 4, 6)


def voxels():
    return np.random.default_rng(0).integers(0, 900, SHAPE).astype(np.int16)


def write_series(folder, heights=range(0, 48, 8), series="1", shift=0, position=True):
    """A DICOM series, slices from the top down in the order of their names."""
    folder.mkdir(exist_ok=True)
    image = sitk.GetImageFromArray(voxels().transpose(2, 1, 0))
    image.SetSpacing((1.4, 1.5, 8.0))
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k, z in enumerate(heights):
        part = image[:, :, k % SHAPE[2]]
        tags = {"0008|0060": "MR", "0020|000e": f"1.2.3.{series}", "0020|000d": "1.2.4"}
        tags |= {"0008|0018": f"1.2.5.{series}.{k + 1}", "0008|103e": f"series {series}"}
        tags |= {"0020|0032": f"{shift * k}\\0\\{z}", "0020|0037": "1\\0\\0\\0\\1\\0"} if position else {}
        for tag, value in tags.items():
            part.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"s{series}_{99 - k:02d}.dcm"))
        writer.Execute(part)
    return folder


def test_a_series_is_one_volume_in_the_order_of_positions(tmp_path):
    volume = read_volume(write_series(tmp_path / "series"))
    np.testing.assert_array_equal(volume.array, voxels())
    np.testing.assert_allclose(volume.affine, np.diag([-1.4, -1.5, 8, 1]))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"heights": [0, 8, 24, 32, 40]},
            r"8 mm apart, got 16 mm between slices 1 and 2 \(from 0\); a file is",
        ),
        ({"heights": [0, 8, 8, 16, 24]}, r"two files at one position: s1_9[78].dcm and s1_9[78].dcm"),
        ({"heights": [0, 8, 16, 24, 32, 8]}, r"two files at one position: s1_9[48].dcm and s1_9[48].dcm"),
        ({"heights": [0, 8, 16, 0, 8, 16]}, "one slice at each position, got several"),
        ({"shift": 3}, "tilted gantry"),
        ({"heights": [0]}, "series of several files, got one"),
    ],
)
def test_slices_that_make_no_volume_are_refused(tmp_path, options, told):
    folder = write_series(tmp_path / "series", **options)
    with pytest.raises(InputError, match=f"{folder}: Expected .*{told}"):
        read_volume(folder)


def test_several_series_are_named(tmp_path):
    write_series(tmp_path / "both")
    folder = write_series(tmp_path / "both", series="2", heights=[0, 8])
    with pytest.raises(InputError, match=r"got 2: series 1 \(6 files\), series 2 \(2 files\); put each"):
        read_volume(folder)


@pytest.mark.parametrize("at", [0, 2, -1])
@pytest.mark.parametrize("kept", [0, 200, 0.97])
def test_a_damaged_file_is_named(tmp_path, at, kept):
    folder = write_series(tmp_path / "series")
    file = sorted(folder.iterdir())[at]
    whole = file.read_bytes()
    file.write_bytes(whole[: kept if kept != 0.97 else int(kept * len(whole))])
    with pytest.raises(InputError, match=f"got 1 that cannot be read as one: {file.name}; copy"):
        read_volume(folder)


def test_an_empty_file_without_suffix_is_named_among_its_like(tmp_path):
    folder = write_series(tmp_path / "series")
    for file in folder.iterdir():
        file.rename(file.with_suffix(""))
    (folder / "s1_94").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be read as one: s1_94; copy"):
        read_volume(folder)


def test_directories_and_reports_beside_a_series_are_no_damage(tmp_path):
    folder = write_series(tmp_path / "series")
    for name, kind in [
        ("DICOMDIR", b"1.2.840.10008.1.3.10"),
        ("report.dcm", b"1.2.840.10008.5.1.4.1.1.88.11"),
    ]:
        (folder / name).write_bytes(bytes(128) + b"DICM" + kind)
    np.testing.assert_array_equal(read_volume(folder).array, voxels())
