#!/usr/bin/env python3
"""Checks that what examples/documents runs is what the two documents print.

Every file under snippets/ is a stretch of its document byte for byte, `_index.yaml` holds the
router as printed, every code snippet of a document has its file, and harness/room.luau holds the
pieces of the broadcast snippet. Exit status 1 and one line for each difference.
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
DOCUMENTS = HERE.parent.parent / "docs" / "documents"
SNIPPETS = [
    "monitor.lua",
    "transfer.lua",
    "router.yaml",
    "handler.lua",
    "receive.lua",
    "send.lua",
    "broadcast.lua",
]
# Text that only code has. A line with one of these belongs to a snippet.
CODE = ("local ", "process.", "end", "    ", "-- ", "- name:", "  kind:", "})", "clients[")


def code_lines(document: bytes) -> list[bytes]:
    starts = tuple(mark.encode() for mark in CODE)
    return [line for line in document.split(b"\n") if line.startswith(starts)]


def check(language: str) -> list[str]:
    document = (DOCUMENTS / f"websocket-relay.{language}.txt").read_bytes()
    folder = HERE / "snippets" / language
    faults = []

    found = sorted(path.name for path in folder.iterdir())
    if found != sorted(SNIPPETS):
        faults.append(f"{language}: expected {sorted(SNIPPETS)}, found {found}")

    position = 0
    printed = set()
    for name in SNIPPETS:
        text = (folder / name).read_bytes()
        at = document.find(text, position)
        if at < 0:
            faults.append(f"{language}/{name}: not in the document as it stands here, or out of order")
            continue
        if at > 0 and document[at - 1 : at] != b"\n":
            faults.append(f"{language}/{name}: does not begin at the beginning of a line")
        position = at + len(text)
        printed.update(text.split(b"\n"))

    for line in code_lines(document):
        if line not in printed:
            faults.append(f"{language}: no snippet has the printed line {line.decode()!r}")

    if (folder / "router.yaml").read_bytes() not in (HERE / "_index.yaml").read_bytes():
        faults.append(f"{language}: _index.yaml does not hold the router as printed")

    faults.extend(check_room(language, (folder / "broadcast.lua").read_text("utf-8")))
    return faults


def check_room(language: str, snippet: str) -> list[str]:
    """The two statements of join and leave sit inside the loop, below the function: so each piece
    is looked for by itself, without its comment and its indentation."""
    room = [line.strip() for line in (HERE / "harness" / "room.luau").read_text("utf-8").splitlines()]
    faults = []
    for piece in snippet.strip().split("\n\n"):
        lines = [line.strip() for line in piece.split("\n") if not line.startswith("--")]
        spans = (room[at : at + len(lines)] for at in range(len(room)))
        if lines not in spans:
            faults.append(f"{language}: harness/room.luau lacks {' / '.join(lines)!r}")
    return faults


def main() -> int:
    faults = [fault for language in ("ko", "ru") for fault in check(language)]
    for fault in faults:
        print(fault)
    if not faults:
        print(f"{2 * len(SNIPPETS)} snippets stand as printed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
