"""The hashing of the specification's background service, one file after another as it does
it, without its sleeps and its database."""

import asyncio
import hashlib
import sys


async def _calculate_file_hash(file_path: str) -> str:
    hash_sha256 = hashlib.sha256()
    with open(file_path, "rb") as f:
        for chunk in iter(lambda: f.read(4096), b""):
            hash_sha256.update(chunk)
    return hash_sha256.hexdigest()


async def main():
    for path in sys.stdin.read().split("\0"):
        if path:
            print(await _calculate_file_hash(path), path)


asyncio.run(main())
