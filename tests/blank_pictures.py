"""A report with blank pictures, for tests that look at other things: drawing takes most time."""

import io
from unittest import mock

from PIL import Image

_PNG = io.BytesIO()
Image.new("L", (1, 1)).save(_PNG, "PNG")


def blank_pictures(**others):
    """A context in which a page holds blank pictures; `others` are more names of its module."""
    rendered = mock.Mock(return_value=_PNG.getvalue())
    return mock.patch.multiple("dlip_reg.report.page", rendered=rendered, **others)
