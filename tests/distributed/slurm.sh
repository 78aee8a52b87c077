#!/usr/bin/env bash
# Installs SLURM from Debian's packages, where it is not there and root may do so: tests/distributed/test_slurm.py calls it.
set -euo pipefail

[[ -x $(command -v sbatch) && -x $(command -v slurmctld) && -x $(command -v slurmd) ]] && exit 0
[[ $(id -u) == 0 && -x $(command -v apt-get) ]] || {
  echo "SLURM is not installed, and only root can install it, with apt-get" >&2
  exit 1
}
export DEBIAN_FRONTEND=noninteractive
quick=(-o Acquire::Retries=0 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20)
install=(apt-get "${quick[@]}" install -y --no-install-recommends slurmctld slurmd slurm-client)
timeout 180 "${install[@]}" || { timeout 60 apt-get "${quick[@]}" update && timeout 180 "${install[@]}"; }
