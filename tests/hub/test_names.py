"""Names of networks on the Hub: those that are none are told before anything is asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradsculpt.errors import ArgumentError
from gradsculpt.hub import HubName, is_hub, parse
from gradsculpt.hub.names import check_license, check_revision

RIGHT = [
    ("hf:me/net", "me/net", None),
    ("me/net", "me/net", None),
    ("hf:me/net@v1.0", "me/net", "v1.0"),
    ("hf:Org-1/a_b.c@feature/two", "Org-1/a_b.c", "feature/two"),
    (f"hf:me/net@{'0' * 40}", "me/net", "0" * 40),
    ("hf:me/9", "me/9", None),
]
WRONG = [
    "hf:",
    "hf:net",
    "hf:/net",
    "hf:me/",
    "hf:me/net/more",
    "hf:me/../net",
    "hf:me/a..b",
    "hf:me/a--b",
    "hf:me/net.git",
]
WRONG += [
    "hf:me/-net",
    "hf:.me/net",
    "hf:me/n t",
    "hf:me/n\nt",
    "hf:me/net@",
    "hf:me/net@../x",
    "hf:me/net@a b",
    "hf:é/net",
]
WRONG += [
    "hf:me/net@/etc",
    "hf:me/net@a//b",
    "hf:me/net@x.lock",
    "hf:me/net@a\0",
    f"hf:me/{'n' * 97}",
    "hf:me/net=w.pth",
]


@pytest.mark.parametrize(("text", "repository", "revision"), RIGHT)
def test_names_are_read(text: str, repository: str, revision: str | None) -> None:
    name = parse(text)
    assert name == HubName(repository, revision)
    assert parse(str(name)) == name
    assert is_hub(str(name))


@pytest.mark.parametrize("text", WRONG)
def test_names_that_are_none_are_told(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"write|branch"):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://huggingface.co/me/net",
        "hf:https://huggingface.co/me/net/tree/main",
        "huggingface.co/me/net",
        "hf.co/me/net",
        "hf-hub:me/net",
        "hf_hub:me/net",
    ],
)
def test_addresses_are_understood(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"Did you mean hf:me/net\?"):
        parse(text)


@given(st.text(max_size=40))
def test_whatever_is_read_is_a_name_that_the_library_takes(text: str) -> None:
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        name = parse(text)
    except ArgumentError:
        return
    validate_repo_id(name.repository)


@pytest.mark.parametrize(("text", "repository", "revision"), RIGHT)
def test_the_library_takes_what_is_right(text: str, repository: str, revision: str | None) -> None:
    from huggingface_hub.utils._validators import validate_repo_id

    validate_repo_id(repository)


def test_terms_and_branches_have_names() -> None:
    for terms in ("mit", "apache-2.0", "other", "cc0-1.0"):
        check_license(terms)
    for terms in ("MIT License", "", "a\nb", "mit]", "x" * 99):
        with pytest.raises(ArgumentError, match="--license"):
            check_license(terms)
    with pytest.raises(ArgumentError, match=r"Did you mean .*apache-2.0"):
        check_license("Apache 2.0")
    check_revision("v2", "--revision")
    with pytest.raises(ArgumentError, match=r"--revision: '\.\.' can be no revision"):
        check_revision("..", "--revision")
