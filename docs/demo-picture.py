"""Draws docs/demo.svg from a recorded run of the demo. Needs nothing but Python.

    script --quiet --return --command 'make demo' /tmp/demo.txt
    python3 docs/demo-picture.py </tmp/demo.txt >docs/demo.svg
"""

import re
import sys
from html import escape

# The first line that is shown; what comes before it is about building and starting.
BEGINS = "sending "
CELL, LINE, MARGIN, BAR = 8.0, 19, 22, 34
# What the demo uses of the terminal's colours.
CLASSES = {"1": "strong", "2": "faint", "31": "bad", "32": "good", "36": "accent"}
STYLE = """
  .card { fill: #f6f8fa; stroke: #d0d7de } .dot { fill: #d0d7de } text { fill: #1f2328 }
  .strong { font-weight: 700 } .faint { fill: #59636e } .bad { fill: #d1242f } .good { fill: #1a7f37 } .accent { fill: #0969da }
  @media (prefers-color-scheme: dark) {
    .card { fill: #0d1117; stroke: #3d444d } .dot { fill: #3d444d } text { fill: #f0f6fc }
    .faint { fill: #9198a1 } .bad { fill: #ff7b72 } .good { fill: #3fb950 } .accent { fill: #58a6ff }
  }
"""
ESCAPE = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])")


def main() -> None:
    lines = ["\x1b[2m$\x1b[0m make demo", *shown(sys.stdin.buffer.read().decode())]
    columns = max(len(ESCAPE.sub("", line)) for line in lines)
    width = round(2 * MARGIN + columns * CELL)
    height = BAR + len(lines) * LINE + MARGIN
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">')
    print("<title>make demo: 20,000 jobs, and what became of them</title>")
    print(f"<style>{STYLE}</style>")
    print(f'<rect class="card" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>')
    for place in range(3):
        print(f'<circle class="dot" cx="{MARGIN + 18 * place}" cy="18" r="5"/>')
    print('<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="13" xml:space="preserve">')
    for number, line in enumerate(lines):
        print(drawn(line, BAR + (number + 1) * LINE))
    print("</g>\n</svg>")


def shown(recording: str) -> list[str]:
    """The lines as they stood at the end: of a line drawn again and again, the last drawing."""
    drawings = [line.rstrip("\r").split("\r")[-1] for line in recording.split("\n")]
    lines = [line.rstrip() for line in drawings if not line.startswith("Script ")]
    begins = next(number for number, line in enumerate(lines) if ESCAPE.sub("", line).startswith(BEGINS))
    while not lines[-1]:
        lines.pop()
    return lines[begins:]


def drawn(line: str, y: int) -> str:
    """Each stretch of one colour starts at its own column, so that another font cannot shift what follows."""
    spans, column, style = [], 0, ""
    for part in re.split(r"(\x1b\[[0-9;]*[A-Za-z])", line):
        code = ESCAPE.fullmatch(part)
        if code:
            if code[2] == "m":
                style = CLASSES.get(code[1], "")
            continue
        # Columns stay columns, whatever the width of a space.
        for piece in re.finditer(r"\S+(?: \S+)*", part):
            left = MARGIN + (column + piece.start()) * CELL
            length = len(piece[0]) * CELL
            named = f' class="{style}"' if style else ""
            spans.append(
                f'<text x="{left:g}" y="{y}" textLength="{length:g}" lengthAdjust="spacingAndGlyphs"{named}>{escape(piece[0])}</text>'
            )
        column += len(part)
    return "".join(spans)


main()
