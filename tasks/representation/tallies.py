"""What each document says, kept with the audit so that two corpora can be held against each other by document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.canonical import fingerprint_of
from tasks.representation.counting import Tally
from tasks.representation.lexicon import GENDERS, NEGATIVE, OCCUPATIONS, POSITIVE

Integers = NDArray[np.int64]
FILE = "mentions.parquet"
ANYWHERE = ""
# ``beside`` is nothing for every mention of a group, else what stands near it: one of `counting`'s kinds or, for women
# and men, an occupation by its name. Counts of nought are left out.
_COUNT = pa.struct([("group", pa.string()), ("beside", pa.string()), ("count", pa.int32())])
_SCHEMA = pa.schema(
    [("id", pa.string()), ("domain", pa.string()), ("words", pa.int64()), ("counts", pa.list_(_COUNT))]
)
_LISTS = b"unveil.lists"


def row(document: Mapping[str, str], tally: Tally) -> dict[str, Any]:
    """One document (``id``, ``domain``) as a row of the table."""
    counts = {(group, ANYWHERE): count for group, count in tally.mentions.items()}
    counts |= dict(tally.near)
    counts |= {pair: count for pair, count in tally.occupations.items() if pair[0] in GENDERS}
    told = [
        {"group": group, "beside": beside, "count": count}
        for (group, beside), count in sorted(counts.items())
    ]
    return {"id": document["id"], "domain": document["domain"], "words": tally.words, "counts": told}


def table(rows: list[dict[str, Any]], lexicon: Mapping[str, str], window: int) -> pa.Table:
    """The rows, with a digest of the lists and the width of the window by which they were counted."""
    others = {"occupations": OCCUPATIONS, "praise": POSITIVE, "blame": NEGATIVE, "window": window}
    lists = fingerprint_of({"groups": dict(lexicon), **others})
    return pa.Table.from_pylist(rows, schema=_SCHEMA.with_metadata({_LISTS: lists.encode()}))


def counted_by(found: pa.Table) -> str:
    """The digest of the lists by which a table was counted; numbers counted by others cannot be compared."""
    metadata: dict[bytes, bytes] = found.schema.metadata or {}
    return metadata.get(_LISTS, b"").decode()


def counts_of(found: pa.Table) -> dict[tuple[str, str], tuple[Integers, Integers]]:
    """By group and what it is beside: the places of the documents that have it, and how often."""
    lists = found["counts"].combine_chunks()
    places = np.repeat(np.arange(len(lists)), lists.value_lengths().to_numpy())
    flat = lists.flatten()
    pairs = pc.binary_join_element_wise(flat.field("group"), flat.field("beside"), "\0").dictionary_encode()
    numbers, counts = pairs.indices.to_numpy(), flat.field("count").to_numpy().astype(np.int64)
    of_each = {
        tuple(name.rsplit("\0", 1)): numbers == at for at, name in enumerate(pairs.dictionary.to_pylist())
    }
    return {(group, beside): (places[own], counts[own]) for (group, beside), own in of_each.items()}
