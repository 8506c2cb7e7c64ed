import keras
import pytest


@pytest.fixture
def symbolic():
    """A scope in which models get shapes and types but no memory for their weights."""
    with keras.StatelessScope(initialize_variables=False):
        yield
    # Else the next scope would make up for it and allocate them all.
    keras.utils.clear_session(free_memory=False)
