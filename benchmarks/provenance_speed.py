"""Speed of signing, reading and scanning, side by side with c2pa-python's defaults and encypher-c2pa.

    pip install -c constraints.txt ".[test,bench]"
    taskset -c 0 python benchmarks/provenance_speed.py      # one core
    python benchmarks/provenance_speed.py --jobs            # two worker processes against one

Every row is measured in the same run on the same bytes; median (minimum) of the repetitions, ms.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import c2pa
from PIL import Image
from skimage import data as pictures

from countermark.batch import scan_many
from countermark.provenance.keys import init_keys, local_signing
from countermark.provenance.manifest import ManifestExaminer, read_manifest
from countermark.provenance.manifest.write import definition, sign_manifest
from countermark.provenance.metadata import ContainerExaminer, MetadataExaminer
from countermark.provenance.origin import Origin
from countermark.provenance.upload import Upload
from countermark.scanning import scan
from countermark.stamping import stamp

ORIGIN = Origin(model="Benchmark model", model_version="1")


def picture(side: int = 1024) -> Image.Image:
    """A photograph enlarged to ``side`` with fresh grain, so that it costs what a photograph costs."""
    import numpy as np

    base = np.asarray(Image.fromarray(pictures.astronaut()).resize((side, side), Image.Resampling.BICUBIC))
    grain = np.random.default_rng(0).normal(0, 4, base.shape)
    return Image.fromarray(np.clip(base + grain, 0, 255).astype(np.uint8))


def encode(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def clock(run: Callable[[], object], times: int) -> tuple[float, float]:
    """Median and minimum, ms, after one warm-up."""
    run()
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        spent.append((time.perf_counter() - start) * 1000.0)
    return statistics.median(spent), min(spent)


def row(name: str, result: tuple[float, float], target: str = "") -> None:
    print(f"  {name:<58} {result[0]:8.1f} ({result[1]:.1f})   {target}")


def default_sign(source: bytes, media_type: str) -> bytes:
    """c2pa-python as its README uses it: default settings."""
    local = local_signing()
    info = c2pa.C2paSignerInfo(b"es256", local.chain.encode(), local.key_pem, None)
    out = io.BytesIO()
    with c2pa.Signer.from_info(info) as signer, c2pa.Builder(definition(ORIGIN, "x", (), None)) as builder:
        builder.sign(signer, media_type, io.BytesIO(source), out)
    return out.getvalue()


def default_read(signed: bytes, media_type: str) -> str:
    with c2pa.Reader(media_type, io.BytesIO(signed)) as reader:
        return str(json.loads(reader.json())["validation_state"])


def signing(jpeg: bytes, png: bytes, times: int) -> dict[str, bytes]:
    print("sign, 1 MP")
    signed = {}
    for name, source, media_type, target in (
        ("JPEG", jpeg, "image/jpeg", "target <= 12"),
        ("PNG", png, "image/png", "target <= 60"),
    ):
        ours = lambda s=source, m=media_type: sign_manifest(s, m, ORIGIN, local_signing())  # noqa: E731
        row(f"{name} countermark (checked by the library)", clock(ours, times), target)
        peer = lambda s=source, m=media_type: default_sign(s, m)  # noqa: E731
        row(f"{name} c2pa-python defaults", clock(peer, max(3, times // 5)))
        stamping = lambda s=source: stamp(s, None, ORIGIN)  # noqa: E731
        row(f"{name} countermark stamp (all marks, read back, judged)", clock(stamping, times))
        signed[media_type] = ours().data
        extra = len(signed[media_type]) - len(source), len(peer()) - len(source)
        print(f"  {name} bytes added: countermark {extra[0]:,}, c2pa-python defaults {extra[1]:,}")
    return signed


def reading(signed: dict[str, bytes], times: int) -> None:
    print("read and verify, 1 MP")
    try:
        import encypher_c2pa
    except ImportError:
        encypher_c2pa = None
    for media_type, data in signed.items():
        name = media_type.split("/")[1].upper()
        target = "target <= 10" if name == "JPEG" else ""
        row(f"{name} countermark", clock(lambda d=data: read_manifest(Upload(d)), times), target)
        row(f"{name} c2pa-python defaults", clock(lambda d=data, m=media_type: default_read(d, m), times))
        if encypher_c2pa is not None:
            row(
                f"{name} encypher-c2pa {encypher_c2pa.__version__}",
                clock(peer_read(encypher_c2pa, data, media_type), times),
            )


def peer_read(module: object, data: bytes, media_type: str) -> Callable[[], object]:
    """encypher-c2pa's own entry point, whatever it is called in the installed version."""
    for name in ("verify_bytes", "verify", "read_bytes", "read"):
        function = getattr(module, name, None)
        if callable(function):
            for arguments in ((data, media_type), (data,)):
                try:
                    function(*arguments)
                except TypeError:
                    continue
                return lambda f=function, a=arguments: f(*a)
    raise SystemExit(f"no entry point known in encypher-c2pa: {dir(module)}")


def scanning(jpeg: bytes, times: int) -> None:
    print("scan an unsigned 1 MP JPEG")
    few = [ManifestExaminer(), MetadataExaminer(), ContainerExaminer()]
    plain = clock(lambda: scan(jpeg, examiners=few), times)
    row("upload + decode + manifest + metadata + resolve", plain, "target <= 20")
    row("the same with public marks and the registry", clock(lambda: scan(jpeg), times))
    result = scan(jpeg)
    parts = ", ".join(f"{e.name} {e.ms:.2f}" for e in result.evidence)
    print(f"  of which: {parts}")


def start_up(times: int) -> None:
    print("start-up (whole process, python itself included)")
    bare = clock(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True), times)
    for name, code, target in (
        ("import countermark", ["-c", "import countermark"], "target < 150"),
        ("countermark --help", ["-m", "countermark", "--help"], "target < 400"),
    ):
        command = [sys.executable, *code]
        row(name, clock(lambda c=command: subprocess.run(c, check=True, capture_output=True), times), target)
    row("python -c pass", bare)


def jobs(count: int) -> None:
    """Throughput over a folder with one process and with two."""
    with tempfile.TemporaryDirectory() as folder:
        image = picture()
        for i in range(count):
            source = encode(image, "JPEG", quality=80 + i % 15)
            Path(folder, f"{i:04}.jpg").write_bytes(stamp(source, None, ORIGIN).data if i % 2 else source)
        paths = sorted(Path(folder).glob("*.jpg"))
        rates = {}
        for n in (1, 2):
            start = time.perf_counter()
            assert sum(1 for _ in scan_many(paths, n)) == count
            rates[n] = count / (time.perf_counter() - start)
        print(f"scan {count} JPEGs of 1 MP, half of them signed, start of the workers included")
        print(f"  1 job {rates[1]:.0f}/s, 2 jobs {rates[2]:.0f}/s: {rates[2] / rates[1]:.2f} x   target >= 1.7 x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=25)
    parser.add_argument("--jobs", action="store_true", help="measure two worker processes against one")
    parser.add_argument("--count", type=int, default=800)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["COUNTERMARK_HOME"] = home
        init_keys()
        if options.jobs:
            jobs(options.count)
            return
        image = picture()
        jpeg, png = encode(image, "JPEG", quality=90), encode(image, "PNG")
        print(f"1024 x 1024: JPEG {len(jpeg):,} bytes, PNG {len(png):,} bytes; median (min) ms of {options.times}")
        signed = signing(jpeg, png, options.times)
        reading(signed, options.times)
        scanning(jpeg, options.times)
        start_up(max(5, options.times // 3))


if __name__ == "__main__":
    main()
