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
        ("s3://a:secret@dream/v1", "no name of a bucket"),
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


@pytest.mark.parametrize("url", ["127.0.0.1:8333", "ftp://server", "http://", "http://user:word@server"])
def test_an_endpoint_is_the_plain_address_of_a_server(url: str) -> None:
    with pytest.raises(UsageError, match="--endpoint-url") as caught:
        location.parse_s3("s3://dream", url)
    assert "word" not in str(caught.value)


def test_what_users_write() -> None:
    assert location.parse("s3://dream/v1/catalog.json") == S3Location(bucket="dream", prefix="v1")
    assert location.parse("https://host/a/catalog.json") == WebLocation(url="https://host/a")
    assert location.parse("https://host/a/") == WebLocation(url="https://host/a")
    folder = location.parse("some/where/catalog.json")
    assert isinstance(folder, FolderLocation)
    assert str(folder) == "some/where"


@pytest.mark.parametrize("url", ["ftp://host/a", "https:///a", "https://me:word@host/a", "https://host/a?token=word"])
def test_an_address_holds_no_secret(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        location.parse(url)
    assert "word" not in str(caught.value)
