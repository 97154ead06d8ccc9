"""``countermark doctor``: what works on this machine, and what to do about the rest."""

from __future__ import annotations

import importlib.util
import os
import platform
import stat
from collections.abc import Callable
from dataclasses import asdict, dataclass

import typer

from countermark.cli.common import JSON_OPTION, emit_json

__all__ = ["doctor_command"]


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: state is ``ok``, ``note`` (optional part missing) or ``problem``."""

    name: str
    state: str
    text: str


def doctor_command(as_json: bool = JSON_OPTION) -> int:
    """Check the installation: libraries, keys, trust lists, and a stamp-and-scan round trip."""
    checks = [_guarded(check) for check in (_python, _c2pa, _decoders, _keys, _trust, _round_trip)]
    if as_json:
        emit_json([asdict(c) for c in checks])
    else:
        for check in checks:
            typer.echo(f"{check.state:<8} {check.name:<12} {check.text}")
    return 3 if any(c.state == "problem" for c in checks) else 0


def _guarded(check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception as exc:  # the doctor reports what is broken, whatever it is
        return Check(check.__name__.strip("_"), "problem", f"{type(exc).__name__}: {exc}")


def _python() -> Check:
    from countermark.provenance.version import VERSION

    return Check("python", "ok", f"countermark {VERSION}, Python {platform.python_version()}, {platform.machine()}")


def _c2pa() -> Check:
    import c2pa

    return Check("c2pa", "ok", f"c2pa-python {c2pa.__version__}, library {c2pa.sdk_version()}")


def _decoders() -> Check:
    import PIL

    optional = {"simplejpeg": "fast JPEG", "pillow_heif": "HEIC", "cv2": "watermarks", "onnxruntime": "classifier"}
    missing = [f"{name} ({use})" for name, use in optional.items() if importlib.util.find_spec(name) is None]
    text = f"Pillow {PIL.__version__}"
    needed = [m for m in missing if m.startswith(("simplejpeg", "pillow_heif"))]
    if needed:
        return Check("decoders", "problem", f"{text}; missing {', '.join(needed)}: reinstall countermark")
    return Check("decoders", "ok", text)


def _keys() -> Check:
    from countermark.provenance.keys import key_folder, local_signing

    key = key_folder() / "signing.key"
    if not key.is_file():
        return Check("keys", "note", "no signing key yet; stamp needs one: `countermark keys init`")
    if os.name == "posix" and stat.S_IMODE(key.stat().st_mode) & 0o077:
        return Check("keys", "problem", f"{key} can be read by others: `chmod 600 {key}`")
    leaf = local_signing().leaf
    return Check("keys", "ok", f"{key_folder()}, valid until {leaf.not_valid_after_utc.date().isoformat()}")


def _trust() -> Check:
    from countermark.provenance.manifest.trust import default_trust, parse_pem

    store = default_trust()
    count = len(parse_pem(store.official.encode(), "official list"))
    return Check("trust", "ok", f"official list of {store.date} with {count} signers, {len(store.providers)} pins")


def _round_trip() -> Check:
    """Sign a small picture with a throw-away authority and read it back."""
    import io
    import tempfile
    from pathlib import Path

    from PIL import Image

    from countermark.provenance.keys import local_signing
    from countermark.provenance.origin import Origin
    from countermark.provenance.stamp import stamp_bytes
    from countermark.provenance.upload import Upload

    out = io.BytesIO()
    Image.new("RGB", (64, 64), (120, 90, 60)).save(out, "PNG")
    with tempfile.TemporaryDirectory() as folder:
        before = os.environ.get("COUNTERMARK_HOME")
        os.environ["COUNTERMARK_HOME"] = str(Path(folder))
        try:
            from countermark.provenance.keys import init_keys

            init_keys()
            stamped = stamp_bytes(Upload(out.getvalue()), Origin(model="doctor"), local_signing())
        finally:
            if before is None:
                del os.environ["COUNTERMARK_HOME"]
            else:
                os.environ["COUNTERMARK_HOME"] = before
    return Check("round trip", "ok", f"stamped and read back: {', '.join(stamped.marks)}")
