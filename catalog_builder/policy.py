"""The JSON by which a bucket is public to read and to list, and open to browsers of other sites."""

from typing import Any

from catalog_builder.location import S3Location


def public_read(target: S3Location) -> dict[str, Any]:
    """Make a bucket policy: everybody may read and list what is under the prefix, and nothing else."""
    bucket = f"arn:aws:s3:::{target.bucket}"
    listing: dict[str, Any] = {
        "Sid": "ListRelease",
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:ListBucket",
        "Resource": bucket,
    }
    if target.prefix:
        listing["Condition"] = {"StringLike": {"s3:prefix": f"{target.prefix}/*"}}
    reading = {
        "Sid": "ReadRelease",
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"{bucket}/{target.key('*')}",
    }
    return {"Version": "2012-10-17", "Statement": [reading, listing]}


def cors() -> dict[str, Any]:
    """Make CORS rules: pages of every site may read, in ranges too, and see what an answer is of."""
    rule = {
        "AllowedOrigins": ["*"],
        "AllowedMethods": ["GET", "HEAD"],
        "AllowedHeaders": ["*"],
        "ExposeHeaders": ["Content-Range", "ETag", "Content-Length", "Accept-Ranges"],
        "MaxAgeSeconds": 3600,
    }
    return {"CORSRules": [rule]}
