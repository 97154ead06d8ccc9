"""What a file says of its own origin: upload, manifest, metadata, watermark, registry, stamp.

Nothing here imports from the other top-level packages.
"""
