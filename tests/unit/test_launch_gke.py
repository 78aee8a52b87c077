"""The manifests for GKE: their schemas, and that pods find each other, the volume, and a command that can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from kubeflow_trainer_api.models import IoK8sApiCoreV1PersistentVolumeClaim, JobsetV1alpha2JobSet
from launch_fakes import LAUNCH
from pydantic import ValidationError

from ssl_single_image.cli import common
from ssl_single_image.experiments import configs
from ssl_single_image.parallel import distributed

KINDS: dict[str, Any] = {
    "JobSet": JobsetV1alpha2JobSet,
    "PersistentVolumeClaim": IoK8sApiCoreV1PersistentVolumeClaim,
}
"""Kind -> its schema, made from the definitions of Kubernetes and JobSet."""
FILES = sorted(LAUNCH.glob("*.yaml"))
JOBS = [path for path in FILES if "jobset" in path.name]
GPU = LAUNCH / "gke_jobset.yaml"


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def job(path: Path) -> dict[str, Any]:
    """The spec of the one Job in a JobSet."""
    (replicated,) = load(path)["spec"]["replicatedJobs"]
    spec: dict[str, Any] = replicated["template"]["spec"]
    return spec


def container(path: Path) -> dict[str, Any]:
    (found,) = job(path)["template"]["spec"]["containers"]
    return dict(found)


def differences(given: Any, known: Any, place: str = "") -> list[str]:
    """Fields of a manifest that its schema lacks, and those that it needs and fills with nothing."""
    if isinstance(given, dict):
        found = [f"{place}.{name}: unknown" for name in given.keys() - known.keys()]
        found += [f"{place}.{name}: missing" for name in known.keys() - given.keys() if known[name] == ""]
        pairs = [(value, known[name], f"{place}.{name}") for name, value in given.items() if name in known]
    elif isinstance(given, list):
        found, pairs = [], [(*pair, f"{place}[{i}]") for i, pair in enumerate(zip(given, known, strict=True))]
    else:
        found, pairs = [] if given == known else [f"{place}: {given!r} is read as {known!r}"], []
    return found + [text for pair in pairs for text in differences(*pair)]


def check(manifest: dict[str, Any]) -> list[str]:
    return differences(manifest, KINDS[manifest["kind"]].from_dict(manifest).to_dict())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_manifests_keep_to_their_schemas(path: Path) -> None:
    assert check(load(path)) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"paralelism": 2}, "paralelism: unknown"),
        ({"podFailurePolicy": {"rules": [{"action": "Ignore", "onExitCode": {}}]}}, "onExitCode: unknown"),
        ({"template": {"spec": {"containers": [{"image": "x"}]}}}, "name: missing"),
    ],
)
def test_the_schemas_refuse_wrong_fields(change: dict[str, Any], told: str) -> None:
    manifest = load(GPU)
    manifest["spec"]["replicatedJobs"][0]["template"]["spec"] |= change
    assert [told in text for text in check(manifest)] == [True]


def test_the_schemas_refuse_wrong_types() -> None:
    manifest = load(GPU)
    manifest["spec"]["replicatedJobs"][0]["template"]["spec"]["parallelism"] = "two"
    with pytest.raises(ValidationError):
        check(manifest)


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_the_command_can_be_read(path: Path) -> None:
    words = container(path)["args"]
    args = common.parse(words[0], words[0], words)
    configs.read(words[0], args.config)


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_all_pods_run_and_share_the_volume(path: Path) -> None:
    spec, pod = job(path), job(path)["template"]["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["parallelism"] == spec["completions"]
    claims = [v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v]
    volume = load(LAUNCH / "gke_volume.yaml")
    assert claims == [volume["metadata"]["name"]]
    assert volume["spec"]["accessModes"] == ["ReadWriteMany"]
    assert {v["name"] for v in pod["volumes"]} == {m["name"] for m in container(path)["volumeMounts"]}


def test_pods_with_gpus_find_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the second pod, as Kubernetes and JobSet make it, is what the command reads."""
    manifest, spec = load(GPU), job(GPU)
    name, chosen = manifest["metadata"]["name"], manifest["spec"]["coordinator"]
    assert chosen["replicatedJob"] == manifest["spec"]["replicatedJobs"][0]["name"]
    address = f"{name}-{chosen['replicatedJob']}-{chosen['jobIndex']}-{chosen['podIndex']}.{name}"
    assert len(address) <= 63  # it is the value of a label too
    annotations = {
        "metadata.annotations['batch.kubernetes.io/job-completion-index']": "1",
        "metadata.annotations['jobset.sigs.k8s.io/coordinator']": address,
    }
    seen: dict[str, str] = {}
    for entry in container(GPU)["env"]:
        value = entry.get("value") or annotations[entry["valueFrom"]["fieldRef"]["fieldPath"]]
        for known, text in seen.items():
            value = value.replace(f"$({known})", text)
        seen[entry["name"]] = value
        monkeypatch.setenv(entry["name"], value)
    joined: dict[str, Any] = {}
    waited: list[Any] = []
    monkeypatch.setattr(distributed, "_wait_for", lambda *given: waited.append(given))
    monkeypatch.setattr(distributed, "_join", lambda failed, **given: joined.update(given))
    distributed.initialize()
    assert waited == [(f"{address}:8476", 1800)]
    assert joined["process_id"] == 1
    assert joined["num_processes"] == spec["parallelism"]
    assert manifest["spec"]["network"][
        "publishNotReadyAddresses"
    ]  # the first is not ready when the others look


def test_pods_with_tpus_are_found_by_jax() -> None:
    variables = {
        entry["name"]: entry.get("value") for entry in container(LAUNCH / "gke_jobset_tpu.yaml")["env"]
    }
    assert variables["SSL_DISTRIBUTED"] == "auto"
    assert "SSL_NUM_PROCESSES" not in variables  # it would win


def outcome(path: Path, status: int) -> str:
    """What Kubernetes does when a container ends with this status: "Ignore", "FailJob", or "" where no rule tells."""
    for rule in job(path)["podFailurePolicy"]["rules"]:
        if "onExitCodes" in rule:
            assert rule["onExitCodes"]["operator"] == "In"
            if status in rule["onExitCodes"]["values"]:
                return str(rule["action"])
    return ""


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_what_was_saved_is_resumed_and_what_was_lost_begins_anew(path: Path) -> None:
    policy = load(path)["spec"]["failurePolicy"]
    assert outcome(path, 143) == "Ignore"
    assert [outcome(path, status) for status in (1, 134, 137)] == [""] * 3
    assert job(path)["backoffLimit"] == 0  # then the whole JobSet starts anew
    assert policy["maxRestarts"] > 0
    pod = job(path)["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # which rules of exit statuses need
    assert pod["terminationGracePeriodSeconds"] >= 120
    assert "command" not in container(path)  # a shell would keep SIGTERM to itself


def test_bad_input_ends_a_job_on_gpus() -> None:
    assert outcome(GPU, 2) == "FailJob"
    (rule,) = load(GPU)["spec"]["failurePolicy"]["rules"]
    assert rule["action"] == "FailJobSet"
    assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]  # the reason of a Job that FailJob ends
