"""Names in bytes are what the tuple of their texts is, and take little memory."""

import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradsculpt.data.listing import Listing, list_images
from gradsculpt.data.names import Names, some_of
from gradsculpt.fingerprint import fingerprint

TEXTS = st.lists(st.text() | st.just("caf\udce9") | st.just(""), max_size=20)


@given(TEXTS, st.data())
def test_they_are_the_tuple_of_their_texts(texts: list[str], data: st.DataObject) -> None:
    names, plain = Names(iter(texts)), tuple(texts)
    assert names == plain
    assert plain == names
    assert (len(names), list(names), hash(names), repr(names)) == (len(plain), texts, hash(plain), repr(plain))
    assert fingerprint(names) == fingerprint(plain)
    assert Names.unpacked(*names.packed()) == pickle.loads(pickle.dumps(names)) == plain
    assert names != (*plain, "more")
    if texts:
        places = data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=9))
        some = names.picked(places)
        assert some == some_of(plain, np.array(places, np.int64)) == tuple(plain[i] for i in places)
        assert Names.unpacked(*some.packed()) == some
        assert names[-1] == plain[-1]
        assert names[places[0] if places else 0 :] == plain[places[0] if places else 0 :]
        with pytest.raises(IndexError):
            names[len(texts)]


def test_a_listing_takes_few_bytes_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    from pathlib import Path

    from gradsculpt.data import listing

    folder, count = Path(str(tmp_path)), 20_000

    def walked(place: Path, wanted: object, visited: object) -> object:
        visited(str(place))  # type: ignore[operator]
        return ((str(place), f"{place.name}_{number:08}.JPEG") for number in range(count // 2))

    monkeypatch.setattr(listing, "walked", walked)
    monkeypatch.setattr(listing, "size_and_time", lambda file: (100_000, 1_600_000_000_000_000_000))
    monkeypatch.setattr(listing, "_subfolders", lambda place: ["n00000001", "n00000002"])
    tracemalloc.start()
    found: Listing = list_images(folder)
    now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.files) == count
    assert now < 100 * count
    assert most < 400 * count
    assert found.files[count - 1].name == f"n00000002_{count // 2 - 1:08}.JPEG"
