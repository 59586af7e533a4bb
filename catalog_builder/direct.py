"""One PUT at a third of boto3's cost: signed by botocore's signer, sent by urllib3, once.

Of a release of small objects boto3 spends more time on preparing requests than a server on storing them. Whatever does
not go well here is for boto3 to do, with its retries, redirects and errors.
"""

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import boto3
import urllib3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError, ClientError
from botocore.utils import get_environ_proxies
from urllib3.exceptions import HTTPError

_OK = 200
_PROBE = "k"


class _KnownPayload(S3SigV4Auth):
    """Signs a body whose SHA-256 (hex) is known, and so need not be computed once more."""

    def __init__(self, credentials: Any, region: str, sha256: str) -> None:
        super().__init__(credentials, "s3", region)
        self._sha256 = sha256

    def payload(self, request: AWSRequest) -> str:  # noqa: ARG002 - as botocore calls it
        """Give the hash that the signature covers."""
        return self._sha256


class DirectPut:
    """Writes objects of one bucket."""

    def __init__(self, session: boto3.Session, client: Any, bucket: str) -> None:
        self._credentials, self._region = session.get_credentials(), client.meta.region_name
        self._pool: urllib3.HTTPConnectionPool | None = None
        if self._credentials is None:
            return
        # boto3 knows best how this server wants its buckets addressed.
        signed = urlsplit(client.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": _PROBE}))
        self._server, self._path = f"{signed.scheme}://{signed.netloc}", signed.path.removesuffix(_PROBE)
        if not get_environ_proxies(self._server):
            timeout = urllib3.Timeout(connect=10, read=60)
            self._pool = urllib3.connection_from_url(self._server, maxsize=32, retries=False, timeout=timeout)

    def put(self, key: str, data: bytes, sha256: str, headers: Mapping[str, str]) -> bool:
        """Write an object with its SHA-256 (hex) once, and say whether the server took it."""
        pool = self._pool  # another thread may let go of it meanwhile
        if pool is None or self._credentials is None:
            return False
        path = self._path + quote(key, safe="/~")
        checksum = {"x-amz-checksum-sha256": base64.b64encode(bytes.fromhex(sha256)).decode()}
        request = AWSRequest("PUT", self._server + path, headers={**headers, **checksum}, data=data)
        try:
            credentials = self._credentials.get_frozen_credentials()
        except (BotoCoreError, ClientError, RuntimeError):  # they cannot be renewed, which boto3 tells better
            return False
        _KnownPayload(credentials, self._region, sha256).add_auth(request)
        try:
            answer = pool.urlopen("PUT", path, body=data, headers=dict(request.headers.items()))
        except HTTPError:
            return False
        if 300 <= answer.status < 500:
            # Another region, other rights: it would be the same for every object, each sent twice.
            self._pool = None
        return answer.status == _OK
