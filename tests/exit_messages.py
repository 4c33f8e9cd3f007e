"""What a function says when it refuses its arguments."""

import pytest

from monai_ext.errors import InputError


def message_of(function, *args, **kwargs):
    with pytest.raises(InputError) as caught:
        function(*args, **kwargs)
    return str(caught.value)
