"""Where a release lies, as users write it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog_builder import location
from catalog_builder.errors import UsageError
from catalog_builder.location import FolderLocation, S3Location, WebLocation

names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,8}", fullmatch=True)


@given(st.lists(names, max_size=3), names)
def test_a_key_leads_back_to_its_href(prefix: list[str], href: str) -> None:
    place = location.parse_s3("s3://dream/" + "/".join(prefix))
    assert place.href(place.key(href)) == href
    assert place.key(href).split("/") == [*prefix, href]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dream/v1", "not a place in a bucket"),
        ("http://dream/v1", "not a place in a bucket"),
        ("s3://", "no name of a bucket"),
        ("s3://Dream", "no name of a bucket"),
        ("s3://a:secret@dream/v1", "holds a user"),
        ("s3://dream/a//b", "between single slashes"),
        ("s3://dream/../other", "between single slashes"),
        ("s3://dream/a/./b", "between single slashes"),
        ("s3://dream/a b", "between single slashes"),
        ("s3://dream/a\nb", "between single slashes"),
    ],
)
def test_what_is_no_place_in_a_bucket_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        location.parse_s3(text)


@pytest.mark.parametrize("url", ["127.0.0.1:8333", "ftp://server", "http://", "http://[bad"])
def test_an_endpoint_is_the_plain_address_of_a_server(url: str) -> None:
    with pytest.raises(UsageError, match=r"not (the|an) address"):
        location.parse_s3("s3://dream", url)


def test_what_users_write() -> None:
    assert location.parse("s3://dream/v1/catalog.json") == S3Location(bucket="dream", prefix="v1")
    assert location.parse("https://host/a/catalog.json") == WebLocation(url="https://host/a")
    assert location.parse("https://host/a/") == WebLocation(url="https://host/a")
    folder = location.parse("some/where/catalog.json")
    assert isinstance(folder, FolderLocation)
    assert str(folder) == "some/where"


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hushhush@host/a",
        "https://host/a?token=hushhush",
        "https://me:hushhush@",
        "ftp://me:hushhush@host",
        "me:hushhush@host",
        "s3://me:hushhush@dream/a",
    ],
)
def test_a_secret_in_an_address_is_not_printed(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        location.parse(url)
    assert "hushhush" not in str(caught.value)
    if "@" in url:
        with pytest.raises(UsageError) as caught:
            location.parse_s3("s3://dream", url)
        assert "hushhush" not in str(caught.value)
