#!/usr/bin/env bash
# Start a vendor, buy embeddings within a budget, train a student and audit the purchase.
# Usage: examples/quickstart.sh FOLDER [OPTION ...]   FOLDER holds images as domain/class/file;
# options go to distill-client. Everything is written to $WORK (default: runs/quickstart).
set -euo pipefail
images=${1:?usage: examples/quickstart.sh FOLDER [OPTION ...]}; shift
work=${WORK:-runs/quickstart} port=${PORT:-8000} budget=${BUDGET:-5000}
mkdir -p "$work"
database=sqlite:///$work/ledger.db url=http://127.0.0.1:$port
[ -s "$work/key" ] || (umask 077 && teacher-server keys create --database "$database" \
  --name quickstart --budget "$budget" > "$work/key")
rm -f "$work/url" # the vendor writes it once it accepts connections
teacher-server serve --port "$port" --database "$database" --url-file "$work/url" \
  > "$work/vendor.log" 2>&1 & vendor=$!
trap 'kill "$vendor" && wait "$vendor"' EXIT
until [ -s "$work/url" ]; do kill -0 "$vendor" || { cat "$work/vendor.log"; exit 1; }; sleep 0.2; done
distill-client --budget "$budget" --data "$images" --cache "$work/paid-cache" --out "$work/student" \
  --vendor "$url" --key-file "$work/key" "$@"
cache-report --cache "$work/paid-cache" audit --vendor "$url" --key-file "$work/key"
