import pytest
from lab_process import LABS


@pytest.fixture(scope="module", params=LABS.values(), ids=LABS)
def lab(request):
    """Each of the labs, made small."""
    return request.param
