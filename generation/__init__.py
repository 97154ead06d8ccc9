"""Prompts in, marked images out: diffusers pipelines and the prompt gate. Not part of this version yet."""
