"""A maze to draw: walls are clicked, or painted by dragging, into a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anywidget
import traitlets

from diffrl_lab.worlds.mazes import longest_way

from .mazes import draw_maze
from .pictures import COLOUR, Picture, figure, still


class Draw(anywidget.AnyWidget):
    """The widget that `draw` makes: `maze_map` is what is drawn now, rows of 0 (free) and 1 (wall)."""

    _esm = """
    function render({ model, el }) {
      const box = document.createElement("div"), grid = document.createElement("div");
      const side = document.createElement("div"), words = document.createElement("div"), tone = model.get("colour");
      const ink = "var(--jp-content-font-color1,CanvasText)";
      const ground = "var(--jp-layout-color0,Canvas)";
      box.style.cssText = "font:14px/1.45 system-ui,sans-serif;max-width:560px;color:" + ink;
      grid.setAttribute("role", "group");
      grid.setAttribute("aria-label", "A maze: arrow keys move, space sets or clears a wall");
      side.style.cssText = "display:flex;gap:8px;margin:8px 0 4px";
      words.setAttribute("role", "status");
      words.style.minHeight = "2.9em";
      box.append(grid, side, words);
      el.append(box);
      let cells = [], paint = null;
      const rows = () => model.get("rows"), wall = (r, c) => rows()[r][c] === "1";
      const border = (r, c) => r === 0 || c === 0 || r === rows().length - 1 || c === rows()[0].length - 1;
      const put = (next) => { model.set("rows", next); model.save_changes(); };
      const set = (r, c, value) => {
        if (border(r, c) || wall(r, c) === value) return;
        put(rows().map((row, i) => i === r ? row.slice(0, c) + (value ? "1" : "0") + row.slice(c + 1) : row));
      };
      const cellOf = (b) => [Number(b.dataset.r), Number(b.dataset.c)];
      const build = () => {
        const R = rows().length, C = rows()[0].length;
        grid.replaceChildren();
        grid.style.cssText = "display:grid;gap:1px;touch-action:none;user-select:none;max-width:" + 44 * C + "px;"
          + "grid-template-columns:repeat(" + C + ",minmax(0,1fr))";
        cells = rows().map((row, r) => [...row].map((_, c) => {
          const b = document.createElement("button");
          b.type = "button";
          Object.assign(b.dataset, { r, c });
          b.style.cssText = "aspect-ratio:1;padding:0;margin:0;border-radius:0;border:1px solid transparent;cursor:"
            + (border(r, c) ? "not-allowed" : "pointer");
          b.tabIndex = r === 1 && c === 1 ? 0 : -1;
          if (border(r, c)) b.disabled = true;
          grid.append(b);
          return b;
        }));
      };
      const show = () => {
        if (cells.length !== rows().length || cells[0].length !== rows()[0].length) build();
        cells.forEach((row, r) => row.forEach((b, c) => {
          b.style.background = wall(r, c) ? tone : ground;
          b.style.borderColor = wall(r, c) ? tone : "color-mix(in srgb, " + tone + " 45%, transparent)";
          b.setAttribute("aria-pressed", wall(r, c));
          b.setAttribute("aria-label", "row " + (r + 1) + ", column " + (c + 1) + ", "
            + (border(r, c) ? "outer wall" : wall(r, c) ? "wall" : "free"));
        }));
      };
      const focus = (r, c) => {
        for (const b of cells.flat()) b.tabIndex = -1;
        cells[r][c].tabIndex = 0;
        cells[r][c].focus();
      };
      grid.addEventListener("pointerdown", (e) => {
        const b = e.target.closest("button");
        if (!b || b.disabled) return;
        e.preventDefault();
        if (b.hasPointerCapture && b.hasPointerCapture(e.pointerId)) b.releasePointerCapture(e.pointerId);
        const [r, c] = cellOf(b);
        paint = !wall(r, c);
        focus(r, c);
        set(r, c, paint);
      });
      const over = (e) => {
        if (paint === null) return;
        const b = document.elementFromPoint(e.clientX, e.clientY)?.closest("button");
        if (b && grid.contains(b) && !b.disabled) set(...cellOf(b), paint);
      };
      const lift = () => { paint = null; };
      document.addEventListener("pointermove", over);
      document.addEventListener("pointerup", lift);
      document.addEventListener("pointercancel", lift);
      grid.addEventListener("keydown", (e) => {
        const b = e.target.closest("button");
        if (!b) return;
        const [r, c] = cellOf(b);
        const by = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[e.key];
        if (by && !border(r + by[0], c + by[1])) focus(r + by[0], c + by[1]);
        else if (e.key === " " || e.key === "Enter") set(r, c, !wall(r, c));
        else if (!by) return;
        e.preventDefault();
        e.stopPropagation();
      });
      const button = (label, make) => {
        const b = document.createElement("button");
        b.type = "button";
        b.textContent = label;
        b.style.cssText = "font:inherit;padding:3px 12px;border:1px solid;border-radius:4px;cursor:pointer;"
          + "background:transparent;color:inherit";
        b.addEventListener("click", () => put(make()));
        side.append(b);
      };
      button("the example", () => [...model.get("example")]);
      button("no walls", () => rows().map((row, r) => [...row].map((_, c) => border(r, c) ? "1" : "0").join("")));
      button("all walls", () => rows().map((row) => "1".repeat(row.length)));
      const say = () => { words.textContent = model.get("words"); };
      model.on("change:rows", show);
      model.on("change:words", say);
      show(); say();
      return () => {
        document.removeEventListener("pointermove", over);
        document.removeEventListener("pointerup", lift);
        document.removeEventListener("pointercancel", lift);
      };
    }
    export default { render };
    """
    rows: traitlets.List = traitlets.List(traitlets.Unicode()).tag(sync=True)
    example: traitlets.List = traitlets.List(traitlets.Unicode()).tag(sync=True)
    words = traitlets.Unicode().tag(sync=True)
    colour = traitlets.Unicode(COLOUR["wall"]).tag(sync=True)

    def __init__(self, maze_map: Sequence[Sequence[int]]) -> None:
        longest_way(maze_map)
        rows = ["".join(map(str, row)) for row in maze_map]
        super().__init__(rows=rows, example=rows)
        self._judge()
        self.observe(self._judge, names="rows")

    @property
    def maze_map(self) -> list[list[int]]:
        return [[int(cell) for cell in row] for row in self.rows]

    def _judge(self, _: Any = None) -> None:
        """Says under the grid whether a ball can be driven in what is drawn."""
        try:
            way = longest_way(self.maze_map)
        except ValueError as error:
            self.words = f"Not yet a maze: {error}."
        else:
            free = sum(row.count("0") for row in self.rows)
            self.words = (
                f"A maze: {free} free cells, the longest way has {way} steps. Run the next cells to train in it."
            )

    def picture(self) -> Picture:
        """What is drawn now, where no kernel runs."""
        rows, columns = len(self.rows), len(self.rows[0])
        fig, ax = figure(0.36 * rows, width=0.36 * columns)
        draw_maze(ax, self.maze_map)
        free = sum(row.count("0") for row in self.rows)
        return Picture(fig, f"A drawn maze of {rows} rows and {columns} columns with {free} free cells, walls in grey.")

    def __repr__(self) -> str:
        return "draw a maze:\n" + "\n".join(row.replace("1", "█").replace("0", "·") for row in self.rows)

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        picture = self.picture()
        live: Any = super()._repr_mimebundle_(**kwargs) or {}
        live = live[0] if isinstance(live, tuple) else live
        seen = still(picture.png(), picture.alt)["image/png"]
        return {**live, "image/png": seen, "text/plain": repr(self)}, {"image/png": {"alt": picture.alt}}


def draw(maze_map: Sequence[Sequence[int]]) -> Draw:
    """A grid of cells in which the learner sets and clears walls, by mouse, touch or keyboard; `maze_map` it begins as.

    The outer ring stays a wall. A line below says whether a ball can be driven in what is drawn. Raises ValueError for
    a map to begin with in which it cannot (`worlds.mazes.longest_way`).
    """
    return Draw(maze_map)
