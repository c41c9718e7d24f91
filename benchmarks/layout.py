"""Rows and targets as text: aligned for a terminal, Markdown for a page."""

from datetime import date

from measure import Row, Target


def number(value: float, digits: int = 2) -> str:
    return "" if value != value else f"{value:.{digits}f}"


def cells(rows: list[Row], flops: float | None = None) -> list[list[str]]:
    """Header and rows of the table; with the FLOP that a way cannot do without, milliseconds and TFLOP/s of those."""
    table = [["way", "gradients of", "ms" if flops else "s", "x GRPO eager", "extra memory", "gradient error"]]
    if flops:
        table[0].insert(3, "TFLOP/s")
    for row in rows:
        if row.note:
            table.append([row.name, row.outputs, *[""] * (len(table[0]) - 3), row.note])
            continue
        took = (
            [number(row.seconds * 1000, 1), number(flops / row.seconds / 1e12, 0)]
            if flops
            else [number(row.seconds, 3)]
        )
        spread = f" ({'-'.join(map(number, row.quartiles))})" if row.quartiles else ""
        table.append(
            [row.name, row.outputs, *took, number(row.ratio) + spread, number(row.extra), f"{row.gradient_error:.0e}"]
        )  # fmt: skip
    return table


def target_cells(targets: list[Target]) -> list[list[str]]:
    table = [["target", "measured", ""]]
    for target in targets:
        sign = "<=" if target.at_most else ">="
        table.append([f"{target.text} {sign} {target.bound:.3g}", number(target.figure, 3), target.verdict])
    return table


def aligned(table: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in table)
    return "\n".join(line.rstrip() for line in lines)


def markdown(table: list[list[str]]) -> str:
    head, *body = ["| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in table]
    return "\n".join([head, "|" + "---|" * len(table[0]), *body])


def today() -> str:
    day = date.today()
    return f"{day.day} {day:%B %Y}"
