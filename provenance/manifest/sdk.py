"""The one door to c2pa-python: settings that are checked here because the library ignores typos.

Everything that the library gets wrong by default is set right in `settings`: no network, accepted key
usages, no thumbnails. Contexts are cached per process and per trust store.
"""

from __future__ import annotations

import io
import json
import re
from functools import lru_cache
from typing import Any

from countermark.provenance.errors import UsageError

__all__ = ["OFFICIAL", "TSA", "USER", "Anchors", "context", "read_store", "settings"]

OFFICIAL, USER, TSA = "urn:countermark:official", "urn:countermark:user", "urn:countermark:tsa"
Anchors = tuple[tuple[str, str], ...]  # (urn, PEM) pairs, first match wins

_KNOWN = {
    "trust": {"anchors", "trust_config"},
    "verify": {
        "remote_manifest_fetch",
        "ocsp_fetch",
        "verify_trust",
        "verify_timestamp_trust",
        "verify_after_sign",
        "verify_after_reading",
    },
    "core": {"allowed_network_hosts"},
    "builder": {"thumbnail", "actions", "intent"},
}
_REMOTE = re.compile(r"must fetch remote manifests from url\s+(\S+)")


def settings(
    anchors: Anchors = (), eku_oids: tuple[str, ...] = (), *, timestamp_trust: bool = True, verify: bool = True
) -> dict[str, Any]:
    """Settings of one context: offline, no thumbnails, with the given anchors and key usages."""
    usages = "\n".join(eku_oids)
    trust: dict[str, Any] = {
        "anchors": [
            {"trust_anchors": pem, "trust_uri": urn, "trust_kind": "manifest", "trust_config": usages}
            for urn, pem in anchors
            if pem.strip()
        ],
    }
    if usages:
        trust["trust_config"] = usages
    return check_settings(
        {
            "trust": trust,
            "verify": {
                "remote_manifest_fetch": False,
                "ocsp_fetch": False,
                "verify_trust": True,
                "verify_timestamp_trust": timestamp_trust,
                "verify_after_sign": verify,
            },
            "core": {"allowed_network_hosts": []},
            "builder": {"thumbnail": {"enabled": False}},
        }
    )


def check_settings(table: dict[str, Any]) -> dict[str, Any]:
    """Return the settings, or raise `UsageError` for a key that the library would silently ignore."""
    for section, keys in table.items():
        unknown = set(keys) - _KNOWN[section] if section in _KNOWN else {section}
        if unknown:
            raise UsageError(f"Unknown C2PA setting {section}.{sorted(unknown)[0]}; it would have no effect.")
    return table


@lru_cache(maxsize=32)
def context(anchors: Anchors, eku_oids: tuple[str, ...], timestamp_trust: bool = True, verify: bool = True) -> Any:
    """A cached c2pa Context."""
    import c2pa

    table = settings(anchors, eku_oids, timestamp_trust=timestamp_trust, verify=verify)
    return c2pa.Context.from_dict(table)


def read_store(
    data: bytes, media_type: str, ctx: Any, store: bytes | None = None
) -> tuple[str, dict[str, Any] | None, str]:
    """Read the manifest store of a file; no exception of the library escapes.

    Args:
        data: the whole file.
        media_type: its sniffed media type.
        ctx: from `context`.
        store: a detached manifest store to check the file against instead of the embedded one.

    Returns:
        ``(presence, crjson, note)``: presence is ``absent``, ``embedded``, ``remote`` (note is the URL),
        ``malformed`` (there are credentials, but they are damaged) or ``unreadable`` (the container
        itself cannot be parsed, so that nobody knows); note is the library's reason. crjson has
        ``state`` added.
    """
    import c2pa

    try:
        if store is None:
            reader = c2pa.Reader.try_create(media_type, io.BytesIO(data), context=ctx)
        else:
            reader = c2pa.Reader(media_type, io.BytesIO(data), manifest_data=store, context=ctx)
        if reader is None:
            return "absent", None, ""
        with reader:
            table: dict[str, Any] = json.loads(reader.crjson())
            table["state"] = reader.get_validation_state() or "Invalid"
            return "embedded", table, ""
    except (c2pa.C2paError, ValueError, UnicodeError) as exc:
        return _failure(str(exc), data)


def _failure(message: str, data: bytes) -> tuple[str, None, str]:
    if message.startswith("ManifestNotFound"):
        return "absent", None, ""
    if message.startswith("NotSupported"):
        return "absent", None, message
    if match := _REMOTE.search(message):
        return "remote", None, match[1]
    if "asset could not be parsed" in message and not (b"jumb" in data and b"c2pa" in data):
        return "unreadable", None, message[:300]
    return "malformed", None, message[:300]
