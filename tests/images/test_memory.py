import pytest

from monai_ext.images.memory import needed_gb


def test_a_larger_image_and_more_channels_take_more():
    few = needed_gb((100, 100, 100), (10, 10, 10))
    assert needed_gb((200, 100, 100), (10, 10, 10)) == pytest.approx(2 * few, rel=0.01)
    assert needed_gb((100, 100, 100), (10, 10, 10), channels=3) > few


def test_classes_count_on_the_grid_of_the_network_only():
    small = [needed_gb((512, 512, 100), (128, 128, 100), classes=k) for k in (2, 5)]
    large = [needed_gb((512, 512, 100), (512, 512, 100), classes=k) for k in (2, 5)]
    assert 0 < small[1] - small[0] < 0.1 * (large[1] - large[0])
