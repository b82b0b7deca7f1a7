#!/usr/bin/env python3
"""The documentation as a site that can be searched, by mdBook.

    packaging/book.py [--mdbook PROGRAM] DIR
    packaging/book.py --check DIR

The order of the pages is that of the tables in docs/README.md. Fails if a link leads nowhere; --check only follows the
links of a site that is there. Without --mdbook, mdBook is built by cargo at the first time, in target/mdbook, which
takes some minutes.
"""
import argparse
import itertools
import re
import shutil
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
VERSION = "0.5.4"


def summary():
    """mdBook's table of contents."""
    out = ["# Summary", "", "[graceinit](index.md)", "[All pages](docs/index.md)", ""]
    for line in (ROOT / "docs/README.md").read_text().splitlines():
        if heading := re.match(r"## \d+ (.*)", line):
            out += ["", f"# {heading[1]}", ""]
        elif row := re.match(r"\| \[(.*?)\]\((.*?)\)", line):
            page = row[2][3:] if row[2].startswith("../") else f"docs/{row[2]}"
            out.append(f"- [{row[1]}]({page})")
    return "\n".join(out) + "\n"


def staged(text):
    """A page as mdBook has to have it: it makes index.html of README.md and leaves links to README.md as they are, and it
    names the places of headings in another way than GitHub, whose names the links have."""
    out, known, is_code = [], set(), False
    for line in text.splitlines():
        is_fence = line.lstrip().startswith("```")
        is_code ^= is_fence
        if not is_code and not is_fence:
            line = re.sub(r"README\.md(?=[)#])", "index.md", line)
            if heading := re.match(r"#+ (.*)", line):
                name = re.sub(r"[^\w \-]", "", heading[1].strip().lower()).replace(" ", "-")
                again = (f"{name}-{count}" for count in itertools.count(1))
                free = next(name for name in itertools.chain([name], again) if name not in known)
                known.add(free)
                line = f"{line} {{#{free}}}"
        out.append(line)
    return "\n".join(out) + "\n"


class Page(HTMLParser):
    """The links of a page, and the places in it that a link can lead to."""

    def __init__(self, text):
        super().__init__()
        self.links, self.places = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        self.places |= {known[name] for name in ("id", "name") if known.get(name)}
        self.links += [known[name] for name in ("href", "src") if known.get(name)]


def dead(site):
    """The links that lead nowhere. Addresses of other hosts are not asked."""
    pages = {path: Page(path.read_text()) for path in site.rglob("*.html")}
    for path, page in sorted(pages.items()):
        for link in page.links:
            parts = urlsplit(link)
            # 404.html is shown in every directory, so its links are those of the root of a host.
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            place = unquote(parts.fragment)
            if not target.is_file() or place and target in pages and place not in pages[target].places:
                yield f"{path.relative_to(site)}: {link}"


def mdbook():
    """The mdBook of this version: another one writes other bytes. Debian's lacks book.js."""
    place = ROOT / "target/mdbook"
    if not (place / "bin/mdbook").exists():
        done = subprocess.run(["cargo", "install", "--quiet", "--locked", "--root", str(place), f"mdbook@{VERSION}",
                               "--no-default-features", "--features", "search"])
        if done.returncode:
            sys.exit("packaging: cargo could not install mdbook")
    return str(place / "bin/mdbook")


def build(site, program=None):
    """Builds the site into this directory."""
    program = program or mdbook()
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        shutil.copy(HERE / "book.toml", place)
        # The same tree as in the repository, so that links between pages lead there.
        (place / "src").mkdir()
        for name in ("README.md", "CHANGELOG.md", "LICENSE"):
            shutil.copy(ROOT / name, place / "src")
        for name in ("docs", "packaging"):
            shutil.copytree(ROOT / name, place / "src" / name, ignore=shutil.ignore_patterns("__pycache__"))
        for path in sorted((place / "src").rglob("*.md")):
            text = staged(path.read_text())
            path.unlink()
            path.with_name(path.name.replace("README.md", "index.md")).write_text(text)
        (place / "src/SUMMARY.md").write_text(summary())
        done = subprocess.run([program, "build", "--dest-dir", str(site.resolve()), str(place)], capture_output=True,
                              text=True)
        if done.returncode:
            sys.exit(f"packaging: mdbook failed: {done.stderr.strip()}")
    # A link to a directory of the repository leads to the list of its files.
    folder = site / "packaging/k8s"
    rows = "".join(f'<li><a href="{path.name}">{path.name}</a></li>\n' for path in sorted(folder.iterdir()))
    (folder / "index.html").write_text(f"<!doctype html>\n<title>packaging/k8s</title>\n<ul>\n{rows}</ul>\n")
    check(site)


def check(site):
    """Follows the links of a site."""
    if wrong := list(dead(site.resolve())):
        sys.exit("packaging: links of the documentation lead nowhere:\n" + "\n".join(wrong))


def main():
    parser = argparse.ArgumentParser(prog="packaging/book.py", description="The documentation as a site, by mdBook.")
    parser.add_argument("--mdbook", metavar="PROGRAM", help=f"mdBook {VERSION} (default: built by cargo)")
    parser.add_argument("--check", action="store_true", help="only follow the links of a site that is there")
    parser.add_argument("site", metavar="DIR", type=Path, help="where the site goes, or where it is")
    options = parser.parse_args()
    if options.check:
        check(options.site)
        return
    if options.mdbook:
        told = subprocess.run([options.mdbook, "--version"], capture_output=True, text=True)
        told = told.stdout.partition("\n")[0]
        if told != f"mdbook v{VERSION}":
            sys.exit(f"packaging/book.py: {options.mdbook} is {told or 'no mdBook'}; name mdBook {VERSION}")
    build(options.site, options.mdbook)


if __name__ == "__main__":
    main()
