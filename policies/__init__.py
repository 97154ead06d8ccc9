"""From a status to labels and duties: packs, engine, label drawing. Not part of this version yet."""
