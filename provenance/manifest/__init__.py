"""C2PA Content Credentials: one adapter over c2pa-python that separates what the library mixes."""

from countermark.provenance.manifest.model import (
    Action,
    Ingredient,
    ManifestNode,
    ManifestReport,
    Signer,
)
from countermark.provenance.manifest.read import ManifestExaminer, evidence_of, read_manifest
from countermark.provenance.manifest.trust import TrustStore, default_trust

__all__ = [
    "Action",
    "Ingredient",
    "ManifestExaminer",
    "ManifestNode",
    "ManifestReport",
    "Signer",
    "TrustStore",
    "default_trust",
    "evidence_of",
    "read_manifest",
]
