"""Unsigned metadata: read every generator's signature, write the standard AI labels."""

from countermark.provenance.metadata.read import ContainerExaminer, MetadataExaminer

__all__ = ["ContainerExaminer", "MetadataExaminer"]
