import pytest

from plmsae.core.words import counted


@pytest.mark.parametrize(
    ("n", "words"), [(0, "0 calls"), (1, "1 call"), (1.0, "1 call"), (1204, "1,204 calls")]
)
def test_one_is_singular(n, words):
    assert counted(n, "call") == words
