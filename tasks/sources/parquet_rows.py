"""Rows of parquet files, strictly and in bounded memory, from a disk, from afar or out of an archive."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import PurePath
from typing import IO, Any

from tasks.sources.compression import MAX_RATIO, UNSUSPECTED_BYTES, Blob, DamagedError, is_compressed
from tasks.sources.outcomes import Place
from tasks.sources.records import Record, Records, short

_MOST_ROWS = 256
_MOST_AT_ONCE = 256 << 20
_MOST_HELD = 256 << 20


def parquet(blob: Blob, uri: str, limit: int) -> Records:
    """Rows of a parquet file, a few hundred in memory at a time; page checksums are verified."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if is_compressed(PurePath(blob.name)):
        yield Place(uri, uri).bad("format", "a compressed parquet file; parquet compresses itself")
        return
    with blob.open("rb") as handle:
        try:
            for number, fields in enumerate(_rows_of(pq, _seekable(handle)), 1):
                yield Record(Place(f"{uri}#{number}", f"{uri} row {number}"), fields)
        except (OSError, pa.ArrowException) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise DamagedError("damaged", f"is no readable parquet file ({short(error)})") from error


def _rows_of(pq: Any, handle: IO[bytes]) -> Iterator[dict[str, Any]]:
    """Rows as they come, unless far more come out than the file has bytes."""
    allowed, out = max(UNSUSPECTED_BYTES, MAX_RATIO * handle.seek(0, io.SEEK_END)), 0
    with pq.ParquetFile(handle, page_checksum_verification=True) as file:
        for index in range(file.metadata.num_row_groups):
            rows = _rows_at_once(file.metadata.row_group(index), index)
            for batch in file.iter_batches(batch_size=rows, row_groups=[index]):
                for row in batch.to_pylist():
                    out += sum(len(value) for value in row.values() if isinstance(value, str | bytes))
                    if out > allowed:
                        raise DamagedError(
                            "decompression-bomb", f"unpacks to more than {MAX_RATIO} times its size"
                        )
                    yield row


def _rows_at_once(group: Any, index: int) -> int:
    """How many rows fit into memory even if each of them is the whole of its column's dictionary.

    A file of 973 bytes can hold 2,000 rows that repeat one value of 15 MB.
    """
    columns = [group.column(number) for number in range(group.num_columns)]
    packed = sum(column.total_compressed_size for column in columns)
    if group.total_byte_size > max(UNSUSPECTED_BYTES, MAX_RATIO * packed):
        reason = f"unpacks to more than {MAX_RATIO} times its size in row group {index + 1}"
        raise DamagedError("decompression-bomb", reason)
    largest = max((column.total_uncompressed_size for column in columns), default=0)
    return max(1, min(_MOST_ROWS, _MOST_AT_ONCE // max(1, largest)))


def _seekable(handle: io.BufferedReader) -> IO[bytes]:
    """Parquet begins at its end; what streams by is held in memory."""
    if handle.seekable():
        return handle
    held = handle.read(_MOST_HELD + 1)
    if len(held) > _MOST_HELD:
        reason = f"has more than {_MOST_HELD} bytes, too many to read inside an archive; unpack it first"
        raise DamagedError("too-large", reason)
    return io.BytesIO(held)
