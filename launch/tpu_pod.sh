#!/usr/bin/env bash
# Runs one command on every worker of a Cloud TPU VM or pod slice:
#
#   launch/tpu_pod.sh --name=pod --zone=us-east5-b -- pretrain --config rotnet:image=cat.jpg --workdir /shared/runs/pod
#
#   --name=NAME      the TPU, as `gcloud compute tpus tpu-vm list` shows it
#   --zone=ZONE      where it is
#   --project=ID     default: that of gcloud's configuration
#   --dir=FOLDER     the clone on the workers, from the home folder; default: ssl_single_image
#   --dry_run        print the gcloud command, and run nothing
#   --stop           in place of a command: what still runs on the workers saves its state and stops
#
# The exit status is gcloud's. The same command resumes the run. Ctrl-C and SIGTERM are passed on to the workers, and
# the state is saved. SSL_SINGLE_IMAGE names another executable on the workers than .venv/bin/ssl-single-image.
set -euo pipefail
set -m # a process group for gcloud: Ctrl-C comes to this script alone, which then stops the workers

fail() {
  echo "launch/tpu_pod.sh: error: $1" >&2
  exit 2
}

# Words as a shell reads them, so that blanks and quotes in them arrive.
quoted() {
  local word line=
  for word in "$@"; do
    [[ $word =~ ^[A-Za-z0-9_./:=@%+,-]+$ ]] || word=${word@Q}
    line+=${line:+ }$word
  done
  printf '%s' "$line"
}

name='' zone='' project='' dir=ssl_single_image dry_run='' stop=''
while (($#)); do
  case $1 in
    --name=* | --zone=* | --project=* | --dir=*)
      option=${1%%=*}
      printf -v "${option#--}" '%s' "${1#*=}"
      ;;
    --name | --zone | --project | --dir)
      (($# > 1)) || fail "$1: needs a value"
      printf -v "${1#--}" '%s' "$2"
      shift
      ;;
    --dry_run) dry_run=yes ;;
    --stop) stop=yes ;;
    --)
      shift
      break
      ;;
    -*) fail "$1: no such option; options of the command come after --" ;;
    *) break ;;
  esac
  shift
done
[[ -n $name ]] || fail "--name: missing; 'gcloud compute tpus tpu-vm list --zone=ZONE' shows the names"
[[ -n $zone ]] || fail "--zone: missing; give the zone of the TPU, such as us-east5-b"
[[ -n $dir ]] || fail "--dir: is empty; give the folder of the clone on the workers"
if [[ -n $stop ]]; then
  (($# == 0)) || fail "--stop: takes no command, but got '$1'"
elif (($# == 0)); then
  fail "no command; give one after --, such as -- pretrain --config rotnet:image=cat.jpg --workdir /shared/runs/pod"
fi

cli=${SSL_SINGLE_IMAGE:-.venv/bin/ssl-single-image}
there="cd $(quoted "$dir")"
# The number of a process may have gone to another program since.
stopping="$there && pid=\$(cat .tpu_pod.pid) && grep -qaF $(quoted "$cli") /proc/\$pid/cmdline && kill -TERM \$pid"
running="$there && echo \$\$ >.tpu_pod.pid && SSL_DISTRIBUTED=auto exec $(quoted "$cli" "$@")"
on_all=(gcloud compute tpus tpu-vm ssh "$name" "--zone=$zone")
[[ -z $project ]] || on_all+=("--project=$project")
on_all+=(--worker=all --quiet)

wanted=$running
[[ -z $stop ]] || wanted=$stopping
if [[ -n $dry_run ]]; then
  quoted "${on_all[@]}" "--command=$wanted"
  echo
  exit 0
fi
command -v gcloud >/dev/null || fail "gcloud: not found; install the Google Cloud CLI, or look with --dry_run"

pass_on() {
  echo "launch/tpu_pod.sh: the workers save their state and stop" >&2
  "${on_all[@]}" "--command=$stopping" </dev/null || true
}

"${on_all[@]}" "--command=$wanted" </dev/null &
gcloud=$!
trap pass_on INT TERM
status=0
wait "$gcloud" || status=$?
while kill -0 "$gcloud" 2>/dev/null; do # the signal ended the wait, not gcloud
  status=0
  wait "$gcloud" || status=$?
done
exit "$status"
