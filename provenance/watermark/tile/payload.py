"""What the own mark says: version, record id, authentication tag; and the secrets it is made with."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from countermark.provenance.errors import UsageError

__all__ = ["BITS", "ID_BITS", "PUBLIC", "VERSION", "MarkKey", "Payload", "new_payload"]

VERSION = 1
ID_BITS, TAG_BITS = 40, 20
BITS = 4 + ID_BITS + TAG_BITS


@dataclass(frozen=True, slots=True)
class MarkKey:
    """A watermark secret.

    Attributes:
        secret: 32 bytes. Who has it can write and read marks under it.
        public: the key that ships with the source; anyone can forge marks under it.
    """

    secret: bytes = field(repr=False)
    public: bool = False

    def __post_init__(self) -> None:
        if len(self.secret) != 32:
            raise UsageError(f"A watermark secret has 32 bytes; this one has {len(self.secret)}.")

    @property
    def key_id(self) -> str:
        """8 hex digits that name the key without giving it away."""
        return hashlib.sha256(b"countermark key id" + self.secret).hexdigest()[:8]


PUBLIC = MarkKey(hashlib.sha256(b"countermark public key 1").digest(), public=True)
"""Used where no key was made. It is in the source, so its marks prove nothing by themselves."""


@dataclass(frozen=True, slots=True)
class Payload:
    """64 bits: version (4), id (40), tag (20), each with its highest bit first.

    Attributes:
        record: the 40 bit id.
        tag: the first 20 bits of HMAC-SHA256(secret, version and id).
    """

    record: int
    tag: int

    @property
    def mark_id(self) -> str:
        """All 64 bits as 16 hex digits: the registry's id, and the value of the C2PA soft binding."""
        return f"{VERSION << 60 | self.record << TAG_BITS | self.tag:016x}"

    @property
    def bits(self) -> npt.NDArray[np.uint8]:
        """(64,) of 0 and 1."""
        return np.unpackbits(np.frombuffer(bytes.fromhex(self.mark_id), np.uint8))


def payload_of(record: int, key: MarkKey) -> Payload:
    """The payload for an id under a key."""
    if not 0 <= record < 1 << ID_BITS:
        raise UsageError(f"A record id has {ID_BITS} bits; {record} does not fit.")
    digest = hmac.digest(key.secret, b"countermark tag" + bytes([VERSION]) + record.to_bytes(5, "big"), "sha256")
    return Payload(record, int.from_bytes(digest[:4], "big") >> (32 - TAG_BITS))


def new_payload(key: MarkKey) -> Payload:
    """A payload with a fresh random id."""
    return payload_of(secrets.randbits(ID_BITS), key)


def parse(bits: npt.NDArray[np.uint8], key: MarkKey) -> Payload | None:
    """The payload that 64 decoded bits are, if their version is known and their tag is right."""
    value = int.from_bytes(np.packbits(bits).tobytes(), "big")
    record = value >> TAG_BITS & (1 << ID_BITS) - 1
    made = payload_of(record, key)
    return made if value >> 60 == VERSION and made.tag == value & (1 << TAG_BITS) - 1 else None


def from_mark_id(mark_id: str, key: MarkKey) -> Payload | None:
    """The payload that a registry id is under a key, or None where it is of another key or kind."""
    try:
        raw = bytes.fromhex(mark_id)
    except ValueError:
        return None
    return parse(np.unpackbits(np.frombuffer(raw, np.uint8)), key) if len(raw) == BITS // 8 else None
