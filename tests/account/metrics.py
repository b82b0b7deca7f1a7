"""Reads one account in both forms with the reference parsers and prints what is in it.

metrics.py TEXT OPENMETRICS

A line for each family: `name type unit samples`. Both have to show the same series with the same values
in the same order.
"""
import sys

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client import parser as text


def read(parser, path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(parser.text_string_to_metric_families(file.read()))


def series(families):
    return [(s.name, sorted(s.labels.items()), s.value) for f in families for s in f.samples]


old, new = read(text, sys.argv[1]), read(openmetrics, sys.argv[2])
if series(old) != series(new):
    sys.exit("the forms differ")
for before, family in zip(old, new, strict=True):
    known = (before.name, before.type, before.documentation)
    if known != (family.name, family.type, family.documentation) or not family.documentation:
        sys.exit(f"{before} is not {family}")
    labels = {tuple(sorted(sample.labels.items())) + (sample.name,) for sample in family.samples}
    if len(labels) != len(family.samples):
        sys.exit(f"a series of {family.name} comes twice")
    print(family.name, family.type, family.unit or "-", len(family.samples))
