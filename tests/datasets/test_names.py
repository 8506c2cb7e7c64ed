"""The names that a command line accepts for a data set."""

import pytest

from dlip_reg.datasets import DATASET_NAMES, DatasetArgumentError, check_dataset_name, load_dataset
from dlip_reg.errors import DlipRegError


@pytest.mark.parametrize("name", [*DATASET_NAMES, "folder:photos", "folder:/a b", "file:my.npz"])
def test_known_names_folders_and_files_are_accepted(name):
    assert check_dataset_name(name) == name


@pytest.mark.parametrize("name", ["imagenet", "", "folder:", "file:", "file:my.csv", "photos"])
def test_other_names_are_refused_in_one_sentence_that_says_what_is_accepted(name):
    for use in (check_dataset_name, load_dataset):
        with pytest.raises(DatasetArgumentError) as caught:
            use(name)
        message = str(caught.value)
        assert all(known in message for known in (repr(name), *DATASET_NAMES, "folder:PATH"))
        assert message.count(". ") == 0 and message.endswith(".") and "\n" not in message
        assert isinstance(caught.value, DlipRegError) and isinstance(caught.value, ValueError)
