"""One HTML page that needs nothing but itself: scores, intervals, classes, figures."""

from collections.abc import Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path

from probekit.cache import commit
from probekit.probes.results import Result

_CSS = """
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --soft: #666; --line: #d8d8d8;
        --bar: #0072b2; --mark: #d55e00; --note: #fff4e0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --paper: #16181a; --soft: #a0a0a0;
        --line: #3a3d40; --bar: #56b4e9; --mark: #e69f00; --note: #2d2718; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
       margin: 0 auto; max-width: 60rem; padding: 1.5rem; }
h1 { font-size: 1.5rem; margin: 0 0 .3rem } h2 { font-size: 1.15rem; margin: 2rem 0 .4rem }
p { margin: .3rem 0 } .soft { color: var(--soft); font-size: .87rem }
.note { background: var(--note); border-left: 3px solid var(--mark); padding: .5rem .8rem;
        margin: .8rem 0 }
.wide { overflow-x: auto } table { border-collapse: collapse; width: 100%; margin: .6rem 0 }
th, td { text-align: left; padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--line);
         vertical-align: top } .n { text-align: right; font-variant-numeric: tabular-nums;
         white-space: nowrap }
figure { margin: 1rem 0 } figure img { max-width: 100%; background: #fff; padding: .5rem;
         border-radius: 4px } figcaption { color: var(--soft); font-size: .87rem }
.track { position: relative; height: .8rem; min-width: 8rem; background: var(--line);
         border-radius: 2px } .track i { position: absolute; top: 0; bottom: 0; left: 0;
         background: var(--bar); border-radius: 2px; opacity: .85 }
.track b { position: absolute; top: -2px; bottom: -2px; background: var(--mark); opacity: .75;
         border-radius: 2px; min-width: 2px }
"""


def write(
    path: Path, title: str, found: Sequence[Result], figures: Sequence[tuple[Path, str]] = ()
) -> Path:
    """Write a page with results and figures.

    Parameters
    ----------
    path : pathlib.Path
        The HTML file; its folder is made.
    title : str
        Its heading.
    found : sequence of Result
        Results; those of one task stand together.
    figures : sequence of (pathlib.Path, str)
        SVG files, put into the page, and their captions.

    Returns
    -------
    pathlib.Path
        ``path``.
    """
    said = list(dict.fromkeys(text for r in found for text in r["provenance"]))
    body = [f"<h1>{escape(title)}</h1>"]
    if said:
        text = "; ".join(said)
        body.append(f'<p class="note" role="note">{escape(text[0].upper() + text[1:])}.</p>')
    for task in dict.fromkeys(r["task"] for r in found):
        own = [r for r in found if r["task"] == task]
        body += _task(own)
    if figures:
        body.append("<h2>Figures</h2>")
    for file, caption in figures:
        body.append(
            f'<figure><img alt="{escape(caption, quote=True)}" src="{_embedded(file)}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )
    body.append(f'<p class="soft">Made by probekit {escape(version("probekit"))}.</p>')
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_CSS}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    commit.commit_text(path, text)
    return path


def _task(found: Sequence[Result]) -> list[str]:
    """Return a task's leaderboard and its scores per class."""
    first = found[0]
    ranked = sorted(found, key=lambda r: -r["score"])
    rows = [
        "<tr>"
        f"<td>{escape(r['embedding'])}</td>"
        f'<td class="n">{r["score"]:.3f}</td>'
        f'<td class="n">{r["interval"]["low"]:.3f} – {r["interval"]["high"]:.3f}</td>'
        f"<td>{_bar(r)}</td>"
        f'<td class="n">{r["clips"]["used"]:,} of {r["clips"]["of"]:,}</td>'
        f"<td>{escape('; '.join(r['provenance'])) or '–'}</td></tr>"
        for r in ranked
    ]
    heads = "".join(f'<th class="n">{escape(r["embedding"])}</th>' for r in ranked)
    names = dict.fromkeys(name for r in ranked for name in r["classes"])
    classes = [_class(name, ranked) for name in names]
    metric = escape(first["metric"])
    ways = (f"{r['interval']['method']} over {r['interval']['unit']}" for r in ranked)
    how = ", or ".join(dict.fromkeys(ways))
    return [
        f"<h2>{escape(first['title'])}</h2>",
        f'<p class="soft">{escape(first["protocol"])}. 95 % intervals: {escape(how)}.</p>',
        f'<div class="wide"><table><thead><tr><th>embedding</th><th class="n">{metric}</th>'
        '<th class="n">95 % interval</th><th></th><th class="n">clips</th><th>note</th></tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>",
        f"<details><summary>{metric} of each class</summary><div class='wide'><table><thead><tr>"
        f'<th>class</th><th class="n">clips</th>{heads}</tr></thead><tbody>{"".join(classes)}'
        "</tbody></table></div></details>",
    ]


def _class(name: str, ranked: Sequence[Result]) -> str:
    """Return a row with a class's score in each run; a dash in runs that do not know it."""
    own = [r["per_class"].get(name) for r in ranked]
    clips = next(one["clips"] for one in own if one)
    cells = (f'<td class="n">{_number(one["score"] if one else None)}</td>' for one in own)
    return f'<tr><td>{escape(name)}</td><td class="n">{clips}</td>{"".join(cells)}</tr>'


def _bar(r: Result) -> str:
    """Return a bar for a score between 0 and 1, with its interval."""
    low, high = (max(0.0, min(1.0, r["interval"][end])) for end in ("low", "high"))
    score = max(0.0, min(1.0, r["score"]))
    return (
        f'<div class="track"><i style="width:{100 * score:.1f}%"></i>'
        f'<b style="left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"></b></div>'
    )


def _number(value: float | int | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _embedded(file: Path) -> str:
    """Return a picture as a data address: an image can run no script."""
    import base64

    kind = {".svg": "svg+xml", ".png": "png"}[file.suffix]
    return f"data:image/{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"
