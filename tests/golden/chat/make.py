#!/usr/bin/env python3
"""Writes golden.json: what Jinja2 makes of our templates, with Hugging Face's settings.

With GGUF files or templates as arguments it writes models.json instead: the same of the templates in
them, by length and hash, for their texts are not ours. Needs jinja2 (3.1.6 when the files were made)
and, for GGUF files, gguf. See README.md.
"""

import copy
import datetime
import json
import pathlib
import sys

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

from cases import CASES
from snippets import BLOCKS, SNIPPETS, VARIABLES

HERE = pathlib.Path(__file__).parent
NOW = datetime.datetime(2026, 3, 5, 9, 7, 1)


class Generation(jinja2.ext.Extension):
    """{% generation %} marks the assistant's own text and prints its body unchanged."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("_body")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(
            x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


def render(env, source, variables):
    """{"text": ...}, {"raised": message} for raise_exception, or {"error": kind}."""
    try:
        return {"text": env.from_string(source).render(**copy.deepcopy(variables))}
    except jinja2.exceptions.TemplateError as error:
        if type(error) is jinja2.exceptions.TemplateError:
            return {"raised": str(error)}
        return {"error": type(error).__name__}
    except Exception as error:  # TypeError, ValueError, ZeroDivisionError, ...
        return {"error": type(error).__name__}


def snippet_sources():
    """The lines of SNIPPETS; one whose tag is still open takes the next lines in."""
    known = set()
    pending = ""
    for line in SNIPPETS.split("\n"):
        pending = pending + "\n" + line if pending else line
        # Only the one snippet on purpose spread over lines is joined; broken ones stand alone.
        if pending.startswith("{{ 'multi") and not pending.endswith("ok{% endif %}"):
            continue
        assert pending not in known, pending
        known.add(pending)
        yield pending
        pending = ""


def fnv1a(data):
    """The 64-bit FNV-1a hash (Fowler, Noll, Vo)."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def models(paths):
    import gguf

    env = environment()
    # Of files that are not named it keeps what there was.
    golden = json.loads((HERE / "models.json").read_text())
    for path in map(pathlib.Path, paths):
        if path.suffix == ".jinja":
            source = path.read_text()
        else:
            field = gguf.GGUFReader(path).fields["tokenizer.chat_template"]
            source = bytes(field.parts[field.data[0]]).decode()
        results = golden[path.name] = {}
        for name, variables in CASES.items():
            result = render(env, source, variables)
            if "text" in result:
                text = result["text"].encode()
                result = {"bytes": len(text), "fnv1a": f"{fnv1a(text):016x}"}
            elif "raised" in result:
                result = {"raised": f"{fnv1a(result['raised'].encode()):016x}"}
            results[name] = result
        print(path.name, sum("bytes" in r for r in results.values()), "of", len(results), "render")
    (HERE / "models.json").write_text(json.dumps(golden, indent=1) + "\n")


def main():
    env = environment()
    golden = {
        "jinja2": jinja2.__version__,
        "now": [NOW.year, NOW.month, NOW.day, NOW.hour, NOW.minute, NOW.second],
        "variables": VARIABLES,
        "snippets": [
            {"source": source, **render(env, source, VARIABLES)}
            for source in [*snippet_sources(), *BLOCKS]
        ],
        "cases": CASES,
        "templates": {
            path.name: {
                name: render(env, path.read_text(), variables) for name, variables in CASES.items()
            }
            for path in sorted((HERE / "templates").glob("*.jinja"))
        },
    }
    text = json.dumps(golden, ensure_ascii=False, indent=1)
    (HERE / "golden.json").write_text(text + "\n")
    results = [r for t in golden["templates"].values() for r in t.values()]
    for label, group in (("snippets", golden["snippets"]), ("templates x cases", results)):
        counts = {k: sum(k in r for r in group) for k in ("text", "raised", "error")}
        print(label, len(group), counts)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        models(sys.argv[1:])
    else:
        main()
