"""The project's own files agree with each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import ssl_single_image
from ssl_single_image.runs import zoo

ROOT = Path(__file__).resolve().parents[2]
FILE = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, SETUPTOOLS = FILE["project"], FILE["tool"]["setuptools"]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned() -> dict[str, tuple[int, ...]]:
    lines = [
        line for line in (ROOT / "constraints.txt").read_text().splitlines() if line[:1] not in ("#", "")
    ]
    pairs = [line.split("==") for line in lines]
    return {canonical(name): numbers(version) for name, version in pairs}


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def test_every_requirement_is_pinned_at_an_allowed_version() -> None:
    pins = pinned()
    extras = PROJECT["optional-dependencies"]
    for requirement in PROJECT["dependencies"] + extras["dev"] + extras["docs"]:
        name, _, rest = requirement.partition(">=")
        least = rest.partition(",")[0]
        assert canonical(name) in pins, f"{name} is not in constraints.txt"
        assert pins[canonical(name)] >= numbers(least), requirement


def test_every_package_and_the_configs_are_in_the_wheel() -> None:
    listed = set(SETUPTOOLS["packages"])
    found = {path.parent.relative_to(ROOT) for path in (ROOT / "ssl_single_image").rglob("*.py")}
    configs = {path.parent.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.py")} - {Path("configs")}
    expected = {".".join(path.parts) for path in found}
    expected |= {".".join(("ssl_single_image", *path.parts)) for path in configs}
    assert listed == expected
    for name, place in SETUPTOOLS["package-dir"].items():
        assert name.endswith(place.replace("/", "."))
    assert (ROOT / "ssl_single_image" / "py.typed").exists()


def test_the_zoo_is_in_the_wheel() -> None:
    patterns = SETUPTOOLS["package-data"]["ssl_single_image"]
    files = [path.relative_to(ROOT / "ssl_single_image") for path in zoo.FOLDER.glob("*")]
    for path in [Path("zoo/rotnet.md"), Path(f"zoo/rotnet{zoo.SUFFIX}"), *files]:
        assert any(path.match(pattern) for pattern in patterns), path
    assert zoo.FOLDER == ROOT / "ssl_single_image" / "zoo"


def test_constraints_hold_versions_and_nothing_else() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"#.*|[a-z0-9-]+==[0-9][0-9a-z.]*", line), line


def test_workflow_covers_the_supported_pythons() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    (matrix,) = re.findall(r"python: \[(.*)\]", workflow)
    versions = re.findall(r"\d+\.\d+", matrix)
    assert f">={versions[0]}" == PROJECT["requires-python"]
    assert versions == ["3.11", "3.12", "3.13"]
    assert " | ".join(versions) in (ROOT / "docs" / "images" / "python.svg").read_text()


def test_pre_commit_uses_the_pinned_ruff() -> None:
    (version,) = re.findall(r"rev: v([\d.]+)", (ROOT / ".pre-commit-config.yaml").read_text())
    assert numbers(version) == pinned()["ruff"]


def test_one_version_everywhere() -> None:
    version = ssl_single_image.__version__
    (cited,) = re.findall(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    (released,) = re.findall(r"^date-released: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited == version
    assert f"## [{version}] - {released}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_reference_has_every_name_of_the_library() -> None:
    page = (ROOT / "docs" / "reference" / "library.md").read_text()
    assert set(re.findall(r"^::: ssl_single_image\.(\w+)$", page, re.MULTILINE)) == set(
        ssl_single_image.__all__
    )


def test_relative_links_in_documents_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_the_container_copies_what_there_is_and_names_extras_that_exist() -> None:
    text = (ROOT / "Containerfile").read_text()
    sources = [word for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for word in line.split()[:-1]]
    assert {"constraints.txt", "pyproject.toml", "configs", "ssl_single_image"} <= set(sources)
    assert all((ROOT / name).exists() for name in sources)
    guide = (ROOT / "docs" / "clusters.md").read_text()
    for page in (text, guide):
        extras = re.findall(r"EXTRA='\[(\w+)\]'", page)
        assert set(extras) == {"cuda", "tpu"}
        assert set(extras) <= PROJECT["optional-dependencies"].keys()
    (version,) = re.findall(r"^FROM .*/python:([\d.]+)-slim$", text, re.MULTILINE)
    assert numbers(version) >= numbers(PROJECT["requires-python"])
    assert re.findall(r'^ENTRYPOINT \["(.+)"\]$', text, re.MULTILINE) == list(PROJECT["scripts"])


def test_images_of_the_manifests_are_built_by_the_guide() -> None:
    built = set(re.findall(r"podman build -t (\S+)", (ROOT / "docs" / "clusters.md").read_text()))
    for path in (ROOT / "launch").glob("*jobset*.yaml"):
        (image,) = re.findall(r"image: \S+/(\S+)", path.read_text())
        assert image in built, path.name


@pytest.mark.parametrize(
    "message",
    [
        "no cluster was recognised here",
        "did not answer in",
        "processes joined",
        "JAX finds no such devices here",
        "is in use by",
        "holds a run of another config",
        "can't be split evenly over",
        "has no line",
    ],
)
def test_messages_that_the_guide_explains_are_those_of_the_program(message: str) -> None:
    guide = (ROOT / "docs" / "clusters.md").read_text()
    sources = [*(ROOT / "ssl_single_image").rglob("*.py"), *(ROOT / "launch").glob("*.sbatch")]
    text = "".join(path.read_text() for path in sources)
    assert message in guide.partition("## Failures users hit")[2]
    assert message in text


def test_tests_that_documents_name_are_there() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text()
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", text)
    assert len(named) >= 10
    for file, test in named:
        (path,) = (ROOT / "tests").rglob(file)
        assert f"def {test}(" in path.read_text(), f"{file}::{test}"
