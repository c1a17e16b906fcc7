// Draws the charts from the tables beside them, and keeps the balance up to date.
"use strict";

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function draw(canvas) {
  const rows = [...document.getElementById(canvas.dataset.table).tBodies[0].rows];
  const column = Number(canvas.dataset.column);
  const axis = { grid: { color: colour("--line") }, ticks: { color: colour("--soft") } };
  return new Chart(canvas, {
    type: "bar",
    data: {
      labels: rows.map((row) => row.cells[0].textContent),
      datasets: [
        {
          label: canvas.dataset.unit,
          data: rows.map((row) => Number(row.cells[column].dataset.value)),
          backgroundColor: colour("--bar"),
        },
      ],
    },
    options: {
      animation: false,
      maintainAspectRatio: false,
      plugins: { legend: { display: false } },
      scales: {
        x: { ...axis, grid: { display: false }, ticks: { ...axis.ticks, maxRotation: 0, autoSkipPadding: 12 } },
        y: { ...axis, suggestedMax: 4, ticks: { ...axis.ticks, precision: 0 } },
      },
    },
  });
}

let charts = [];
function drawAll() {
  charts.forEach((chart) => chart.destroy());
  charts = [...document.querySelectorAll("canvas[data-table]")].map(draw);
}
drawAll();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);

const spend = document.querySelector("[data-spend]");
const every = 5000; // milliseconds

async function refresh() {
  if (document.visibilityState !== "visible") return;
  const note = document.getElementById("live");
  let answer;
  try {
    answer = await fetch(spend.dataset.spend, { cache: "no-store" });
  } catch {
    note.textContent = "The vendor does not answer; the figures are older.";
    return;
  }
  if (answer.status === 204) location.assign("?ended=yes");
  if (answer.status !== 200) return;
  const figures = await answer.json();
  let changed = false;
  for (const [name, text] of Object.entries(figures)) {
    const shown = spend.querySelector(`[data-figure="${name}"]`);
    if (!shown) continue; // of a scope that the key got after the page was loaded
    changed = changed || shown.textContent !== text;
    shown.textContent = text;
  }
  note.textContent = "The figures are live.";
  if (changed) {
    document.getElementById("announcement").textContent =
      `${figures.used} queries spent, ${figures.remaining} left.`;
  }
}
if (spend) setInterval(refresh, every);
