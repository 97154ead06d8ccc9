"""Build and sign C2PA manifests that the official rubrics read without ambiguity (C2PA 2.4).

Every assertion is marked ``created``: the library otherwise files actions under "gathered", which
verifiers call ambiguous. Thumbnails are off: they cost more time than all the rest and can exceed the
picture in size.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from countermark.provenance.errors import MarkError, UsageError
from countermark.provenance.evidence import Claim
from countermark.provenance.keys import Signing
from countermark.provenance.manifest.sdk import context
from countermark.provenance.manifest.vocabulary import AI_DISCLOSURE, source_type_claim
from countermark.provenance.origin import Origin, SoftBinding

__all__ = ["Parent", "Signed", "definition", "sign_manifest"]

_PARAMETERS = "app.countermark.generation"
_SPEC = "2.4"


@dataclass(frozen=True, slots=True)
class Parent:
    """A file that went into the picture.

    Attributes:
        data: its bytes, with its own manifest if it has one.
        media_type: IANA media type.
        title: name to show.
        relationship: ``parentOf`` (this picture is a later state of it), ``componentOf`` or ``inputTo``.
    """

    data: bytes
    media_type: str
    title: str = "parent"
    relationship: str = "parentOf"


@dataclass(frozen=True, slots=True)
class Signed:
    """The result of signing.

    Attributes:
        data: the signed file.
        manifest: its manifest store, as kept in a registry or sidecar.
        time_stamped: whether a time stamp was obtained.
        warning: what did not work, or empty.
    """

    data: bytes
    manifest: bytes
    time_stamped: bool
    warning: str = ""


def definition(origin: Origin, title: str, parents: Sequence[Parent], binding: SoftBinding | None) -> dict[str, Any]:
    """The manifest definition: what is said, before it is signed."""
    from countermark.provenance.version import VERSION

    when = (origin.when or dt.datetime.now(dt.UTC)).astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assertions = [_created("c2pa.actions.v2", _history(origin, parents, binding, when))]
    if binding:
        blocks = [{"scope": {}, "value": binding.value}]
        assertions.append(_created("c2pa.soft-binding", {"alg": binding.alg, "blocks": blocks}))
    if origin.is_ai:
        assertions.append(_created(AI_DISCLOSURE, _disclosure(origin)))
    if origin.training:
        use = {"use": origin.training}
        entries = {f"cawg.{k}": use for k in ("ai_generative_training", "ai_training", "data_mining", "ai_inference")}
        assertions.append(_created("cawg.training-mining", {"entries": entries}))
    if facts := _facts(origin):
        assertions.append(_created(_PARAMETERS, facts))
    return {
        "claim_generator_info": [{"name": "Countermark", "version": VERSION, "specVersion": _SPEC}],
        "title": origin.title or title,
        "assertions": assertions,
    }


def _created(label: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"label": label, "created": True, "data": data}


def _agent(origin: Origin) -> dict[str, str]:
    name = origin.model or origin.generator or "unnamed model"
    version = origin.model_version if origin.model else origin.generator_version
    return {"name": name, **({"version": version} if version else {})}


def _history(origin: Origin, parents: Sequence[Parent], binding: SoftBinding | None, when: str) -> dict[str, Any]:
    """First created or opened, then what was done; ``opened`` carries no source type (C2PA 2.4, 18.15)."""
    own = {"when": when, "digitalSourceType": origin.source_type}
    if origin.is_ai or origin.model or origin.generator:
        own["softwareAgent"] = _agent(origin)  # type: ignore[assignment]
    actions: list[dict[str, Any]] = []
    for index, parent in enumerate(parents):
        ids = {"ingredientIds": [_ingredient_id(index)]}
        if parent.relationship == "parentOf":
            actions.insert(0, {"action": "c2pa.opened", "when": when, "parameters": ids})
        elif parent.relationship == "componentOf":
            actions.append({"action": "c2pa.placed", "when": when, "parameters": ids, **own})
    opened = bool(actions) and actions[0]["action"] == "c2pa.opened"
    actions.insert(1 if opened else 0, {"action": "c2pa.edited" if opened else "c2pa.created", **own})
    if binding:
        actions.append({"action": "c2pa.watermarked.bound", "when": when})
    return {"actions": actions, "allActionsIncluded": True}


def _disclosure(origin: Origin) -> dict[str, Any]:
    model = origin.model or origin.generator or "unnamed model"
    identifier = "/".join(part for part in (model, origin.model_version) if part)
    return {
        "modelType": "c2pa.types.model",
        "modelName": model,
        "modelIdentifier": identifier,
        "contentProfile": {"humanOversightLevel": origin.oversight},
    }


def _facts(origin: Origin) -> dict[str, Any]:
    facts = {
        "generator": " ".join(p for p in (origin.generator, origin.generator_version) if p),
        "prompt": origin.prompt,
        "promptWriter": origin.prompt_writer,
        "parameters": {k: v for k, v in origin.parameters.items() if v not in ("", None)},
    }
    return {k: v for k, v in facts.items() if v}


def _ingredient_id(index: int) -> str:
    return f"countermark-ingredient-{index}"


def sign_manifest(
    data: bytes,
    media_type: str,
    origin: Origin,
    signing: Signing,
    *,
    title: str = "",
    parents: Sequence[Parent] = (),
    binding: SoftBinding | None = None,
    verify: bool = True,
) -> Signed:
    """Sign a file with a new manifest.

    Args:
        data: the file, with all other marks already in it.
        media_type: its media type.
        origin: what to say.
        signing: key, chain and optional time-stamping service.
        title: title when the origin has none.
        parents: files that went into it; at most one ``parentOf``.
        binding: the watermark that the file carries.
        verify: let the library check its own signature; the caller may check the result itself.

    Raises:
        UsageError: more than one parentOf, or an AI edit that names no parent.
        MarkError: signing failed; nothing was produced.
    """
    if sum(p.relationship == "parentOf" for p in parents) > 1:
        raise UsageError("Only one parent may be 'parentOf'; name the others 'componentOf' or 'inputTo'.")
    manifest = definition(origin, title, parents, binding)
    if signing.tsa_url:
        try:
            out = _sign(data, media_type, manifest, signing, signing.tsa_url, parents, verify)
            return Signed(*out, time_stamped=True)
        except MarkError as exc:
            if signing.tsa_required:
                raise MarkError(
                    f"Time stamping by {_host(signing.tsa_url)} failed and was required: {exc}. "
                    "Try again, or sign without --tsa-required."
                ) from exc
            warning = f"No time stamp: {_host(signing.tsa_url)} did not answer. The signature stands without one."
            return Signed(*_sign(data, media_type, manifest, signing, None, parents, verify), False, warning)
    return Signed(*_sign(data, media_type, manifest, signing, None, parents, verify), time_stamped=False)


def _host(url: str) -> str:
    return urlsplit(url).hostname or "the service"


def _sign(
    data: bytes,
    media_type: str,
    manifest: dict[str, Any],
    signing: Signing,
    tsa_url: str | None,
    parents: Sequence[Parent],
    verify: bool,
) -> tuple[bytes, bytes]:
    import c2pa

    if tsa_url:
        _reach(tsa_url)
    failures: list[BaseException] = []

    def guarded(payload: bytes) -> bytes:
        """The library only logs what a callback raises, so it is kept here."""
        try:
            return signing.sign(payload)
        except BaseException as exc:
            failures.append(exc)
            raise

    def signer_of() -> Any:
        if signing.key_pem is None:
            algorithm = getattr(c2pa.C2paSigningAlg, signing.algorithm.upper())
            return c2pa.Signer.from_callback(guarded, algorithm, signing.chain, tsa_url)
        name, chain, tsa = signing.algorithm.encode(), signing.chain.encode(), (tsa_url or "").encode()
        return c2pa.Signer.from_info(c2pa.C2paSignerInfo(name, chain, signing.key_pem, tsa or None))

    target = io.BytesIO()
    try:
        with (
            signer_of() as signer,
            c2pa.Builder(manifest, context=context((), (), True, verify)) as builder,
        ):
            for index, parent in enumerate(parents):
                builder.add_ingredient(_ingredient(parent, index), parent.media_type, io.BytesIO(parent.data))
            store = builder.sign(signer, media_type, io.BytesIO(data), target)
    except c2pa.C2paError as exc:
        if failures:
            raise MarkError(f"The signing callback failed: {failures[0]}") from failures[0]
        raise MarkError(_explain(str(exc), media_type)) from exc
    return target.getvalue(), bytes(store)


def _ingredient(parent: Parent, index: int) -> str:
    identity = _ingredient_id(index)
    return json.dumps(
        {"title": parent.title, "relationship": parent.relationship, "instance_id": identity, "label": identity}
    )


def _reach(url: str, seconds: float = 5.0) -> None:
    """Fail early when the time-stamping service is dead: the library would wait for its own time-out."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"--tsa: expected an http or https address, got {url!r}.")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname, port), timeout=seconds).close()
    except OSError as exc:
        raise MarkError(f"{parts.hostname}:{port} cannot be reached ({exc})") from exc


def _explain(message: str, media_type: str) -> str:
    if "the certificate" in message:
        return (
            "The signing certificate does not fit the C2PA profile. It needs: key usage digitalSignature, "
            "an extended key usage such as emailProtection, an authority key identifier, not expired, "
            f"leaf first in the chain. The library says: {message}"
        )
    if "NotSupported" in message:
        return f"C2PA manifests cannot be embedded in {media_type}."
    return f"Signing failed: {message}"


def claim_of(origin: Origin) -> Claim:
    """What a scan must find after the manifest was written."""
    return source_type_claim(origin.source_type)
