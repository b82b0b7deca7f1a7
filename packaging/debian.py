"""The place in which a release is built and packed: a Debian 13 of its own, made by debootstrap(8). Compilers and packers
are then the same on every machine, and the paths in it are fixed."""
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

SUITE = "trixie"
# Name of the architecture in Docker and in Debian, in Rust, and the prefix of its cross compiler.
ARCHITECTURES = {
    "amd64": ("x86_64-unknown-linux-gnu", "x86_64-linux-gnu"),
    "arm64": ("aarch64-unknown-linux-gnu", "aarch64-linux-gnu"),
    "riscv64": ("riscv64gc-unknown-linux-gnu", "riscv64-linux-gnu"),
}
# What builds (Rust, C compilers), what packs (Python, rpm), and what a second build runs under (faketime).
PACKAGES = ["rustc", "cargo", "gcc", "libc6-dev", "binutils", "python3", "rpm", "faketime"]


def fail(message):
    sys.exit(f"packaging/release: {message}")


def run(*command, **keywords):
    done = subprocess.run([str(word) for word in command], **keywords)
    if done.returncode:
        fail(f"{command[0]} exited with {done.returncode}: {shlex.join(map(str, command))}")
    return done


def mirror():
    """The mirror of Debian that this machine's apt is set up with."""
    if not shutil.which("apt-get"):
        fail("there is no apt-get to ask for a mirror of Debian; name one with --mirror")
    told = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages",
                           "Label: Debian", "Component: main"], capture_output=True, text=True)
    found = [line for line in told.stdout.splitlines() if line.startswith(("http://", "https://", "file:"))]
    if not found:
        fail("apt knows no mirror of Debian; run apt-get update, or name a mirror with --mirror")
    return found[0]


def prepare(root, of_mirror):
    """Makes the Debian 13 with the compilers of all architectures, once."""
    if (root / "build/ready").exists():
        return
    if os.geteuid():
        fail("debootstrap needs root; run packaging/release as root")
    if not shutil.which("debootstrap"):
        fail("there is no debootstrap; install it: apt-get install debootstrap")
    shutil.rmtree(root, ignore_errors=True)
    run("debootstrap", "--variant=minbase", SUITE, root, of_mirror or mirror())
    foreign = [name for name in ARCHITECTURES if name != "amd64"]
    wanted = [*PACKAGES, *[f"libstd-rust-dev:{name}" for name in foreign],
              *[f"gcc-{ARCHITECTURES[name][1]}" for name in foreign],
              *[f"libc6-dev-{name}-cross" for name in foreign]]
    script = "set -e\n" + "".join(f"dpkg --add-architecture {name}\n" for name in foreign)
    script += "apt-get -qq update\n"
    script += f"DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends {' '.join(wanted)}\n"
    # faketime(1) has a semaphore there.
    script += "apt-get clean\nmkdir -p /build /dev/shm\nchmod 1777 /dev/shm\n"
    inside(root, ["sh", "-c", script])
    (root / "build/ready").touch()


def inside(root, command, environment=(), **keywords):
    """Runs a command in the Debian 13, with this environment and no other."""
    words = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/build", "LC_ALL": "C", "TZ": "UTC", **dict(environment)}
    return run("chroot", root, "env", "-i", *[f"{key}={value}" for key, value in words.items()], *command, **keywords)


def architecture(root):
    """Of the Debian 13 itself."""
    told = subprocess.run(["chroot", root, "dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    return told.stdout.strip()


class Way:
    """The circumstances of a build. None of them may show in the bytes."""

    def __init__(self, source, user=0, day=None, umask=0o022, jobs=None, **environment):
        self.source, self.user, self.day = source, user, day
        self.umask, self.jobs, self.environment = umask, jobs, environment

    def inside(self, root, command, environment=(), **keywords):
        # The target is named because Debian's cargo does not know the host-tuple of .cargo/config.toml.
        words = {"HOME": f"{self.source}/home", "CARGO_HOME": f"{self.source}/home",
                 "CARGO_BUILD_TARGET": ARCHITECTURES[architecture(root)][0], **dict(environment), **self.environment}
        late = ["faketime", "-f", f"@{self.day}"] if self.day else []
        user = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"]
        masked = ["sh", "-c", f'umask {self.umask:o}; cd {self.source}; exec "$@"', "sh"]
        return inside(root, [*user, *masked, *late, *command], words, **keywords)


FIRST = Way("/build/source")
# Another directory, another user, another day, another umask, zone and language, and one job at a time.
SECOND = Way("/build/of/somebody/else", user=1234, day="2031-05-06 07:08:09", umask=0o077, jobs=1,
             TZ="Pacific/Chatham", LC_ALL="C.UTF-8", USER="else")


def unpack(repository, commit, root, way):
    """The sources of the commit and the crates of Cargo.lock. Both are fetched outside: inside nothing needs the
    network."""
    source = root / way.source.lstrip("/")
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    archive = subprocess.Popen(["git", "-C", str(repository), "archive", commit], stdout=subprocess.PIPE)
    # The time of the commit would make cargo take an earlier build for a later one.
    run("tar", "-x", "-m", "-C", source, stdin=archive.stdout)
    if archive.wait():
        fail("git archive failed")
    run("cargo", "vendor", "--locked", "--quiet", source / "home/vendor", cwd=source, stdout=subprocess.DEVNULL)
    (source / "home/config.toml").write_text(
        '[source.crates-io]\nreplace-with = "vendored"\n'
        f'[source.vendored]\ndirectory = "{way.source}/home/vendor"\n')
    run("chown", "-R", f"{way.user}:{way.user}", source)


def build(root, way, names, epoch, commit):
    """Builds the program for each architecture, and the program that makes the man page. Returns their paths inside."""
    known = {"SOURCE_DATE_EPOCH": str(epoch), "GRACEINIT_COMMIT": commit, "CARGO_INCREMENTAL": "0"}
    cargo = ["cargo", "build", "--quiet", "--locked", "--offline", "--target-dir", f"{way.source}/target"]
    if way.jobs:
        cargo += ["--jobs", str(way.jobs)]
    programs = {}
    for name in names:
        target, prefix = ARCHITECTURES[name]
        variable = "CARGO_TARGET_" + target.upper().replace("-", "_")
        flags = ["-C target-feature=+crt-static", "-C relocation-model=static", "-C link-arg=-Wl,--build-id=none",
                 f"--remap-path-prefix={way.source}=graceinit"]
        words = {**known, variable + "_LINKER": f"{prefix}-gcc", variable + "_RUSTFLAGS": " ".join(flags)}
        way.inside(root, [*cargo, "--release", "--bin", "graceinit", "--target", target], words)
        programs[name] = f"{way.source}/target/{target}/release/graceinit"
    way.inside(root, [*cargo, "--example", "generate"], known)
    return programs, f"{way.source}/target/{ARCHITECTURES[architecture(root)][0]}/debug/examples/generate"


def tools(root):
    """The packages of the Debian 13 with their versions: who builds with the same has the same bytes."""
    told = subprocess.run(["chroot", root, "dpkg-query", "-W", "-f", "${Package}:${Architecture} ${Version}\n"],
                          capture_output=True, text=True, check=True)
    return "".join(sorted(told.stdout.splitlines(keepends=True)))
