"""What a function says when it ends the program."""

import pytest


def message_of(function, *args, **kwargs):
    with pytest.raises(SystemExit) as caught:
        function(*args, **kwargs)
    assert isinstance(caught.value.code, str)  # Python prints it and exits with 1
    return caught.value.code
