#!/usr/bin/env bash
# Slurm and munge from the distribution's packages, for the test cluster; at once when they are there.
# Needs root or sudo. Starts nothing: the tests start what they need, in a folder of their own.
# Exits with 77 where there can be no such cluster, and says why.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin
refuse() { echo "test-slurm: $1" >&2; exit 77; }

if [ -e /etc/slurm/slurm.conf ] || [ -e /etc/slurm-llnl/slurm.conf ] || [ -n "${SLURM_CONF:-}" ] || [ -n "${SLURM_JOB_ID:-}" ]; then
  refuse "this machine belongs to a Slurm cluster (/etc/slurm/slurm.conf, SLURM_CONF or SLURM_JOB_ID); run the tests on another machine."
fi
missing=()
for program in slurmctld slurmd sbatch srun munged; do command -v $program >/dev/null || missing+=("$program"); done
[ ${#missing[@]} -eq 0 ] && exit 0

command -v apt-get >/dev/null || refuse "${missing[*]} missing, and there is no apt-get; install slurmctld, slurmd, the Slurm clients and munge."
if [ "$(id -u)" = 0 ]; then as_root=(); elif sudo -n true 2>/dev/null; then as_root=(sudo -n); else
  refuse "${missing[*]} missing, and installing them takes root or sudo: apt-get install slurmctld slurmd slurm-client munge."
fi
echo "test-slurm: installing slurmctld, slurmd, slurm-client and munge" >&2
install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurmctld slurmd slurm-client munge)
"${as_root[@]}" "${install[@]}" >/dev/null 2>&1 || { "${as_root[@]}" apt-get update -qq && "${as_root[@]}" "${install[@]}" >/dev/null; } \
  || refuse "apt-get could not install the packages; look above."
