"""A Bloom filter (Bloom 1970) of 128-bit hashes, sized exactly, with a file of its own.

The file: a header of ``HEADER_BYTES`` (``MAGIC``, version, number of probes, number of bits, number of units added,
length of the history), the bits as little-endian 64-bit words, and the history: which files were added by which runs.
"""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from ..config.dedupe import BloomFilterConfig
from ..errors import UserError
from ..files import atomic_write
from ..hashes import Hashes
from ..kernels.bloom import count_bits, probe
from ..reading import DAMAGE, open_read

MAGIC = b"ddBLOOM\0"
VERSION = 1
HEADER = struct.Struct("<8sIIQQQ")
HEADER_BYTES = 4096  # a page, so that the bits can be mapped into memory
DOLMA_MAGIC = 0x81F0F117  # of allenai/dolma, src/bloom_filter.rs
MAX_PROBES = 255


class Addition(msgspec.Struct):
    """A file that was added: its path as given and its digest, and the fingerprint of the run that added it."""

    path: str
    digest: str
    run: str = ""


@dataclass
class BloomFilter:
    """``bits`` places in 64-bit ``words``; a unit has ``probes`` of them."""

    bits: int
    probes: int
    words: npt.NDArray[np.uint64]
    added: int = 0
    history: list[Addition] = field(default_factory=list)

    def look_up(self, hashes: Hashes, add: bool) -> npt.NDArray[np.bool_]:
        """Which of ``hashes`` [N, 2] are held, in their order; with ``add`` each one is held afterwards."""
        held: npt.NDArray[np.bool_] = probe(self.words, self.bits, self.probes, np.ascontiguousarray(hashes), add)
        if add:
            self.added += int(len(held) - held.sum())
        return held

    @property
    def false_positive_rate(self) -> float:
        """Share of new units that are taken for known ones as the filter is filled now: fill ratio ^ probes."""
        return float(count_bits(self.words) / self.bits) ** self.probes

    def describe(self) -> str:
        """Size, fill and real false-positive rate, in one line."""
        return (
            f"{self.words.nbytes:,} bytes, {self.probes} probes, {self.added:,} units, "
            f"false-positive rate {self.false_positive_rate:.3g}"
        )


def new_filter(bits: int, probes: int) -> BloomFilter:
    """An empty filter."""
    if bits < 1:
        raise UserError("a Bloom filter without bits", where="bloom_filter", fix="give a larger size")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if bits // 8 > memory:
        raise UserError(
            f"the Bloom filter takes {bits / 8e9:,.1f} GB, this machine has {memory / 1e9:,.1f} GB of memory",
            where="bloom_filter",
            fix="lower estimated_doc_count, or divide the work with dedupe.num_partitions",
        )
    return BloomFilter(bits, min(max(probes, 1), MAX_PROBES), np.zeros(-(-bits // 64), dtype=np.uint64))


def check_settings(config: BloomFilterConfig) -> None:
    """UserError for settings that give no size, or that are no numbers of their kind."""
    for name in ("size_in_bytes", "estimated_doc_count"):
        if getattr(config, name) < 0:
            raise UserError(f"bloom_filter.{name} is {getattr(config, name)}", fix="give 0 or more")
    if not 0.0 <= config.desired_false_positive_rate < 1.0:
        raise UserError(
            f"bloom_filter.desired_false_positive_rate is {config.desired_false_positive_rate}",
            fix="give a share such as 1e-6",
        )
    if not config.size_in_bytes and not (config.estimated_doc_count and config.desired_false_positive_rate):
        raise UserError(
            "the Bloom filter has no size",
            where="bloom_filter",
            fix="give estimated_doc_count and desired_false_positive_rate, or size_in_bytes",
        )


def size_filter(config: BloomFilterConfig, units: int) -> BloomFilter:
    """A new filter: ``size_in_bytes``, or as many bits as the rate needs at ``estimated_doc_count`` units.

    The number of probes is the best for that many units; a size without a count takes ``units``, those of the run.
    """
    check_settings(config)
    count = config.estimated_doc_count or max(units, 1)
    if config.size_in_bytes:
        bits = 8 * config.size_in_bytes
    else:
        bits = math.ceil(-count * math.log(config.desired_false_positive_rate) / math.log(2) ** 2)
    return new_filter(max(bits, 64), round(bits / count * math.log(2)))


def expected_rate(bits: int, probes: int, units: int) -> float:
    """False-positive rate to be expected with ``units`` units in."""
    return float((1 - math.exp(-probes * units / bits)) ** probes)


def read_filter(path: str) -> BloomFilter:
    """Read a filter; a file of another kind is a UserError that says why it cannot be used."""
    with open_read(path) as stream:
        header = stream.read(HEADER_BYTES)
        if len(header) >= 4 and struct.unpack("<I", header[:4])[0] == DOLMA_MAGIC:
            raise UserError(
                "a filter of allenai/dolma: its hash differs between builds and processors, so nobody else can read it",
                where=path,
                fix="make the filter again from its documents (dedupe.against takes them, too)",
            )
        if len(header) < HEADER_BYTES or not header.startswith(MAGIC):
            raise UserError("not a Bloom filter", where=path, fix="give another file, or remove this one")
        _, version, probes, bits, added, length = HEADER.unpack(header[: HEADER.size])
        if version != VERSION:
            raise UserError(f"a Bloom filter of version {version}", where=path, fix="make the filter again")
        try:
            rest = memoryview(stream.read())
        except DAMAGE as error:
            raise UserError(f"the Bloom filter is damaged: {error}", where=path, fix="make the filter again") from error
    size = 8 * -(-bits // 64)
    if not bits or not 1 <= probes <= MAX_PROBES or len(rest) != size + length:
        raise UserError("the Bloom filter is damaged or cut off", where=path, fix="make the filter again")
    try:
        additions = msgspec.json.decode(rest[size:], type=list[Addition])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = f"the Bloom filter's list of what it holds is damaged: {error}"
        raise UserError(problem, where=path, fix="make the filter again") from error
    words = np.frombuffer(bytearray(rest[:size]), dtype="<u8").astype(np.uint64, copy=False)
    return BloomFilter(bits, probes, words, added, additions)


def write_filter(path: str, held: BloomFilter) -> None:
    """Write a filter whole or not at all."""
    history = msgspec.json.encode(held.history)
    header = HEADER.pack(MAGIC, VERSION, held.probes, held.bits, held.added, len(history))
    with atomic_write(path) as stream:
        stream.write(header.ljust(HEADER_BYTES, b"\0"))
        stream.write(held.words.astype("<u8", copy=False).data)
        stream.write(history)


def leftovers(held: BloomFilter, files: list[tuple[str, str]]) -> list[Any]:
    """Those of ``files`` (path and digest) that were added to the filter before, under whatever path."""
    known = {addition.digest: addition.path for addition in held.history}
    return [(path, known[digest]) for path, digest in files if digest in known]
