"""A file system with a Python and nothing of ours, in which the steps of a Dockerfile are performed.

It stands for the base image, which no registry gives to tests: the system's `/usr`, read-only, what
names and certificates need of its `/etc`, and the Python that runs the tests, where it is. The mounts
are those of a namespace of its own, gone with its last process. That takes root.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.chaos.disk import lacks
from tests.container.dockerfile import Copy, Run, Stage

UNREADY_SECONDS = 10
"""For how long a replica that takes shards over may not be ready; the chart's probe lets more pass."""

BASE_ENV = {"PATH": f"{Path(sys.base_prefix) / 'bin'}:/usr/local/bin:/usr/bin:/bin"}
_FROM_OUTSIDE = ("PIP_CERT", "PIP_INDEX_URL", "SSL_CERT_FILE", "HTTPS_PROXY", "https_proxy")
"""What a package client may need to reach its registry from here."""

_ETC = ("hosts", "ld.so.cache", "nsswitch.conf", "pip.conf", "resolv.conf", "ssl")


def missing() -> list[str]:
    """Return what this machine lacks for such a root, in words."""
    why = lacks() if os.geteuid() == 0 else "root"
    return [why] if why else []


class CleanRoot:
    """One root file system in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("usr", "etc", "proc", "dev", "tmp"):
            (folder / name).mkdir(parents=True)
        for name in _ETC:
            if Path("/etc", name).exists():
                _copy(Path("/etc", name), folder / "etc" / name)
        folder.chmod(0o755)
        (folder / "tmp").chmod(0o1777)
        for name in ("bin", "sbin", "lib", "lib64"):
            if Path("/", name).is_symlink():
                (folder / name).symlink_to(Path("/", name).readlink())

    def at(self, path: str) -> Path:
        """Return where a path of the root is outside of it."""
        return self.folder / path.lstrip("/")

    def perform(
        self, stage: Stage, context: Path, seen: Sequence[Path], earlier: Mapping[str, "CleanRoot"]
    ) -> None:
        """Perform the steps of a stage, one after another."""
        for step in stage.steps:
            if isinstance(step, Run):
                self._run(step)
            elif step.stage is not None:
                for source in step.sources:
                    _copy(earlier[step.stage].at(source), self.at(step.target))
            else:
                self._copy_from(context, seen, step)

    def _copy_from(self, context: Path, seen: Sequence[Path], step: Copy) -> None:
        for source in step.sources:
            chosen = [one for one in seen if one == Path(source) or Path(source) in one.parents]
            assert chosen, f"COPY {source}: .dockerignore lets nothing of it through"
            for one in chosen:
                inside = one.relative_to(source) if one != Path(source) else Path(one.name)
                whole = self.at(step.target) / inside
                _copy(context / one, whole)

    def _run(self, step: Run) -> None:
        self.at(step.folder).mkdir(parents=True, exist_ok=True)
        env = step.env | {name: os.environ[name] for name in _FROM_OUTSIDE if name in os.environ}
        inside = f"cd {shlex.quote(step.folder)} && {step.command}"
        done = subprocess.run(
            self.command(["/bin/sh", "-c", inside], env),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"RUN {step.command}\n{done.stdout}\n{done.stderr}"

    def command(
        self,
        words: Sequence[str],
        env: Mapping[str, str],
        *,
        user: str = "",
        tmp_bytes: int | None = None,
        mounts: Mapping[str, Path] | None = None,
    ) -> list[str]:
        """Return a command that runs another one in this root, as its first process.

        Args:
            words: the command, as it is inside.
            env: all the variables that it gets.
            user: UID:GID that it runs as, without any capability or way to more; root if it is empty.
            tmp_bytes: the room on `/tmp`. If it is given, all else of the root is read-only.
            mounts: folders of outside, by their path inside, read-only.
        """
        root = shlex.quote(str(self.folder))
        inside = [*("env", "-i"), *(f"{name}={value}" for name, value in env.items()), *words]
        if user:
            uid, _, gid = user.partition(":")
            inside = [
                *("setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"),
                *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", *inside),
            ]
        python = sys.base_prefix
        shown = {"/usr": Path("/usr"), python: Path(python), **(mounts or {})}
        steps = ["mount --make-rprivate /", f"mount --bind {root} {root}"]
        for path, source in shown.items():
            where = shlex.quote(str(self.at(path)))
            if not path.startswith("/usr"):
                self.at(path).mkdir(parents=True, exist_ok=True)
            steps += [
                f"mount --bind {shlex.quote(str(source))} {where}",
                f"mount -o remount,bind,ro {where}",
            ]
        steps += [f"mount -t proc proc {root}/proc", f"mount -t tmpfs -o size=64k none {root}/dev"]
        for minor, name in ((3, "null"), (8, "random"), (9, "urandom")):
            steps.append(f"mknod -m 666 {root}/dev/{name} c 1 {minor}")
        if tmp_bytes is not None:
            steps += [
                f"mount -o remount,bind,ro {root}",
                f"mount -o remount,ro {root}/dev",
                f"mount -t tmpfs -o size={tmp_bytes},mode=1777 none {root}/tmp",  # noqa: S108 - its own
            ]
        script = " && ".join([*steps, shlex.join(["exec", "chroot", str(self.folder), *inside])])
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", script]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)
