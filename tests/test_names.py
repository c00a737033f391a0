"""Names in received files lead nowhere."""

import pytest

from nlbs.names import is_name
from tests.reliability.test_received_names import BAD


@pytest.mark.parametrize("name", BAD)
def test_what_leads_anywhere_is_no_name_of_any_kind(name: str) -> None:
    for kind in (
        *("image", "patient", "shard", "manifest", "description", "dataset_id", "sha256"),
        *("member", "picture", "piece", "word"),
    ):
        assert not is_name(kind, name)
        assert not is_name(kind, name.encode())
        assert not is_name(kind, None)
