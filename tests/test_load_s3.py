"""Loading from a real S3 server by every path: signed, and open to everybody."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
from botocore.exceptions import ClientError

from catalog_builder import load
from catalog_builder.errors import RemoteError, UsageError
from catalog_builder.load.access import Access, BucketSession
from tests.test_load import LOADERS, Item, make_release, moved, of_area, path, same, stack_now, xarray_now
from tools.local_bucket import ACCESS_KEY, BUCKET, SECRET_KEY, LocalBucket

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("load_s3"), tiles=1)


@pytest.fixture
def item(release: Path) -> Item:
    items = list(pystac.Catalog.from_file(str(release / "catalog.json")).get_items(recursive=True))
    return of_area(items, "ventoux")[0]


@pytest.fixture
def prefix(bucket: LocalBucket, release: Path, item: Item) -> Iterator[str]:
    """A prefix of its own with the item's files: GDAL remembers what it has read under a name."""
    name, client = f"load_{uuid.uuid4().hex[:8]}", bucket.client()
    for key in item.assets:
        file = Path(path(item, key))
        client.upload_file(str(file), BUCKET, f"{name}/{file.relative_to(release).as_posix()}")
    yield name
    with suppress(ClientError):  # where the test has not opened it
        client.delete_bucket_policy(Bucket=BUCKET)


def assert_same(document: Any, item: Item, **options: Any) -> None:
    """Every loader gives what it gives of the folder."""
    near, far = load.to_numpy(item), load.to_numpy(document, **options)
    assert list(near) == list(far)
    assert all(same(far[key].data, near[key].data) and same(far[key].mask, near[key].mask) for key in near)
    assert xarray_now(document, **options).identical(xarray_now(item))
    for key in near:
        assert np.array_equal(stack_now(document, key, **options).values, stack_now(item, key).values, equal_nan=True)
    chips = load.TileSamples(document, ["s2"], chip=64, **options)
    assert same(chips[5]["pixels"]["s2"], near["s2"].data[:, 64:128, 64:128])
    assert np.array_equal(load.class_weights(document, **options), load.class_weights(item))


def test_signed_by_the_credentials_of_boto3(bucket: LocalBucket, prefix: str, release: Path, item: Item) -> None:
    document = moved(item, release, f"s3://{BUCKET}/{prefix}")
    assert_same(document, item, endpoint_url=bucket.url)


def test_a_server_that_boto3_is_configured_for(
    bucket: LocalBucket, prefix: str, release: Path, item: Item, monkeypatch: pytest.MonkeyPatch
) -> None:
    from catalog_builder.load import access

    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bucket.url)
    access._endpoint.cache_clear()
    access._aws_session.cache_clear()
    assert same(
        load.to_numpy(moved(item, release, f"s3://{BUCKET}/{prefix}"))["s2"].data, load.to_numpy(item)["s2"].data
    )
    access._endpoint.cache_clear()
    access._aws_session.cache_clear()


def test_open_to_everybody(
    bucket: LocalBucket, prefix: str, release: Path, item: Item, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.make_public()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    document = moved(item, release, f"s3://{BUCKET}/{prefix}")
    assert_same(document, item, endpoint_url=bucket.url, anonymous=True)
    assert_same(moved(item, release, f"{bucket.url}/{BUCKET}/{prefix}"), item)


@pytest.mark.parametrize("loader", LOADERS.values(), ids=LOADERS.keys())
def test_what_is_not_open_or_not_there_is_an_error(
    loader: Callable[..., Any], bucket: LocalBucket, prefix: str, release: Path, item: Item
) -> None:
    document = moved(item, release, f"{bucket.url}/{BUCKET}/{prefix}")
    with pytest.raises(RemoteError) as caught:
        loader(document, "s2")
    assert str(caught.value) == f"{document['assets']['s2']['href']}: cannot be read: HTTP response code: 403"


def test_a_key_that_is_not_there_is_an_error(bucket: LocalBucket, prefix: str, release: Path, item: Item) -> None:
    document = moved(item, release, f"s3://{BUCKET}/{prefix}")
    document["assets"]["s2"]["href"] = f"s3://{BUCKET}/{prefix}/none.tif"
    with pytest.raises(RemoteError, match=f"^s3://{BUCKET}/{prefix}/none.tif: cannot be read: "):
        load.to_numpy(document, "s2", endpoint_url=bucket.url)
    with pytest.raises(RemoteError, match=f"^s3://{BUCKET}/{prefix}/none.tif: cannot be read: "):
        xarray_now(document, "s2", endpoint_url=bucket.url)
    with pytest.raises(RuntimeError, match=r"none\.tif"):
        stack_now(document, "s2", endpoint_url=bucket.url)


def test_settings_say_what_gdal_has_to_know(bucket: LocalBucket) -> None:
    host = bucket.url.removeprefix("http://")
    signed = BucketSession(Access(endpoint_url=bucket.url)).get_credential_options()
    assert signed["AWS_S3_ENDPOINT"] == host
    assert (signed["AWS_ACCESS_KEY_ID"], signed["AWS_SECRET_ACCESS_KEY"]) == (ACCESS_KEY, SECRET_KEY)
    opened = BucketSession(Access(endpoint_url=bucket.url, anonymous=True)).get_credential_options()
    assert opened == {"AWS_NO_SIGN_REQUEST": "YES", "AWS_S3_ENDPOINT": host}


@pytest.mark.parametrize("url", ["127.0.0.1:8333", "ftp://host", "http://user:word@host"])
def test_an_endpoint_that_is_no_address_is_refused(item: Item, url: str) -> None:
    for loader in (load.to_numpy, load.to_xarray, load.for_stackstac, load.class_weights):
        with pytest.raises(UsageError):
            loader(item, endpoint_url=url)
