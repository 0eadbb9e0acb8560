"""The image and the manifests agree with each other, and keep what they promise about security and health."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from steersman.serving.rollout.deployment import parse_deployment, read_deployment_text
from steersman.serving.security.exposure import check_exposure
from steersman.serving.settings import ServerSettings, load_settings

GRPC_PORT, HTTP_PORT = 50051, 8080


@pytest.fixture(scope="module")
def objects(root: Path) -> dict[tuple[str, str], Any]:
    documents = yaml.safe_load_all((root / "deploy" / "kubernetes.yaml").read_text())
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


@pytest.fixture(scope="module")
def pod(objects: dict[tuple[str, str], Any]) -> Any:
    return objects["Deployment", "steersman"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod: Any) -> Any:
    (container,) = pod["containers"]
    return container


@pytest.fixture(scope="module")
def dockerfile(root: Path) -> str:
    return (root / "Dockerfile").read_text()


def test_all_yaml_is_yaml(root: Path) -> None:
    paths = [*root.glob("deploy/**/*.yaml"), *root.glob("deploy/**/*.yml")]
    assert len(paths) >= 4
    for path in paths:
        assert all(isinstance(document, dict) for document in yaml.safe_load_all(path.read_text())), path


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_probes_ask_the_grpc_health_service(container: Any, probe: str) -> None:
    assert container[probe]["grpc"] == {"port": GRPC_PORT}


def test_the_pod_runs_as_nobody_with_nothing(pod: Any, container: Any) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_a_pod_has_time_to_finish_its_calls(pod: Any, container: Any) -> None:
    assert pod["terminationGracePeriodSeconds"] > container["lifecycle"]["preStop"]["sleep"]["seconds"] + 30
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert "cpu" not in container["resources"]["limits"]


def test_every_mount_has_its_volume_and_bundles_are_only_read(pod: Any, container: Any) -> None:
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
    assert mounts["bundles"]["readOnly"] is True
    assert mounts["secrets"]["readOnly"] is True


def test_secrets_are_optional_and_not_for_everybody(pod: Any) -> None:
    (secrets,) = [volume["secret"] for volume in pod["volumes"] if volume["name"] == "secrets"]
    assert secrets["optional"] is True
    assert secrets["defaultMode"] & 0o007 == 0


def test_control_is_reached_from_inside_the_pod_only(root: Path, container: Any) -> None:
    settings = load_settings(root / "deploy" / "steersman.yaml", {})
    assert settings.control_host == "127.0.0.1"
    assert settings.control_port not in {port["containerPort"] for port in container["ports"]}
    check_exposure(settings)


def test_services_find_the_pods(objects: dict[tuple[str, str], Any], container: Any) -> None:
    labels = objects["Deployment", "steersman"]["spec"]["template"]["metadata"]["labels"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": GRPC_PORT, "http": HTTP_PORT}
    for name, port in {"steersman": "grpc", "steersman-metrics": "http"}.items():
        spec = objects["Service", name]["spec"]
        assert spec["selector"].items() <= labels.items()
        assert [(p["targetPort"], p["port"]) for p in spec["ports"]] == [(port, ports[port])]
    assert objects["Service", "steersman"]["spec"]["clusterIP"] == "None"
    annotations = objects["Service", "steersman-metrics"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(HTTP_PORT)
    budget = objects["PodDisruptionBudget", "steersman"]["spec"]
    assert budget["minAvailable"] < objects["Deployment", "steersman"]["spec"]["replicas"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()


def test_settings_and_manifest_agree(root: Path, container: Any) -> None:
    settings = yaml.safe_load((root / "deploy" / "steersman.yaml").read_text())
    assert (settings["port"], settings["http_port"]) == (GRPC_PORT, HTTP_PORT)
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {settings["repository"], settings["state_dir"]} <= mounts
    (config,) = [argument for argument in container["args"] if argument.endswith(".yaml")]
    assert str(Path(config).parent) in mounts
    kustomization = yaml.safe_load((root / "deploy" / "kustomization.yaml").read_text())
    (generator,) = kustomization["configMapGenerator"]
    assert Path(config).name in generator["files"]


def test_the_example_settings_are_accepted_and_show_every_setting_with_its_default(root: Path) -> None:
    path = root / "deploy" / "steersman.yaml"
    commented = yaml.safe_load(re.sub(r"^# ([a-z_]+: )", r"\1", path.read_text(), flags=re.MULTILINE))
    assert commented.keys() == ServerSettings.model_fields.keys()
    load_settings(path, {})
    shown = ServerSettings(**commented)
    defaults = ServerSettings(repository=shown.repository)
    chosen = {"host", "http_host", "state_dir", "deployments", "ready_file"}
    assert {name: getattr(shown, name) for name in commented.keys() - chosen} == {
        name: getattr(defaults, name) for name in commented.keys() - chosen
    }


def test_the_example_deployment_is_accepted(root: Path) -> None:
    file = root / "deploy" / "cartpole.yaml"
    deployment = parse_deployment(read_deployment_text(file), where=str(file))
    assert deployment.policy == "cartpole"


def test_the_image_is_the_one_the_manifest_expects(dockerfile: str, pod: Any) -> None:
    user = pod["securityContext"]["runAsUser"]
    assert f"\nUSER {user}:{user}\n" in dockerfile
    assert f"\nEXPOSE {GRPC_PORT} {HTTP_PORT}\n" in dockerfile
    assert '\nENTRYPOINT ["steersman", "serve"]\n' in dockerfile
    assert "\nHEALTHCHECK " in dockerfile
    assert "PYTHONSAFEPATH=1" in dockerfile


def test_the_image_is_made_by_the_script_that_the_wheel_test_runs(root: Path, dockerfile: str) -> None:
    assert "RUN sh deploy/docker/install.sh /src /opt/steersman" in dockerfile
    assert '"install.sh"' in (root / "tools" / "wheel_test.py").read_text()
    assert 'CMD ["steersman-health"]' in dockerfile
    assert "/bin/steersman-health" in (root / "deploy" / "docker" / "install.sh").read_text()


def test_the_build_context_has_what_the_wheel_needs_and_no_more(root: Path) -> None:
    lines = (root / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    kept = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert {"training", "export", "serving", "monitoring", "protos", "deploy/docker"} <= kept
    assert {"pyproject.toml", "constraints.txt", "README.md", "LICENSE"} <= kept
    assert not any(re.match(r"tests|\.git|\.venv", path) for path in kept)


def test_prometheus_scrapes_the_http_port(root: Path) -> None:
    configuration = yaml.safe_load((root / "deploy" / "prometheus.yml").read_text())
    (job,) = configuration["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"127.0.0.1:{HTTP_PORT}"]}]
