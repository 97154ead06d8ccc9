#!/usr/bin/env bash
# The main job on a real picture: stamp it, scan it, strip it as a platform would, scan it again.
# Usage: examples/demo.sh [PYTHON]      (PYTHON has countermark installed; default: python3)
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
out=demo-output
rm -rf "$out"
mkdir -p "$out"
export COUNTERMARK_HOME="$PWD/$out/home"

run() { # show a command, run it, and accept "1: something found"
    printf '\n$ countermark %s\n' "$*"
    "$python" -m countermark "$@" || [ $? -eq 1 ]
}

echo "A picture made elsewhere, without any mark:"
run scan examples/photo.jpg
echo; echo "A key for this machine, then all marks in one go:"
run keys init
run stamp examples/photo.jpg -o "$out/stamped.jpg" --generator "Demo generator" --model "Demo model 1.0"
run scan "$out/stamped.jpg"
echo; echo "What a platform does: decode, re-encode, forget every byte of metadata."
"$python" -c "from PIL import Image; Image.open('$out/stamped.jpg').save('$out/stripped.jpg', quality=70)"
run scan "$out/stripped.jpg"
run recover "$out/stripped.jpg"
run scan --format html -o "$out/report.html" examples/photo.jpg "$out/stamped.jpg" "$out/stripped.jpg"
echo "Report: $out/report.html"
