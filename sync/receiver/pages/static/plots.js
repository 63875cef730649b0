// Draws the charts. All text comes from the page, all figures from the server.
"use strict";

const root = document.documentElement;
const HEIGHT = 220;
// Tick positions of a lag axis, in seconds.
const LAG_TICKS = [1, 10, 60, 600, 3600, 86400, 7 * 86400, 30 * 86400];

function colour(name) {
  return getComputedStyle(root).getPropertyValue(name).trim();
}

function formatNumber(value) {
  return value === null || value === undefined ? "" : value.toLocaleString(root.lang);
}

function formatDuration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 120 && seconds !== 60) return `${Math.round(seconds)} s`;
  if (seconds < 7200 && seconds !== 3600) return `${Math.round(seconds / 60)} min`;
  return `${formatNumber(Math.round(seconds / 3600))} h`;
}

// Label midnight with its date, other hours with the time.
function hourLabels(plot, splits) {
  return splits.map((at) => {
    const time = new Date(at * 1000);
    const hour = time.getUTCHours();
    return hour === 0
      ? time.toLocaleDateString(root.lang, { day: "numeric", month: "short", timeZone: "UTC" })
      : `${String(hour).padStart(2, "0")}:00`;
  });
}

function formatTime(plot, at) {
  if (at === null) return "";
  return new Date(at * 1000).toLocaleString(root.lang, {
    day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: "UTC",
  });
}

function series(box, name, index) {
  const format = box.dataset.unit === "span" ? formatDuration : formatNumber;
  const ink = colour(box.dataset.colours.split(" ")[index]);
  const isBars = box.dataset.shape === "bars";
  return {
    label: box.dataset.labels.split("|")[index],
    stroke: ink,
    fill: isBars ? ink : undefined,
    width: 2,
    // Distinguishable without colour.
    dash: [[], [8, 4], [2, 4]][index],
    paths: isBars ? uPlot.paths.bars({ size: [0.7, 40] }) : undefined,
    points: { show: !isBars, size: 5 },
    value: (plot, value) => format(value),
  };
}

function draw(box, figures) {
  const names = box.dataset.columns.split(" ");
  const isEmpty = (value) => value === null || (box.dataset.unit === "count" && value === 0);
  if (names.every((name) => figures[name].every(isEmpty))) {
    box.textContent = box.dataset.nothing;
    box.classList.add("nothing");
    return;
  }
  const format = box.dataset.unit === "span" ? formatDuration : formatNumber;
  const isSpan = box.dataset.unit === "span";
  const columns = names.map((name) =>
    // A logarithmic scale has no zero: clamp to one second.
    figures[name].map((value) => (isSpan && value !== null ? Math.max(1, value) : value)));
  const ink = colour("--ink");
  const axis = { stroke: ink, grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
  const plot = new uPlot({
    width: box.clientWidth,
    height: HEIGHT,
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "UTC"),
    cursor: { drag: { x: false, y: false } },
    scales: {
      x: { time: true },
      y: isSpan ? { distr: 3, range: (self, least, most) => [1, Math.max(60, most * 1.5)] } : { range: (self, least, most) => [0, Math.max(1, most * 1.05)] },
    },
    axes: [
      { ...axis, values: hourLabels },
      {
        ...axis,
        size: 64,
        filter: (self, splits) => splits,
        splits: isSpan ? (self, at, least, most) => LAG_TICKS.filter((one) => least <= one && one <= most) : undefined,
        values: (self, splits) => splits.map((value) => (value % 1 ? "" : format(value))),
      },
    ],
    // Legend samples use the same dash pattern.
    legend: { markers: { dash: (self, index) => ["solid", "dashed", "dotted"][index - 1] } },
    series: [{ label: box.dataset.time, value: formatTime }, ...names.map((name, index) => series(box, name, index))],
  }, [figures.hour, ...columns], box);
  new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height: HEIGHT })).observe(box);
}

async function drawAll(section) {
  const response = await fetch(section.dataset.source);
  if (!response.ok) throw new Error(`${section.dataset.source}: ${response.status}`);
  const figures = await response.json();
  section.classList.add("drawn");
  section.querySelectorAll(".plot").forEach((box) => draw(box, figures));
}

document.querySelectorAll(".plots").forEach((section) => {
  drawAll(section).catch(() => section.classList.add("failed"));
});
