"""A configuration on disk that fits, to be made wrong in one place at a time."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingest.errors import SettingsError
from ingest.settings.loader import PREFIX, load
from ingest.settings.models import Settings

SECRET = "hush~Q8secret~value"
FITTING: dict[str, Any] = {
    "entra": {"client_id": "00000000-0000-0000-0000-000000000000", "client_secret": SECRET},
    "kafka": {"bootstrap_servers": ["kafka-1:9092"]},
    "tenants": [{"id": "11111111-1111-1111-1111-111111111111", "name": "contoso"}],
}


class Desk:
    """Writes a configuration and loads it; a change of None takes a key away."""

    secret = SECRET

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "daemon.yaml"

    def load(self, changes: dict[str, Any] | None = None, **environ: str) -> Settings:
        content = copy.deepcopy(FITTING)
        _change(content, changes or {})
        return self.load_text(yaml.safe_dump(content, sort_keys=False), **environ)

    def load_text(self, text: str | bytes, **environ: str) -> Settings:
        self.path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(self.path, {f"{PREFIX}{name}": value for name, value in environ.items()})

    def problems(self, changes: dict[str, Any] | None = None, **environ: str) -> list[str]:
        """Return the problems; each that names the file does so once, at its start."""
        with pytest.raises(SettingsError) as refusal:
            self.load(changes, **environ)
        return self._shortened(refusal.value)

    def problems_of_text(self, text: str | bytes, **environ: str) -> list[str]:
        with pytest.raises(SettingsError) as refusal:
            self.load_text(text, **environ)
        return self._shortened(refusal.value)

    def file(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def _shortened(self, error: SettingsError) -> list[str]:
        assert str(error) == "\n".join(error.problems)
        assert SECRET not in repr(error) + str(error)
        return [problem.replace(f"{self.path}: ", "FILE: ", 1) for problem in error.problems]


def _change(content: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if value is None:
            content.pop(key, None)
        elif isinstance(value, dict) and isinstance(content.get(key), dict):
            _change(content[key], value)
        else:
            content[key] = value


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)
