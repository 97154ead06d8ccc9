"""The own invisible mark: a keyed spread-spectrum pattern on a periodic tile.

`embed` writes a 64 bit payload (version, record id, authentication tag) into a picture's luma; `detect` finds it
after recompression, scaling, stretching, rotation, mirroring and cropping, says under which key, and states the
probability of a false positive. The format is described in docs/watermark-format.md.
"""

from countermark.provenance.watermark.tile.detect import Detection, detect, detect_frames, verify
from countermark.provenance.watermark.tile.embed import embed
from countermark.provenance.watermark.tile.payload import PUBLIC, MarkKey, Payload, new_payload

__all__ = ["PUBLIC", "Detection", "MarkKey", "Payload", "detect", "detect_frames", "embed", "new_payload", "verify"]

ALGORITHM = "app.countermark.tile.1"
"""Name in the C2PA soft binding; the value is the payload as 16 hex digits."""
