"""The files for deployment: validated with their schemas, and consistent with PyOCI."""

from __future__ import annotations

import importlib.resources
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from pyoci import server
from pyoci.config import Settings
from pyoci.config.settings import TOPICS
from tests.dockerfile import read_dockerfile
from tests.registry import TestRegistry

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "docs" / "examples"
STAGES = read_dockerfile(ROOT / "Dockerfile")
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
KUBERNETES = list(yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text()))
IDENTITY = 10001


def known_settings() -> set[str]:
    """Every variable that docs/settings.rst describes for the server."""
    return {name for topic in TOPICS for variable in topic.variables for name in variable.names}


class TestDockerfile:
    """Its steps are run in tests/live/test_deploy_container.py."""

    def test_nothing_that_builds_is_in_the_image(self) -> None:
        """The last stage has only what the first has built. Both use the same slim Python."""
        build, image = STAGES
        assert build.image == image.image
        assert re.fullmatch(r"python:3\.1[1-9]-slim", image.image)
        assert [copy.words[0] for copy in image.all("COPY")] == [f"--from={build.name}"]
        assert "pip uninstall" in image.last("RUN").text

    def test_not_root(self) -> None:
        """By number: Kubernetes can't check a name."""
        user = STAGES[-1].last("USER").text
        assert user == f"{IDENTITY}:{IDENTITY}"
        assert f"chown {user} /data" in STAGES[-1].last("RUN").text

    def test_starts_with_our_configuration(self) -> None:
        """Without a shell, which would not pass signals on."""
        command = STAGES[-1].last("CMD").command
        assert command == ["gunicorn", "-c", "python:pyoci.server", "pyoci.server:application()"]
        assert STAGES[-1].last("STOPSIGNAL").text == "SIGTERM"

    def test_the_context_is_what_it_copies(self) -> None:
        """.dockerignore lets in exactly that: no .git, no packages of a developer, no .env file."""
        lines = (ROOT / ".dockerignore").read_text().splitlines()
        patterns = [line for line in lines if line and not line.startswith("#")]
        assert patterns[0] == "*"
        let_in = {pattern[1:] for pattern in patterns if pattern.startswith("!")}
        assert let_in == {name for copy in STAGES[0].all("COPY") for name in copy.words[:-1]}
        assert all((ROOT / name).exists() for name in let_in)


class TestCompose:
    def test_follows_the_specification(self) -> None:
        """By the schema of compose-spec, which check-jsonschema includes."""
        schemas = importlib.resources.files("check_jsonschema.builtin_schemas")
        schema = json.loads((schemas / "vendor" / "compose-spec.json").read_text())
        jsonschema.validate(COMPOSE, schema)

    def test_waits_for_what_it_needs(self) -> None:
        """All services that PyOCI depends on have a health check; PyOCI's is in its image."""
        services = COMPOSE["services"]
        needed = services["pyoci"]["depends_on"]
        assert set(needed) == {"registry", "redis"}
        assert {need["condition"] for need in needed.values()} == {"service_healthy"}
        assert all("healthcheck" in services[name] for name in needed)

    def test_settings_are_settings(self) -> None:
        """A server starts with them without a warning."""
        environ = COMPOSE["services"]["pyoci"]["environment"]
        assert Settings.from_environ(environ).warnings == ()

    def test_stopping_takes_longer_than_transfers_get(self) -> None:
        """Otherwise transfers would be killed."""
        grace = COMPOSE["services"]["pyoci"]["stop_grace_period"]
        assert int(grace.removesuffix("s")) > server.graceful_timeout

    def test_locked_down(self) -> None:
        """It is open only to this machine, because its registry has no password."""
        service = COMPOSE["services"]["pyoci"]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert [mount.split(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


class TestKubernetes:
    @pytest.fixture(scope="class")
    @classmethod
    def deployment(cls) -> dict[str, Any]:
        found: dict[str, Any]
        [found] = [each for each in KUBERNETES if each["kind"] == "Deployment"]
        return found

    @pytest.mark.parametrize("version", ["1.30", "1.37"])
    @pytest.mark.parametrize("document", KUBERNETES, ids=lambda document: document["kind"])
    def test_follows_the_schemas(self, document: dict[str, Any], version: str) -> None:
        """Strictly: an unknown key is an error. `sleep` in preStop exists since 1.30."""
        kubernetes_validate.validate(document, version, strict=True)

    def test_one_set_of_labels(self, deployment: dict[str, Any]) -> None:
        """The Service, the budget and the Deployment select the same pods."""
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        selectors = [each["spec"]["selector"] for each in KUBERNETES if "selector" in each.get("spec", {})]
        assert all(each.get("matchLabels", each) == labels for each in selectors)
        assert len(selectors) == 3

    def test_the_same_user_as_in_the_image(self, deployment: dict[str, Any]) -> None:
        """It can write only to /tmp."""
        pod = deployment["spec"]["template"]["spec"]
        [container] = pod["containers"]
        assert {pod["securityContext"][key] for key in ("runAsUser", "runAsGroup", "fsGroup")} == {IDENTITY}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]

    def test_probes(self, deployment: dict[str, Any]) -> None:
        """Liveness restarts the pod; readiness removes it from the Service."""
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        paths = {key: container[key]["httpGet"]["path"] for key in container if key.endswith("Probe")}
        assert paths == {"livenessProbe": "/health", "startupProbe": "/health", "readinessProbe": "/ready"}

    def test_stopping_takes_longer_than_transfers_get(self, deployment: dict[str, Any]) -> None:
        """Including the pause before the stop."""
        pod = deployment["spec"]["template"]["spec"]
        pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert pod["terminationGracePeriodSeconds"] > pause + server.graceful_timeout

    def test_settings_are_settings(self) -> None:
        """A server starts with those of the ConfigMap without a warning."""
        [data] = [each["data"] for each in KUBERNETES if each["kind"] == "ConfigMap"]
        assert Settings.from_environ(data).warnings == ()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
class TestSystemd:
    """As far as systemd-analyze can check it without systemd running."""

    @pytest.fixture
    def units(self, tmp_path: Path) -> Path:
        """With an existing program."""
        for name in ("pyoci.service", "pyoci.socket"):
            text = (EXAMPLES / name).read_text()
            (tmp_path / name).write_text(text.replace("/opt/pyoci/bin/gunicorn", "/bin/true"))
        return tmp_path

    def test_is_understood(self, units: Path) -> None:
        """Every directive in both units is known."""
        command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no"]
        command += [str(units / "pyoci.socket"), str(units / "pyoci.service")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert [line for line in done.stderr.splitlines() if "pyoci" in line] == []
        assert done.returncode == 0, done.stderr

    def test_is_hardened(self, units: Path) -> None:
        """By systemd's exposure score, in tenths: 100 has no sandbox."""
        command = [
            "systemd-analyze",
            "security",
            "--offline=yes",
            "--threshold=15",
            str(units / "pyoci.service"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout

    def test_the_cache_is_where_it_may_write(self) -> None:
        """The directories that systemd creates are those in the settings."""
        text = (EXAMPLES / "pyoci.service").read_text()
        assert "Environment=PYOCI_CACHE_URL=file:///var/cache/pyoci\n" in text
        assert "CacheDirectory=pyoci\n" in text
        assert "ProtectSystem=" not in re.sub(r"(?m)^#.*", "", text)  # DynamicUser makes it strict

    def test_stopping_takes_longer_than_transfers_get(self) -> None:
        """Otherwise systemd would kill transfers."""
        [seconds] = re.findall(r"(?m)^TimeoutStopSec=(\d+)$", (EXAMPLES / "pyoci.service").read_text())
        assert int(seconds) > server.graceful_timeout


def test_nginx_waits_as_long_as_a_registry_may_take() -> None:
    """300 s for the registry's answer to an upload, 60 s for a reader that takes nothing."""
    text = (EXAMPLES / "nginx.conf").read_text()
    seconds = {name: int(value) for name, value in re.findall(r"proxy_(read|send)_timeout (\d+)s;", text)}
    assert seconds["read"] > 300
    assert seconds["send"] > 60
    [megabytes] = re.findall(r"client_max_body_size (\d+)m;", text)
    assert int(megabytes) * 1024 * 1024 > Settings.from_environ({}).max_body


def test_every_variable_in_the_examples_is_a_setting() -> None:
    """None has been renamed."""
    texts = [path.read_text() for path in (*EXAMPLES.iterdir(), ROOT / "compose.yaml")]
    named = {name for text in texts for name in re.findall(r"\bPYOCI_[A-Z_]+", text)}
    assert named <= known_settings()


class TestCleaningUp:
    """The background tasks of a worker for the embedded registry."""

    @pytest.mark.parametrize("first_worker", [True, False])
    def test_expired_uploads_are_removed_again_and_again(self, tmp_path: Path, first_worker: bool) -> None:
        """Every ten minutes in each worker. Only the first one collects other garbage, once."""
        registry = TestRegistry(tmp_path / "registry")
        registry.put_blob(b"old")
        uploads = tmp_path / "registry" / "_uploads"
        (blob,) = (path for path in (tmp_path / "registry").rglob("sha256/*"))
        os.utime(blob, (0, 0))
        waits: list[float] = []

        class Enough(Exception):
            pass

        def wait(seconds: float) -> None:
            waits.append(seconds)
            assert list(uploads.iterdir()) == []
            assert blob.exists() is not first_worker
            if len(waits) == 3:
                raise Enough
            abandoned = uploads / f"{len(waits)}"
            abandoned.write_bytes(b"x")
            os.utime(abandoned, (0, 0))

        with pytest.raises(Enough):
            server._clean_up(tmp_path / "registry", first_worker, wait)
        assert waits == [600.0] * 3
