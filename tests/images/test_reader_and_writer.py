import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import Compose, EnsureChannelFirstd, Flip, LoadImaged, SaveImaged

from monai_ext.errors import InputError
from monai_ext.images import GridReader, GridWriter, name_of_result, read_volume, write_label, write_volume
from monai_ext.images.nifti import header_for

AFFINE = np.array([[-1.4, 0.1, 0, 90], [0, -1.4, 0, 120], [0, 0, 8, -40], [0, 0, 0, 1]])
GEOMETRY = (
    "pixdim xyzt_units qform_code sform_code quatern_b quatern_c quatern_d qoffset_x qoffset_y qoffset_z "
    "srow_x srow_y srow_z"
).split()


def array(*shape):
    return np.random.default_rng(0).integers(0, 900, shape or (4, 3, 2)).astype(np.int16)


def save(path, voxels=None, codes=(1, 2), qform=AFFINE, kind=nib.Nifti1Image, **fields):
    image = kind(array() if voxels is None else voxels, AFFINE)
    image.set_qform(qform, codes[0])
    image.set_sform(AFFINE, codes[1])
    image.header.set_xyzt_units("mm", "sec")
    for name, value in fields.items():
        image.header[name] = value
    nib.save(image, path)
    return path


def patched(path, offset, kind, value):
    """A NIfTI file with one number of its header replaced, as nibabel itself would not write it."""
    raw = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into(f"<{kind}", raw, offset, value)
    path.write_bytes(gzip.compress(bytes(raw)))
    return path


def through(path, out, **saver):
    """The way of a mask: read, through a loader and back, saved; the first channel is the mask."""
    read = Compose([LoadImaged("image", reader=GridReader), EnsureChannelFirstd("image")])
    (batch,) = DataLoader(Dataset([{"image": str(path)}], read), batch_size=1)
    (item,) = decollate_batch(batch)
    item["image"] = MetaTensor(item["image"] > 450).copy_meta_from(item["image"])
    save = SaveImaged(
        "image",
        output_dir=out,
        output_postfix="seg",
        output_dtype=torch.uint8,
        separate_folder=False,
        writer=GridWriter,
        output_name_formatter=name_of_result,
        print_log=False,
        **saver,
    )
    save(item)
    (written,) = Path(out).iterdir()
    return written


def raw_header(path):
    raw = gzip.decompress(path.read_bytes())
    kind = nib.Nifti2Header if raw[:2] == struct.pack("<h", 540) else nib.Nifti1Header
    return kind(raw[: kind.sizeof_hdr], check=False)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("codes", [(1, 2), (0, 1), (3, 0), (0, 0)])
def test_a_mask_has_both_forms_codes_pixdim_and_units_of_its_image(tmp_path, kind, codes):
    moved = AFFINE + np.array([[0, 0, 0, 9.0]] * 3 + [[0] * 4])
    path = save(tmp_path / "a.nii.gz", codes=codes, qform=moved, kind=kind)
    written = through(path, tmp_path / "out")
    given, found = raw_header(path), raw_header(written)
    assert all(given[name].tobytes() == found[name].tobytes() for name in GEOMETRY)
    np.testing.assert_array_equal(nib.load(written).dataobj, array() > 450)
    assert nib.load(written).get_data_dtype() == np.uint8


@pytest.mark.parametrize(("offset", "kind", "value"), [(80, "f", 1.0), (88, "f", 0.0), (84, "f", -1.4)])
def test_a_voxel_size_that_contradicts_the_sform_is_neither_used_nor_corrected(
    tmp_path, caplog, offset, kind, value
):
    path = patched(save(tmp_path / "a.nii.gz", codes=(0, 1)), offset, kind, value)
    volume = read_volume(path)
    written = through(path, tmp_path / "out")
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)
    assert raw_header(path)["pixdim"].tobytes() == raw_header(written)["pixdim"].tobytes()
    told = [record.getMessage() for record in caplog.records if record.name.startswith("monai_ext.images")]
    assert len(told) == (value >= 0) and all(f"{path}: pixdim" in line for line in told)


def test_forms_that_disagree_are_told_in_one_line_and_the_sform_counts(tmp_path, caplog):
    moved = AFFINE + np.array([[0, 0, 0, 9.0]] * 3 + [[0] * 4])
    path = save(tmp_path / "a.nii.gz", qform=moved)
    np.testing.assert_allclose(read_volume(path).affine, AFFINE, atol=1e-5)
    read_volume(path)
    (line,) = [r.getMessage() for r in caplog.records if r.name == "monai_ext.images.files"]
    assert line.startswith(f"{path}: qform and sform") and line.endswith("the sform was used")


def test_forms_within_a_tenth_of_a_voxel_are_not_told(tmp_path, caplog):
    straight = AFFINE * (1 - np.eye(4, k=1))
    read_volume(save(tmp_path / "a.nii.gz", qform=straight + np.array([[0, 0, 0, 0.1]] * 3 + [[0] * 4])))
    assert any("qform" in r.getMessage() for r in caplog.records)  # the shear of AFFINE: 2 x .1 of 1.4 mm
    caplog.clear()
    image = nib.Nifti1Image(array(), straight)
    image.set_qform(straight, 1)
    nib.save(image, tmp_path / "b.nii.gz")
    read_volume(tmp_path / "b.nii.gz")
    assert not caplog.records


@pytest.mark.parametrize("shape", [(4, 3, 1), (4, 3), (4, 3, 2, 1), (4, 3, 2, 1, 1)])
def test_axes_of_one_voxel_are_dropped_and_restored(tmp_path, shape):
    voxels = array(*shape)
    path = save(tmp_path / "a.nii.gz", voxels)
    assert read_volume(path).array.shape == (*shape, 1)[:3]
    written = nib.load(through(path, tmp_path / "out"))
    np.testing.assert_array_equal(written.dataobj, voxels > 450)


@pytest.mark.parametrize("name", ["a.MHA", "a.1.nrrd", "a.mgz", "a.b.NII.GZ"])
def test_masks_of_other_formats_lie_where_their_image_does(tmp_path, name):
    sitk = pytest.importorskip("SimpleITK")
    path, stem = tmp_path / name, name.lower().removesuffix(".gz").rsplit(".", 1)[0]
    straight = AFFINE.copy()
    straight[0, 1] = 0  # which these formats have no place for
    if name.endswith("mgz"):
        nib.save(nib.MGHImage(array(), straight), path)
    else:
        nib.save(nib.Nifti1Image(array(), straight), tmp_path / "source.nii.gz")
        if name.endswith("GZ"):
            (tmp_path / "source.nii.gz").rename(path)
        else:
            small = path.with_suffix(path.suffix.lower())
            sitk.WriteImage(sitk.ReadImage(str(tmp_path / "source.nii.gz")), str(small))
            small.rename(path)
    written = through(path, tmp_path / "out")
    assert written.name == f"{stem}_seg.nii.gz"
    np.testing.assert_allclose(nib.load(written).affine, straight, atol=1e-4)
    np.testing.assert_array_equal(nib.load(written).dataobj, array() > 450)


@pytest.mark.parametrize("name", ["a.png", "a.dcm", "a.txt", "slice"])
def test_pictures_and_single_dicom_files_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(128) + (b"DICM" if name == "slice" else b"    "))
    wanted = "DICOM" if name in ("a.dcm", "slice") else "picture" if name == "a.png" else "of a format"
    with pytest.raises(InputError, match=wanted) as caught:
        read_volume(tmp_path / name)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(tmp_path / name))


def test_a_fourth_axis_is_refused_unless_channels_are_wanted(tmp_path):
    path = save(tmp_path / "cine.nii.gz", array(4, 3, 2, 5))
    with pytest.raises(InputError, match=r"cine.nii.gz: Expected .* got the axes 4 x 3 x 2 x 5; save one"):
        GridReader().get_data([path])
    load = LoadImaged("image", reader="monai_ext.images.GridReader", several_channels=True)
    assert EnsureChannelFirstd("image")(load({"image": str(path)}))["image"].shape == (5, 4, 3, 2)


def test_what_the_reader_refuses_no_other_reader_takes(tmp_path):
    path = save(tmp_path / "cine.nii.gz", array(4, 3, 2, 5))
    with pytest.raises(InputError, match="got the axes"):
        LoadImaged("image", reader=GridReader)({"image": str(path)})


@pytest.mark.parametrize(("value", "told"), [(np.nan, "NaN or infinity"), (np.inf, "NaN"), (1e300, "1e.300")])
def test_numbers_that_float32_does_not_hold_are_refused(tmp_path, value, told):
    voxels = array().astype(float)
    voxels[1, 2, 0] = value
    with pytest.raises(InputError, match=rf"{told}.* in 1 voxel, first at \(1, 2, 0\)"):
        GridReader().get_data([save(tmp_path / "a.nii.gz", voxels)])


def test_files_of_a_case_become_channels_and_must_lie_on_one_grid(tmp_path):
    paths = [save(tmp_path / f"{name}.nii.gz", array() + k) for k, name in enumerate("abc")]
    voxels, meta = GridReader().get_data(paths)
    np.testing.assert_array_equal(voxels, [array(), array() + 1, array() + 2])
    assert meta["original_channel_dim"] == 0
    other = save(tmp_path / "c.nii.gz", array(5, 3, 2))
    with pytest.raises(InputError, match=f"{other}: Expected shape"):
        GridReader().get_data(paths)


def test_class_indices_within_rounding_become_whole_and_other_numbers_stay(tmp_path):
    label = np.array([0.9998, 2.0003, 0.0002, 3.0]).reshape(2, 2, 1)
    np.testing.assert_array_equal(
        GridReader().get_data([save(tmp_path / "l.nii.gz", label)])[0].ravel(), [1, 2, 0, 3]
    )
    for other in (label / 1e4, label * 1.01):
        path = save(tmp_path / "i.nii.gz", other)
        np.testing.assert_allclose(GridReader().get_data([path])[0], other, rtol=1e-6)


def test_a_disk_that_is_full_leaves_no_file_and_keeps_the_old_one(tmp_path, monkeypatch):
    header = read_volume(save(tmp_path / "image.nii.gz")).header
    write_volume(tmp_path / "mask.nii.gz", np.ones((4, 3, 2), np.uint8), header)
    before = (tmp_path / "mask.nii.gz").read_bytes()
    names = sorted(file.name for file in tmp_path.iterdir())

    def half(self, content):
        with self.open("wb") as file:
            file.write(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    for name in ("mask.nii.gz", "new.nii.gz"):
        with pytest.raises(InputError, match=f"{name}: Expected to write .* No space left on device; free"):
            write_volume(tmp_path / name, np.zeros((4, 3, 2), np.uint8), header)
    assert sorted(file.name for file in tmp_path.iterdir()) == names
    assert (tmp_path / "mask.nii.gz").read_bytes() == before


def test_an_error_of_the_writer_is_in_the_text_that_monai_wraps_it_in(tmp_path):
    (tmp_path / "a_seg.nii.gz").mkdir()  # a folder where a file is wanted
    save = SaveImaged(
        "image", output_dir=tmp_path, output_postfix="seg", writer=GridWriter, separate_folder=False
    )
    with pytest.raises(RuntimeError, match=r"\nmonai_ext\.errors\.InputError: .*: Expected to write"):
        save({"image": MetaTensor(torch.zeros(1, 4, 3, 2), meta={"filename_or_obj": "a.nii.gz"})})


def test_an_array_without_a_header_is_written_by_its_affine(tmp_path):
    writer = GridWriter(output_dtype=np.float32)
    writer.set_data_array(torch.rand(3, 4, 3, 2))
    writer.set_metadata({"affine": torch.as_tensor(np.diag([-2.0, 3, 4, 1]))})
    writer.write(tmp_path / "a.nii.gz")
    written = nib.load(tmp_path / "a.nii.gz")
    assert written.shape == (4, 3, 2, 3) and int(written.header["sform_code"]) == 1
    np.testing.assert_array_equal(written.affine, np.diag([-2.0, 3, 4, 1]))


@pytest.mark.parametrize("by", [0, 1e-6, 0.5])
def test_a_header_is_written_only_where_the_array_still_lies(tmp_path, by):
    moved = AFFINE + np.array([[0, 0, 0, 9.0]] * 3 + [[0] * 4])
    path = save(tmp_path / "a.nii.gz", codes=(1, 2), qform=moved)
    voxels, meta = GridReader().get_data([path])
    meta["affine"] = meta["affine"] + np.array([[0, 0, 0, by]] * 3 + [[0] * 4])
    writer = GridWriter(output_dtype=np.uint8)
    writer.set_data_array(voxels, channel_dim=None)
    writer.set_metadata(meta)
    writer.write(tmp_path / "b.nii.gz")
    written = nib.load(tmp_path / "b.nii.gz")
    np.testing.assert_allclose(written.affine, meta["affine"], atol=1e-5)
    same = all(raw_header(path)[name].tobytes() == written.header[name].tobytes() for name in GEOMETRY)
    assert same == (by < 0.5)


def test_an_array_that_was_flipped_is_not_written_on_the_grid_of_its_file(tmp_path):
    read = Compose([LoadImaged("image", reader=GridReader), EnsureChannelFirstd("image")])
    image = Flip(0)(read({"image": str(save(tmp_path / "a.nii.gz"))})["image"])
    writer = GridWriter(output_dtype=np.int16)
    writer.set_data_array(image)
    writer.set_metadata(image.meta)
    writer.write(tmp_path / "b.nii.gz")
    written = nib.load(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(written.dataobj, array()[::-1])
    np.testing.assert_allclose(written.affine, image.affine, atol=1e-5)


def test_a_label_lies_on_the_grid_of_its_image(tmp_path):
    path = save(tmp_path / "image.nii.gz", array(4, 3, 2, 1))
    for image in (path, read_volume(path)):
        write_label(tmp_path / "label.nii.gz", np.ones((4, 3, 2)), image)
        written = nib.load(tmp_path / "label.nii.gz")
        assert written.shape == (4, 3, 2, 1) and written.get_data_dtype() == np.uint8
        assert (
            raw_header(path)["srow_x"].tobytes() == raw_header(tmp_path / "label.nii.gz")["srow_x"].tobytes()
        )


def test_advice_about_a_file_that_cannot_be_written_fits_the_reason(tmp_path):
    (tmp_path / "a.nii.gz").mkdir()
    (tmp_path / "file").touch()
    header = header_for(np.eye(4), (2, 2, 2))
    for name, advice in (
        ("a.nii.gz", "Is a directory; rename the folder"),
        (f"{'a' * 300}.nii.gz", "File name too long; shorten the name of the image"),
        ("file/a.nii.gz", "; choose another folder, for there is a file"),
    ):
        with pytest.raises(InputError, match=advice):
            write_volume(tmp_path / name, np.zeros((2, 2, 2), np.uint8), header)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii.gz", "file"]
