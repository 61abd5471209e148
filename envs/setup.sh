#!/usr/bin/env bash
# Creates .venv with every pinned package and this project in it. When nothing changed it returns at once (stamp file).
#   PYTHON=python3.12 envs/setup.sh        another interpreter (3.11 or newer)
#   TORCH_BACKEND=cu128 envs/setup.sh      a particular PyTorch build; default: what fits this machine
set -euo pipefail
cd "$(dirname "$0")/.."
unset PYTHONDONTWRITEBYTECODE  # without .pyc files every process compiles torch and mlflow anew
venv=.venv
stamp=$venv/.ready-$(cat envs/lock.txt envs/uv.txt envs/torch.txt pyproject.toml envs/setup.sh | sha256sum | cut -c1-16)
[ -e "$stamp" ] && exit 0

find_python() {
  for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3; do
    [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$candidate"; return; }
  done
  echo "setup: no Python >= 3.11 found; install one or set PYTHON=/path/to/python" >&2
  return 1
}

echo "setup: installing pinned packages into $venv (a minute or two, once)" >&2
if [ ! -x $venv/bin/python ]; then python=$(find_python); "$python" -m venv $venv; fi
$venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r envs/uv.txt
install="$venv/bin/uv pip install -q --python $venv/bin/python"
$install --require-hashes -r envs/lock.txt

# torch: a wheel offered locally (pip's find-links or UV_FIND_LINKS) wins, else PyTorch's own build for this machine.
links=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-$($venv/bin/python -m pip config get global.find-links 2>/dev/null || true)}}
if [ -n "$links" ] && ls "${links%% *}"/torch-*.whl >/dev/null 2>&1; then
  UV_FIND_LINKS=${links// /,} $install --no-deps -r envs/torch.txt
else
  $install --torch-backend "${TORCH_BACKEND:-auto}" -r envs/torch.txt
fi
$install --no-deps --no-build-isolation -e .
$venv/bin/python -m compileall -q -j 0 $venv/lib/python3*/site-packages >/dev/null 2>&1 || true
rm -f $venv/.ready-*
touch "$stamp"
