"""The table of values in the chart's README, from the comments in values.yaml."""

import re

import yaml

BEGIN = "<!-- From values.yaml: `make chart` writes it. -->\n"
END = "<!-- end -->"


def rows(text):
    """Key, default and comment of each key that has a comment right above it."""
    values = yaml.safe_load(text)
    path, comment, found = [], [], []
    for line in text.splitlines():
        if said := re.match(r" *# ?(.*)", line):
            comment.append(said[1])
        elif key := re.match(r"( *)([A-Za-z_]+):", line):
            path = [*path[: len(key[1]) // 2], key[2]]
            if comment:
                found.append((".".join(path), default(values, path), " ".join(comment)))
            comment = []
        else:
            comment = []
    return found


def default(values, path):
    for key in path:
        values = values[key]
    if isinstance(values, dict) and values and any(isinstance(value, (dict, list)) for value in values.values()):
        return ""
    flow = yaml.safe_dump(values, default_flow_style=True, width=10000, sort_keys=False).removesuffix("\n...\n").strip()
    return f"`{flow}`" if len(flow) <= 90 else "see values.yaml"


def insert(readme, text):
    before, rest = readme.split(BEGIN)
    after = rest.split(END)[1]
    escaped = lambda cell: cell.replace("|", "\\|")
    lines = [f"| `{key}` | {escaped(value)} | {escaped(comment)} |" for key, value, comment in rows(text)]
    table = "\n".join(["| value | default | |", "|---|---|---|", *lines])
    return f"{before}{BEGIN}\n{table}\n\n{END}{after}"
