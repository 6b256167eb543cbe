"""Lines that are no record say so, whatever their bytes."""

import pytest

from genixer.data import ImageRef, decode_row
from genixer.errors import DataError


@pytest.mark.parametrize(
    "line", [b"\xff", b'{"path":"\xff","width":1,"height":1,"sha256":""}', b"{", b"[]"]
)
def test_a_line_that_is_no_record_is_a_data_error(line: bytes) -> None:
    with pytest.raises(DataError):
        decode_row(line, ImageRef)
