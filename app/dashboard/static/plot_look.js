// Colours, axes and marks of the charts, from the custom properties of the style sheet.

const COLOURS = 5;
const DASHES = [[], [7, 4], [2, 4]];

export function element(name, properties, parent) {
  const made = Object.assign(document.createElement(name), properties);
  parent?.append(made);
  return made;
}

export function line(one, stroke, width) {
  const dash = DASHES[Math.min(Math.floor(one.style / COLOURS), DASHES.length - 1)];
  return { stroke, width, dash, points: { show: one.x.length < 2, size: 6, fill: stroke } };
}

export class Theme {
  #probe;

  constructor(figure, onChange) {
    // A property with light-dark() is a colour only once an element has it.
    this.#probe = element("span", { hidden: true }, figure);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", onChange);
  }

  className(style) {
    const turn = Math.floor(style / COLOURS);
    return `s${(style % COLOURS) + 1}${turn ? ` dash${Math.min(turn, 2)}` : ""}`;
  }

  named(name) {
    this.#probe.style.color = `var(--${name})`;
    return getComputedStyle(this.#probe).color;
  }

  colour(style, opacity = 1) {
    const [red, green, blue] = this.named(`s${(style % COLOURS) + 1}`).match(/[\d.]+/g);
    return `rgb(${red} ${green} ${blue} / ${opacity})`;
  }

  axes(width) {
    const [ink, grid] = [this.named("ink-3"), this.named("line")];
    const shared = { stroke: ink, font: this.font, ticks: { show: false }, gap: 6 };
    return [
      { ...shared, grid: { show: false }, space: width < 420 ? 70 : 90, incrs: whole(), size: 28, border: { show: true, stroke: this.named("line-strong"), width: 1 } },
      { ...shared, grid: { stroke: grid, width: 1 }, size: 62, space: 36 },
    ];
  }

  get font() {
    return `11px ${getComputedStyle(document.body).fontFamily}`;
  }

  limit(plot, value, label, side) {
    const { ctx, bbox } = plot;
    const y = plot.valToPos(value, "y", true);
    if (!(y >= bbox.top && y <= bbox.top + bbox.height)) return;
    ctx.save();
    Object.assign(ctx, { strokeStyle: this.named("ink-3"), fillStyle: this.named("ink-2"), textAlign: side, lineWidth: devicePixelRatio });
    ctx.font = this.font.replace("11px", `${11 * devicePixelRatio}px`);
    ctx.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    // Below the line, but above it where the marks of the axis would be in the way.
    const below = y + 18 * devicePixelRatio <= bbox.top + bbox.height;
    ctx.fillText(label, bbox.left + (side === "right" ? bbox.width : 0), y + (below ? 14 : -5) * devicePixelRatio);
    ctx.restore();
  }

  cross(plot, step) {
    const { ctx, bbox } = plot;
    const x = plot.valToPos(step, "x", true);
    if (!(x >= bbox.left && x <= bbox.left + bbox.width)) return;
    ctx.save();
    Object.assign(ctx, { fillStyle: this.named("bad"), textAlign: "center", font: `bold ${12 * devicePixelRatio}px sans-serif` });
    ctx.fillText("×", x, bbox.top + 10 * devicePixelRatio);
    ctx.restore();
  }
}

// Steps are whole numbers, and so are the distances between their marks.
function whole() {
  return Array.from({ length: 16 }, (_, power) => [1, 2, 5].map((factor) => factor * 10 ** power)).flat();
}
