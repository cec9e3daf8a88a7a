"""The Helm chart, rendered by helm: it follows Kubernetes' schemas, and its settings are PyOCI's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import pyoci
from pyoci import server
from pyoci.config import Settings

CHART = Path(__file__).parent.parent / "charts" / "pyoci"
HELM = Path(sys.executable).parent / "helm"
EVERYTHING = {
    "settings": {"PYOCI_REGISTRIES": "ghcr.io,lab=http://registry:5000", "PYOCI_CACHE_TTL": "30"},
    "settingsFromSecrets": ["pyoci"],
    "imagePullSecrets": ["login"],
    "image": {"digest": f"sha256:{'0' * 64}"},
    "forwardedAllowIps": "10.0.0.0/8",
    "serviceAccount": {"name": "pyoci"},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "tlsSecretName": "certificate",
        "annotations": {"nginx.ingress.kubernetes.io/proxy-body-size": "50m"},
    },
    "metrics": {"enabled": True, "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
    "networkPolicy": {"enabled": True, "from": [{"podSelector": {"matchLabels": {"app": "ingress"}}}]},
    "podAnnotations": {"a": "1"},
    "podLabels": {"b": "2"},
    "nodeSelector": {"c": "3"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
}
WITHOUT_REDIS = {"redis": {"enabled": False}, "settings": {"PYOCI_CACHE_URL": "redis://elsewhere:6379/0"}}
VALUES = {"the default": {}, "everything": EVERYTHING, "without Redis": WITHOUT_REDIS}


def helm(*arguments: str, values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    command = [str(HELM), *arguments, "--values", "-"]
    return subprocess.run(
        command, input=json.dumps(values), capture_output=True, text=True, timeout=60, check=False
    )


def rendered(values: dict[str, Any]) -> list[dict[str, Any]]:
    done = helm("template", "prod", str(CHART), "--kube-version", "1.34", values=values)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def one(documents: list[dict[str, Any]], kind: str, name: str = "prod-pyoci") -> dict[str, Any]:
    [found] = [each for each in documents if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def refusal(**values: Any) -> str:
    """What helm says of values that it refuses."""
    done = helm("template", "prod", str(CHART), values=values)
    assert done.returncode != 0
    return done.stderr


@pytest.fixture(scope="module", params=VALUES.values(), ids=list(VALUES))
def documents(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return rendered(request.param)


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_lint(values: dict[str, Any]) -> None:
    done = helm("lint", "--strict", str(CHART), values=values)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_follows_the_schemas(documents: list[dict[str, Any]], version: str) -> None:
    """A ServiceMonitor isn't Kubernetes' own: its schema is the Prometheus operator's."""
    for document in documents:
        if document["kind"] != "ServiceMonitor":
            kubernetes_validate.validate(document, version, strict=True)


def test_version() -> None:
    """The chart has PyOCI's version."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (pyoci.__version__, pyoci.__version__)


def test_settings_are_settings(documents: list[dict[str, Any]]) -> None:
    """A server starts with them without a warning."""
    assert Settings.from_environ(one(documents, "ConfigMap")["data"]).warnings == ()


def test_each_selector_selects_its_pods(documents: list[dict[str, Any]]) -> None:
    pods = [each["spec"]["template"]["metadata"] for each in documents if each["kind"] == "Deployment"]
    for document in documents:
        spec = document.get("spec", {})
        selector = spec.get("selector") or spec.get("podSelector")
        if document["kind"] in {"Service", "Deployment", "NetworkPolicy", "PodDisruptionBudget"}:
            labels = selector.get("matchLabels", selector)
            component = "redis" if document["metadata"]["name"].endswith("-redis") else "server"
            selected = [pod for pod in pods if labels.items() <= pod["labels"].items()]
            assert [pod["labels"]["app.kubernetes.io/component"] for pod in selected] == [component]


def test_pods_are_locked_down(documents: list[dict[str, Any]]) -> None:
    """No pod runs as root, writes to its root file system, or has a token of the cluster."""
    deployments = [each["spec"]["template"]["spec"] for each in documents if each["kind"] == "Deployment"]
    for pod in [*deployments, one(documents, "Pod", "prod-pyoci-test")["spec"]]:
        [container] = pod["containers"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_stopping_takes_longer_than_transfers_get(documents: list[dict[str, Any]]) -> None:
    """Including the pause before the stop."""
    pod = one(documents, "Deployment")["spec"]["template"]["spec"]
    pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > pause + server.graceful_timeout


def test_probes(documents: list[dict[str, Any]]) -> None:
    [container] = one(documents, "Deployment")["spec"]["template"]["spec"]["containers"]
    paths = {key: container[key]["httpGet"]["path"] for key in container if key.endswith("Probe")}
    assert paths == {"livenessProbe": "/health", "startupProbe": "/health", "readinessProbe": "/ready"}


def test_a_changed_setting_replaces_the_pods() -> None:
    def annotations(ttl: str) -> object:
        deployment = one(rendered({"settings": {"PYOCI_CACHE_TTL": ttl}}), "Deployment")
        return deployment["spec"]["template"]["metadata"]["annotations"]

    assert annotations("30") != annotations("60")


def test_image() -> None:
    """A digest takes the place of the tag, which is the chart's version by default."""

    def image(**values: str) -> str:
        pod = one(rendered({"image": values}), "Deployment")["spec"]["template"]["spec"]
        return str(pod["containers"][0]["image"])

    digest = f"sha256:{'a' * 64}"
    assert image() == f"ghcr.io/OWNER/pyoci:{pyoci.__version__}"
    assert image(repository="lab/pyoci", tag="main") == "lab/pyoci:main"
    assert image(tag="main", digest=digest) == f"ghcr.io/OWNER/pyoci@{digest}"


def test_the_pods_share_redis() -> None:
    """The chart's own by default. Only PyOCI may connect to it."""
    documents = rendered({})
    settings = one(documents, "ConfigMap")["data"]
    assert settings["PYOCI_CACHE_URL"] == "redis://prod-pyoci-redis:6379/0"
    policy = one(documents, "NetworkPolicy", "prod-pyoci-redis")["spec"]
    [peer] = policy["ingress"][0]["from"]
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "server"
    assert not any(each["metadata"]["name"].endswith("-redis") for each in rendered(WITHOUT_REDIS))


def test_prometheus() -> None:
    documents = rendered(EVERYTHING)
    assert one(documents, "ConfigMap")["data"]["PYOCI_METRICS"] == "yes"
    monitor = one(documents, "ServiceMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert [(each["port"], each["path"]) for each in monitor["spec"]["endpoints"]] == [("http", "/metrics")]
    labels = one(documents, "Service")["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_wrong_values() -> None:
    """Each is refused with a sentence that names it."""
    assert "settings" in refusal(settings={"PYOCI_CACHE_TTL": 30})
    assert "replicas" in refusal(replicas=2)
    assert "set redis.enabled to false" in refusal(settings={"PYOCI_CACHE_URL": "redis://elsewhere"})
    assert "set metrics.enabled to true" in refusal(metrics={"serviceMonitor": {"enabled": True}})


class TestExample:
    """docs/examples/kubernetes.yaml is what the chart makes, but for names, labels and the image."""

    EXAMPLE = CHART.parent.parent / "docs" / "examples" / "kubernetes.yaml"
    OURS = ("labels", "matchLabels", "selector", "image", "imagePullPolicy")  # keys whose values differ

    @classmethod
    def comparable(cls, value: Any) -> Any:
        """A part of a manifest without what differs."""
        if isinstance(value, dict):
            return {key: cls.comparable(each) for key, each in value.items() if key not in cls.OURS}
        if isinstance(value, list):
            return [cls.comparable(each) for each in value]
        return "pyoci" if value == "prod-pyoci" else value

    @pytest.mark.parametrize("kind", ["Deployment", "Service", "PodDisruptionBudget", "ConfigMap"])
    def test_agrees_with_the_chart(self, kind: str) -> None:
        """Probes, security context, limits, volumes, the end of a pod, and how pods are replaced."""
        [example] = [each for each in yaml.safe_load_all(self.EXAMPLE.read_text()) if each["kind"] == kind]
        made = one(rendered({"redis": {"enabled": False}}), kind)
        for document in (example, made):  # the chart replaces pods by an annotation after a change
            document.get("spec", {}).get("template", {}).get("metadata", {}).pop("annotations", None)
        assert self.comparable(example) == self.comparable(made)
