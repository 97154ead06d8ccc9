"""From a status to labels and duties: packs are data, the engine is small, every decision can be replayed."""
