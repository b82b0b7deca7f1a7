"""The files of a release, made from the built programs: archives, packages, wheels, images, and the lists that belong
to them. Every file is the same, byte by byte, whenever and wherever it is made: times are those of the commit, owners
are root, and lists are sorted.
"""
import base64
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import uuid
import zipfile
import zlib
from datetime import datetime, timezone
from pathlib import Path

import book

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
KINDS = ["program", "tar", "deb", "rpm", "apk", "wheel", "image", "sbom", "docs"]
LINKS = "tini tini-static docker-init dumb-init catatonit podman-init".split()
# What each kind of package calls an architecture.
DEB = {"amd64": "amd64", "arm64": "arm64", "riscv64": "riscv64"}
RPM = {"amd64": "x86_64", "arm64": "aarch64", "riscv64": "riscv64"}
TARGETS = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "riscv64gc-unknown-linux-gnu"]
OCI = "application/vnd.oci.image."
# A static program needs no C library: it fits every wheel tag of its architecture.
WHEEL = {
    "amd64": "manylinux2014_x86_64.manylinux_2_17_x86_64.musllinux_1_1_x86_64",
    "arm64": "manylinux2014_aarch64.manylinux_2_17_aarch64.musllinux_1_1_aarch64",
    "riscv64": "manylinux_2_31_riscv64.musllinux_1_2_riscv64",
}


def key(name):
    """A key of Cargo.toml. The first one of this name is the package's own: [package] comes first."""
    found = re.search(rf'^{name} = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.M)
    if not found:
        sys.exit(f"packaging: no {name} in Cargo.toml")
    return found[1]


def tool(*command, **keywords):
    done = subprocess.run([str(word) for word in command], capture_output=True, **keywords)
    if done.returncode:
        sys.exit(f"packaging: {command[0]} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


class Tree:
    """Files by their path in a package: (mode, bytes), or the target of a link."""

    def __init__(self):
        self.files, self.links = {}, {}

    def add(self, path, data, mode=0o644):
        self.files[path] = (mode, data)
        return self

    def tar(self, epoch, prefix="", directories=True, checksums=False):
        """An uncompressed archive. `checksums`: each file's SHA-1 in a header of its own, as apk wants it."""
        out = io.BytesIO()
        form = tarfile.PAX_FORMAT if checksums else tarfile.USTAR_FORMAT
        with tarfile.open(fileobj=out, mode="w", format=form) as tar:
            known = set()
            for path in sorted(self.files | self.links):
                for parent in reversed(Path(path).parents if directories else []):
                    if str(parent) != "." and parent not in known:
                        known.add(parent)
                        entry = self.entry(prefix + str(parent), epoch)
                        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                        tar.addfile(entry)
                entry = self.entry(prefix + path, epoch)
                if path in self.links:
                    entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, self.links[path], 0o777
                    summed = self.links[path].encode()
                else:
                    entry.mode, summed = self.files[path]
                    entry.size = len(summed)
                if checksums:
                    entry.pax_headers = {"APK-TOOLS.checksum.SHA1": hashlib.sha1(summed).hexdigest()}
                tar.addfile(entry, io.BytesIO(self.files[path][1]) if path in self.files else None)
        return out.getvalue()

    @staticmethod
    def entry(name, epoch):
        entry = tarfile.TarInfo(name)
        entry.mtime, entry.uname, entry.gname = epoch, "root", "root"
        return entry

    def write(self, directory):
        for path, (mode, data) in self.files.items():
            file = directory / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
            file.chmod(mode)
        for path, target in self.links.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).symlink_to(target)


def compress(data):
    out = io.BytesIO()
    # Neither a name nor a time.
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0, filename="") as file:
        file.write(data)
    return out.getvalue()


# ---- what belongs to the program --------------------------------------------------------------


def metadata():
    """The crates that are linked into the program: not those of tests, build scripts and procedural macros."""
    # All targets are named: the list must not depend on where it is made. `cargo metadata` alone would have the features
    # that the tests ask for as well.
    told = tool("cargo", "tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "none",
                "--format", "{p}", *[word for target in TARGETS for word in ("--target", target)], cwd=ROOT).decode()
    linked = {tuple(line.split()[:2]) for line in told.splitlines() if line}
    told = json.loads(tool("cargo", "metadata", "--locked", "--format-version", "1", cwd=ROOT))
    known = {(package["name"], "v" + package["version"]): package for package in told["packages"]}
    return [known[name] for name in sorted(linked)]


def licences(packages):
    """The licences of all crates in one file."""
    out = [f"graceinit contains these works.\n\ngraceinit: {key('license')}\n\n{(ROOT / 'LICENSE').read_text()}"]
    for package in packages:
        if package["name"] == "graceinit":
            continue
        head = f"{package['name']} {package['version']}: {package['license']}\n{package.get('repository') or ''}"
        folder = Path(package["manifest_path"]).parent
        names = sorted(path for path in folder.iterdir() if re.match(r"(LICEN[CS]E|COPYING|NOTICE)", path.name, re.I))
        texts = [f"--- {path.name}\n{path.read_text(errors='replace')}" for path in names if path.is_file()]
        out.append("\n".join([head.rstrip(), *texts]))
    return ("\n" + "=" * 80 + "\n").join(out).encode()


def checksums():
    lock = (ROOT / "Cargo.lock").read_text()
    found = re.findall(r'name = "(.*)"\nversion = "(.*)"\nsource = .*\nchecksum = "(.*)"', lock)
    return {(name, version): digest for name, version, digest in found}


def sbom(packages, version, epoch):
    """CycloneDX 1.5. The serial number follows from the content, so that it is the same each time."""
    known, components = checksums(), []
    for package in packages:
        if package["name"] == "graceinit":
            continue
        name, its = package["name"], package["version"]
        purl, licence = f"pkg:cargo/{name}@{its}", package["license"].replace("/", " OR ")
        component = {"type": "library", "name": name, "version": its, "purl": purl, "bom-ref": purl,
                     "licenses": [{"expression": licence}]}
        if (name, its) in known:
            component["hashes"] = [{"alg": "SHA-256", "content": known[name, its]}]
        components.append(component)
    own = f"pkg:cargo/graceinit@{version}"
    document = {
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"timestamp": stamp(epoch), "component": {
            "type": "application", "name": "graceinit", "version": version, "purl": own, "bom-ref": own,
            "licenses": [{"license": {"id": key("license")}}]}},
        "components": components,
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(document, sort_keys=True))
    document["serialNumber"] = f"urn:uuid:{serial}"
    return json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"


def stamp(epoch):
    return datetime.fromtimestamp(epoch, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def auditable(program, packages):
    """The program with the list of its crates as section .dep-v0, which cargo-audit and rust-audit-info read."""
    known = checksums()
    rows = [{"name": package["name"], "version": package["version"],
             "source": "crates.io" if (package["name"], package["version"]) in known else "local",
             **({"root": True} if package["name"] == "graceinit" else {})} for package in packages]
    listed = zlib.compress(json.dumps({"packages": rows}, sort_keys=True).encode(), 9)
    return with_section(Path(program).read_bytes(), b".dep-v0", listed)


def with_section(program, name, data):
    """The program with one section more, which is not loaded. By hand: objcopy(1) would have to know the architecture,
    and its bytes depend on its version. elf(5), 64 bits, little endian."""
    head = list(struct.unpack_from("<16sHHIQQQIHHHHHH", program))
    table, width, count, of_names = head[6], head[11], head[12], head[13]
    if head[0][:6] != b"\x7fELF\x02\x01" or width != 64 or not count:
        sys.exit("packaging: the program is no 64-bit little-endian ELF file with sections")
    headers = [list(struct.unpack_from("<IIQQQQIIQQ", program, table + 64 * index)) for index in range(count)]
    start, length = headers[of_names][4:6]
    names = program[start:start + length]
    if name + b"\0" in names:
        sys.exit(f"packaging: the program has a section {name.decode()} already")
    out = bytearray(program)
    # The longer table of names, the section and the longer table of sections lie at the end of the file.
    headers[of_names][4:6] = [len(out), length + len(name) + 1]
    out += names + name + b"\0"
    # Type 1 is PROGBITS.
    headers.append([length, 1, 0, 0, len(out), len(data), 0, 0, 1, 0])
    out += data
    out += bytes(-len(out) % 8)
    head[6], head[12] = len(out), count + 1
    out += b"".join(struct.pack("<IIQQQQIIQQ", *header) for header in headers)
    struct.pack_into("<16sHHIQQQIHHHHHH", out, 0, *head)
    return bytes(out)


def generated(kind, generator):
    """Man page or completions, from the table of options."""
    run = [generator] if generator else "cargo run --quiet --locked --example generate --".split()
    return tool(*run, kind, cwd=ROOT)


# ---- packages ---------------------------------------------------------------------------------


def installed(program, page, completions, licence):
    """The files of a package, as they are installed."""
    tree = Tree().add("usr/bin/graceinit", program, 0o755)
    tree.add("usr/share/man/man1/graceinit.1.gz", compress(page))
    for path, data in completions.items():
        tree.add(path, data)
    doc = "usr/share/doc/graceinit/"
    tree.add(doc + "copyright", licence)
    for name in ("README.md", "CHANGELOG.md"):
        tree.add(doc + name, (ROOT / name).read_bytes())
    for path in sorted((ROOT / "docs").rglob("*")):
        if path.is_file():
            tree.add(doc + str(path.relative_to(ROOT)), path.read_bytes())
    for name in LINKS:
        tree.links[f"usr/lib/graceinit/{name}"] = "../../bin/graceinit"
    return tree


def deb(tree, arch, version, epoch):
    """deb(5): an ar(5) archive of three members."""
    size = sum(len(data) for _, data in tree.files.values()) // 1024 + 1
    control = (f"Package: graceinit\nVersion: {version}\nArchitecture: {DEB[arch]}\n"
               "Maintainer: The graceinit developers <graceinit@localhost>\n"
               f"Installed-Size: {size}\nSection: admin\nPriority: optional\nDescription: {key('description')}\n")
    sums = "".join(f"{hashlib.md5(data).hexdigest()}  {path}\n" for path, (_, data) in sorted(tree.files.items()))
    about = Tree().add("control", control.encode()).add("md5sums", sums.encode())
    members = [("debian-binary", b"2.0\n"), ("control.tar.gz", compress(about.tar(epoch, "./"))),
               ("data.tar.gz", compress(tree.tar(epoch, "./")))]
    out = b"!<arch>\n"
    for name, data in members:
        head = f"{name:<16}{epoch:<12}{0:<6}{0:<6}{0o100644:<8o}{len(data):<10}`\n"
        out += head.encode() + data + b"\n" * (len(data) % 2)
    return out


def rpm(tree, arch, version, epoch, out):
    """By rpmbuild(8), from the installed tree."""
    if not shutil.which("rpmbuild"):
        sys.exit("packaging: no rpmbuild; install the package rpm")
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        tree.write(place / "tree")
        owned = sorted(["/" + path for path in tree.files | tree.links])
        (place / "graceinit.spec").write_text("\n".join([
            "Name: graceinit", f"Version: {version.replace('-', '~')}", "Release: 1", f"Summary: {key('description')}",
            f"License: {key('license')}", "AutoReqProv: no", "%description", key("description") + ".",
            "%install", f"cp -a {place}/tree/. %{{buildroot}}/", "%files", "%dir /usr/lib/graceinit", *owned, ""]))
        defines = {
            "_topdir": place / "top", "_buildhost": "localhost", "use_source_date_epoch_as_buildtime": 1,
            "clamp_mtime_to_source_date_epoch": 1, "build_mtime_policy": "clamp_to_source_date_epoch",
            "source_date_epoch_from_changelog": 0, "__os_install_post": "%{nil}", "debug_package": "%{nil}",
            "_build_id_links": "none", "_binary_payload": "w9.gzdio", "_rpmdir": place / "out",
            "_rpmfilename": "package.rpm", "_docdir_fmt": "%{NAME}", "__brp_mangle_shebangs": "%{nil}",
        }
        words = [word for name, value in defines.items() for word in ("--define", f"{name} {value}")]
        for path in (place / "tree").rglob("*"):
            if path.is_dir():
                # Else the umask would show.
                path.chmod(0o755)
        for path in (place / "tree").rglob("*"):
            if not path.is_symlink():
                os.utime(path, (epoch, epoch))
        tool("rpmbuild", "-bb", "--target", f"{RPM[arch]}-linux", *words, place / "graceinit.spec",
             env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(place), "LC_ALL": "C", "TZ": "UTC",
                  "SOURCE_DATE_EPOCH": str(epoch)})
        shutil.copyfile(place / "out/package.rpm", out)


def apk(tree, arch, version, epoch):
    """Alpine's package, version 2, without a signature (`apk add --allow-untrusted`): two gzip streams of tar, of which
    the first has no end-of-archive mark."""
    data = compress(tree.tar(epoch, checksums=True))
    size = sum(len(content) for _, content in tree.files.values())
    about = (f"pkgname = graceinit\npkgver = {version}-r0\npkgdesc = {key('description')}\narch = {RPM[arch]}\n"
             f"size = {size}\nlicense = {key('license')}\nbuilddate = {epoch}\norigin = graceinit\n"
             f"datahash = {hashlib.sha256(data).hexdigest()}\n")
    control = Tree().add(".PKGINFO", about.encode()).tar(epoch)
    # One header of 512 bytes and the text, padded to blocks.
    blocks = 1 + (len(about.encode()) + 511) // 512
    return compress(control[:512 * blocks]) + data


def wheel(program, arch, version, epoch, licence):
    """A wheel whose one file is the program, as a script. PEP 427, PEP 440."""
    its = version.replace("-", "")
    info = f"graceinit-{its}.dist-info"
    tags = [f"py3-none-{platform}" for platform in WHEEL[arch].split(".")]
    about = (f"Metadata-Version: 2.1\nName: graceinit\nVersion: {its}\nSummary: {key('description')}\n"
             f"License: {key('license')}\nDescription-Content-Type: text/markdown\n\n")
    files = {
        f"graceinit-{its}.data/scripts/graceinit": (0o755, program),
        f"{info}/METADATA": (0o644, about.encode() + (ROOT / "README.md").read_bytes()),
        f"{info}/WHEEL": (0o644, ("Wheel-Version: 1.0\nGenerator: graceinit\nRoot-Is-Purelib: false\n"
                                  + "".join(f"Tag: {tag}\n" for tag in tags)).encode()),
        f"{info}/licenses/LICENSES": (0o644, licence),
    }
    digest = lambda data: base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()  # noqa: E731
    record = "".join(f"{path},sha256={digest(data)},{len(data)}\n" for path, (_, data) in files.items())
    files[f"{info}/RECORD"] = (0o644, (record + f"{info}/RECORD,,\n").encode())
    out = io.BytesIO()
    moment = tuple(int(part) for part in re.findall(r"\d+", stamp(max(epoch, 315532800))))
    with zipfile.ZipFile(out, "w") as archive:
        for path, (mode, data) in files.items():
            entry = zipfile.ZipInfo(path, moment)
            # 3 is Unix: without it the mode means nothing.
            entry.compress_type, entry.create_system = zipfile.ZIP_DEFLATED, 3
            entry.external_attr = (0o100000 | mode) << 16
            archive.writestr(entry, data, compresslevel=9)
    return f"graceinit-{its}-py3-none-{WHEEL[arch]}.whl", out.getvalue()


def image(programs, version, epoch, licence):
    """Image of these architectures: an OCI layout, with the manifest.json that docker-load(1) reads beside it."""
    blobs, manifests, load = {}, [], []

    def blob(data):
        digest = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = data
        return f"sha256:{digest}"

    named = {"org.opencontainers.image.ref.name": version, "io.containerd.image.name": f"graceinit:{version}"}
    labels = {"org.opencontainers.image.title": "graceinit", "org.opencontainers.image.version": version,
              "org.opencontainers.image.licenses": key("license"), "org.opencontainers.image.created": stamp(epoch),
              "org.opencontainers.image.description": key("description")}
    for arch, program in sorted(programs.items()):
        tree = Tree().add("graceinit", program, 0o755).add("LICENSES", licence)
        tree.links.update({name: "graceinit" for name in LINKS})
        layer = tree.tar(epoch)
        config = {"architecture": arch, "os": "linux", "created": stamp(epoch),
                  "config": {"Entrypoint": ["/graceinit", "--"], "Labels": labels},
                  "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
                  "history": [{"created": stamp(epoch), "created_by": "packaging/release"}]}
        layer, config = compress(layer), json.dumps(config, sort_keys=True).encode()
        of_config, of_layer = blob(config), blob(layer)
        manifest = json.dumps({
            "schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
            "config": {"mediaType": OCI + "config.v1+json", "digest": of_config, "size": len(config)},
            "layers": [{"mediaType": OCI + "layer.v1.tar+gzip", "digest": of_layer, "size": len(layer)}],
        }, sort_keys=True).encode()
        manifests.append({"mediaType": OCI + "manifest.v1+json", "digest": blob(manifest),
                          "size": len(manifest), "platform": {"architecture": arch, "os": "linux"}})
        path = lambda digest: "blobs/" + digest.replace(":", "/")  # noqa: E731
        # Docker's own format knows one architecture a name.
        tag = f"graceinit:{version}" + (f"-{arch}" if len(programs) > 1 else "")
        load.append({"Config": path(of_config), "RepoTags": [tag], "Layers": [path(of_layer)]})
    index = {"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": manifests}
    if len(manifests) > 1:
        # One name for all architectures: an index within the index.
        inner = json.dumps(index, sort_keys=True).encode()
        manifests = [{"mediaType": OCI + "index.v1+json", "digest": blob(inner), "size": len(inner)}]
    index = {**index, "manifests": [{**manifest, "annotations": named} for manifest in manifests]}
    tree = Tree()
    tree.files = {path: (0o644, data) for path, data in blobs.items()}
    tree.add("oci-layout", b'{"imageLayoutVersion":"1.0.0"}').add("index.json", json.dumps(index, sort_keys=True).encode())
    tree.add("manifest.json", json.dumps(load, sort_keys=True).encode())
    return tree.tar(epoch)


def docs(site, version, epoch):
    """The documentation as a site, built already or to be built."""
    with tempfile.TemporaryDirectory() as place:
        if not site:
            site = Path(place) / "site"
            book.build(site)
        tree = Tree()
        for path in sorted(Path(site).rglob("*")):
            if path.is_file():
                tree.add(str(path.relative_to(site)), path.read_bytes())
    return compress(tree.tar(epoch, f"graceinit-{version}-docs/"))


def write(dist, programs, kinds, version, epoch, generator, site=None):
    """Writes the artefacts of these programs and kinds."""
    packages = metadata()
    licence = licences(packages)
    page = generated("man", generator)
    completions = {"usr/share/bash-completion/completions/graceinit": generated("bash", generator),
                   "usr/share/zsh/site-functions/_graceinit": generated("zsh", generator),
                   "usr/share/fish/vendor_completions.d/graceinit.fish": generated("fish", generator)}
    finished = {}
    for arch, path in sorted(programs.items()):
        program = finished[arch] = auditable(path, packages)
        name = f"graceinit-{version}-linux-{arch}"
        if "program" in kinds:
            (dist / name).write_bytes(program)
            (dist / name).chmod(0o755)
        if "tar" in kinds:
            archive = Tree().add("graceinit", program, 0o755).add("LICENSES", licence).add("graceinit.1", page)
            archive.add("README.md", (ROOT / "README.md").read_bytes())
            for file, data in completions.items():
                archive.add("completions/" + Path(file).name, data)
            archive.links.update({link: "graceinit" for link in LINKS})
            (dist / f"{name}.tar.gz").write_bytes(compress(archive.tar(epoch, f"{name}/")))
        tree = installed(program, page, completions, licence)
        if "deb" in kinds:
            (dist / f"graceinit_{version}_{DEB[arch]}.deb").write_bytes(deb(tree, arch, version, epoch))
        if "rpm" in kinds:
            rpm(tree, arch, version, epoch, dist / f"graceinit-{version}-1.{RPM[arch]}.rpm")
        if "apk" in kinds:
            (dist / f"graceinit-{version}-r0.{RPM[arch]}.apk").write_bytes(apk(tree, arch, version, epoch))
        if "wheel" in kinds:
            file, data = wheel(program, arch, version, epoch, licence)
            (dist / file).write_bytes(data)
        if "image" in kinds:
            alone = image({arch: program}, version, epoch, licence)
            (dist / f"graceinit-{version}-image-{arch}.tar").write_bytes(alone)
    if "image" in kinds and len(finished) > 1:
        (dist / f"graceinit-{version}-image.tar").write_bytes(image(finished, version, epoch, licence))
    if "sbom" in kinds:
        (dist / f"graceinit-{version}.cdx.json").write_bytes(sbom(packages, version, epoch))
        (dist / "LICENSES").write_bytes(licence)
    if "docs" in kinds:
        (dist / f"graceinit-{version}-docs.tar.gz").write_bytes(docs(site, version, epoch))
