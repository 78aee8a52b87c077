#!/usr/bin/env bash
# Runs one command in N processes on this machine, joined by jax.distributed:
#
#   launch/local.sh 2 -- pretrain --config configs/pretrain/rotnet.py --workdir runs/two
#
# If one process fails the rest are stopped; the exit status is that of the first failure. SIGINT and SIGTERM
# are passed on, and the processes save their state. Output of processes other than the first has its number
# in front. Needs bash 5.1. SSL_SINGLE_IMAGE names another executable; SSL_KILL_AFTER is how many seconds the
# rest get to stop after a failure (default 20).
set -euo pipefail
set -m # process groups of their own: Ctrl-C reaches the processes once, through this script

if [[ $# -lt 2 || ! $1 =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: launch/local.sh N -- COMMAND [--flag=value ...]" >&2
  exit 2
fi
count=$1
shift
[[ $1 != -- ]] || shift

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cli=${SSL_SINGLE_IMAGE:-ssl-single-image}
python=python3
if [[ -x $here/.venv/bin/python ]]; then
  python=$here/.venv/bin/python
  cli=${SSL_SINGLE_IMAGE:-$here/.venv/bin/ssl-single-image}
fi
free_port='import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
JAX_COORDINATOR_ADDRESS=127.0.0.1:$("$python" -c "$free_port")
export JAX_COORDINATOR_ADDRESS SSL_NUM_PROCESSES=$count

children=()
stopping=
timer=

send() {
  local pid
  for pid in "${children[@]}"; do
    kill -s "$1" "$pid" 2>/dev/null || true
  done
}

pass_on() {
  stopping=yes
  send "$1"
}

trap 'pass_on INT' INT
trap 'pass_on TERM' TERM

for ((i = 0; i < count; i++)); do
  if ((i == 0)); then
    SSL_PROCESS_ID=0 "$cli" "$@" &
  else
    SSL_PROCESS_ID=$i "$cli" "$@" > >(sed -u "s/^/[$i] /") 2>&1 &
  fi
  children+=("$!")
done

status=0
for ((left = count; left > 0; )); do
  finished=
  code=0
  wait -n -p finished "${children[@]}" || code=$?
  [[ -n ${finished:-} ]] || continue # a signal came in and has been passed on
  left=$((left - 1))
  for i in "${!children[@]}"; do
    [[ ${children[i]} != "$finished" ]] || unset "children[i]"
  done
  ((code != 0 && status == 0)) || continue
  status=$code
  if [[ -z $stopping ]] && ((left > 0)); then
    send TERM
    (
      sleep "${SSL_KILL_AFTER:-20}"
      send KILL
    ) &
    timer=$!
  fi
done
[[ -z $timer ]] || kill -- "-$timer" 2>/dev/null || true
exit "$status"
