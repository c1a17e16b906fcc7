#!/usr/bin/env bash
# Audit a paid cache in CI. Usage: TEACHER_API_KEY=sk_... examples/audit_in_ci.sh CACHE VENDOR_URL
# Exit code 1: the cache is damaged, or it and the vendor's ledger disagree; audit.json names each
# difference. Exit code 2: it could not be checked. The key must be the one that the purchases were
# made with; `teacher-server keys limits ID --scope read` makes it unable to buy.
set -euo pipefail
cache=${1:?the cache folder} vendor=${2:?the URL of the vendor}
: "${TEACHER_API_KEY:?the API key that the purchases were made with}"
cache-report --cache "$cache" verify
cache-report --cache "$cache" audit --vendor "$vendor" --json | tee audit.json
