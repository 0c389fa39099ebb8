#!/usr/bin/env bash
# The Solidity half's checks: scripts/contracts.sh lint|test|build|check|snapshot
# Works offline once `npm ci --ignore-scripts` was run in contracts/.
set -euo pipefail
cd "$(dirname "$0")/.."

# The binary itself: the package's wrapper of it ends with 0 when tests fail.
forge=$(echo "$PWD"/contracts/node_modules/@foundry-rs/forge-*/bin/forge)
solhint=contracts/node_modules/.bin/solhint
if [[ ! -x $forge || ! -x $solhint ]]; then
  echo "the contracts' tools are not installed; next: (cd contracts && npm ci --ignore-scripts)" >&2
  exit 1
fi
python=python3
[[ -x .venv/bin/python ]] && python=.venv/bin/python

case "${1:-}" in
  lint)
    (cd contracts && "$forge" fmt --check)
    (cd contracts && node_modules/.bin/solhint --disc --max-warnings 0 'src/**/*.sol')
    echo "contracts: formatted, no lint"
    ;;
  test)
    (cd contracts && "$forge" test)
    ;;
  build)
    "$python" scripts/build_contracts.py
    ;;
  check)
    "$python" scripts/build_contracts.py --check
    ;;
  snapshot)
    # Gas of every unit test, for a reviewer to compare; fuzzed figures vary and are left out.
    (cd contracts && "$forge" snapshot --no-match-test '(testFuzz|invariant)_')
    ;;
  *)
    echo "usage: scripts/contracts.sh lint|test|build|check|snapshot" >&2
    exit 2
    ;;
esac
